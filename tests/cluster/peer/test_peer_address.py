"""Where a node is found."""

from __future__ import annotations

import pytest

from sampan.cluster.peer.address import host_of, join_port, split_port
from sampan.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10.0.0.1", ("10.0.0.1", 2377)),
        ("10.0.0.1:99", ("10.0.0.1", 99)),
        ("host2:2377", ("host2", 2377)),
        ("[fd00::1]:99", ("fd00::1", 99)),
        ("[fd00::1]", ("fd00::1", 2377)),
        ("fd00::1", ("fd00::1", 2377)),
    ],
)
def test_ports_are_split_off(text: str, found: tuple[str, int]) -> None:
    assert split_port(text) == found


@pytest.mark.parametrize(
    "text", ["10.0.0.1:0", "10.0.0.1:x", "10.0.0.1:65536", "[::1]:"[:-1] + ":z"]
)
def test_a_bad_port_is_named(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"invalid port .*: a port is a number from"):
        split_port(text)


def test_joined_and_split_again() -> None:
    for host in ("10.0.0.1", "fd00::1", "name"):
        assert split_port(join_port(host, 7)) == (host, 7)


@pytest.mark.parametrize(
    ("text", "host"),
    [("10.0.0.1:2377", "10.0.0.1"), ("[::1]:2377", "::1"), ("name:0", "name"), ("", "")],
)
def test_a_host_is_named_whatever_its_port_is(text: str, host: str) -> None:
    assert host_of(text) == host
