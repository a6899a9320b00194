"""Output frames, however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.client.address import choose_host, parse
from sampan.client.auth import credentials, registry_of
from sampan.client.errors import ProtocolError, Unreachable
from sampan.client.frames import Demultiplexer, split
from sampan.client.images import split_tag


@given(
    frames=st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=50)), max_size=10),
    size=st.integers(1, 40),
)
def test_any_cutting(frames: list[tuple[int, bytes]], size: int) -> None:
    wire = b"".join(
        bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data for stream, data in frames
    )
    pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
    out = list(split(pieces, tty=False))
    for number in (1, 2):
        expected = b"".join(data for stream, data in frames if stream == number)
        assert b"".join(data for stream, data in out if stream == number) == expected


def test_a_stream_without_frames_is_refused() -> None:
    with pytest.raises(ProtocolError):
        Demultiplexer().feed(b"hello world")


def test_a_terminal_is_not_framed() -> None:
    assert list(split([b"a", b"b"], tty=True)) == [(1, b"a"), (1, b"b")]


def test_hosts() -> None:
    assert choose_host(None, {}) == "unix:///run/sampan/sampan.sock"
    assert choose_host(None, {"DOCKER_HOST": "d", "SAMPAN_HOST": "s"}) == "s"
    assert choose_host("h", {"SAMPAN_HOST": "s"}) == "h"
    assert parse("unix:///a/b").path == "/a/b"
    assert (parse("tcp://h:1").host, parse("tcp://h:1").port) == ("h", 1)
    assert (parse("tcp://[::1]:99").host, parse("tcp://[::1]:99").port) == ("::1", 99)
    assert parse("tcp://h").port == 2375
    assert parse("https://h").port == 2376
    for wrong in ("ssh://h", "tcp://h:x", "fd://"):
        with pytest.raises(Unreachable):
            parse(wrong)


@pytest.mark.parametrize(
    ("ref", "repo", "tag"),
    [
        ("a", "a", ""),
        ("a:1", "a", "1"),
        ("h:5000/a", "h:5000/a", ""),
        ("h:5000/a:1", "h:5000/a", "1"),
        ("a@sha256:00", "a", "sha256:00"),
    ],
)
def test_tags(ref: str, repo: str, tag: str) -> None:
    assert split_tag(ref) == (repo, tag)


def test_credentials() -> None:
    config = {"auths": {"r.example": {"auth": "dTpwOnE="}}}
    assert credentials(config, "r.example") == {"username": "u", "password": "p:q"}
    assert credentials(config, "other") == {}
    assert registry_of("r.example/a/b") == "r.example"
    assert registry_of("library/a") == "https://index.docker.io/v1/"
