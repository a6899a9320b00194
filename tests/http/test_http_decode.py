"""Bodies as Go reads them: any case, null for "not said", zero values inside of lists and maps."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.api.types import (
    cluster,
    containers,
    hostconfig,
    images,
    networks,
    system,
    volumes,
)
from sampan.errors import InvalidArgument
from sampan.http.decode import LONGEST_NAME, decode


class Port(msgspec.Struct, rename="pascal"):
    number: int = 0
    protocol: str = "tcp"


class Thing(msgspec.Struct, rename="pascal"):
    name: str = ""
    size: int = 7
    port: Port | None = None
    ports: list[Port] = []
    by_name: dict[str, Port] = {}
    labels: dict[str, str] = {}
    words: list[str] | None = None
    maybe: dict[str, Port | None] = {}


DECODER = msgspec.json.Decoder(Thing)


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b'{"Name": "a"}', Thing("a")),
        (b'{"name": "a", "SIZE": 3}', Thing("a", 3)),
        (b'{"Name": null, "Size": null, "Ports": null}', Thing()),
        (b'{"port": {"NUMBER": 3}}', Thing(port=Port(3))),
        (b'{"Ports": [{"number": 3}, null]}', Thing(ports=[Port(3), Port()])),
        (b'{"ByName": {"number": null}}', Thing(by_name={"number": Port()})),
        (b'{"Labels": {"name": "x", "NAME": null}}', Thing(labels={"name": "x", "NAME": ""})),
        (b'{"words": ["a", null]}', Thing(words=["a", ""])),
        (b'{"Maybe": {"net": null}}', Thing(maybe={"net": None})),
        (b'{"maybe": {"net": null}}', Thing(maybe={"net": None})),
        (b'{"Unknown": {"name": 3}}', Thing()),
        (b'{"unknown": 1, "name": "b"}', Thing("b")),
        (rb'{"Name": "a\\u0000b"}', Thing("a\\u0000b")),
    ],
)
def test_what_go_takes(raw: bytes, found: Thing) -> None:
    assert decode(raw, DECODER) == found


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"Size": "a"}', r"\$\.Size"),
        (b'{"size": "a"}', r"\$\.Size"),
        (b'{"port": {"number": "a"}}', r"\$\.Port\.Number"),
        (b"{", "invalid JSON"),
        (rb'{"Name": "a\u0000b"}', "NUL"),
        (rb'{"Name": "a\\\u0000b"}', "NUL"),
        (b"[" * 100_000, "nested too deeply|invalid JSON"),
        (b"[]", "invalid JSON"),
        (b"", "invalid JSON"),
    ],
)
def test_what_go_refuses(raw: bytes, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        decode(raw, DECODER)


def test_dockers_own_bodies() -> None:
    made = decode(b'{"image": "busybox", "hostconfig": {"memory": 5}}', containers.CREATE_DECODER)
    assert (made.image, made.host_config and made.host_config.memory) == ("busybox", 5)
    # as docker-py sends it
    raw = b'{"Image": "a", "NetworkingConfig": {"EndpointsConfig": {"net": null}}}'
    made = decode(raw, containers.CREATE_DECODER)
    assert made.networking_config is not None
    assert made.networking_config.endpoints_config == {"net": None}
    assert decode(b'{"Volumes": {"/d": null}, "Image": "a"}', containers.CREATE_DECODER).volumes
    assert decode(b'{"name": "n"}', networks.CREATE_DECODER).name == "n"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Name", "name", "Port", "Ports", "ports", "Number", "Labels", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_JSON)
def test_the_short_way_and_the_long_way_agree(value: Any) -> None:
    """A body in its proper case is decoded at once; the same body written small, by the long way.
    Both find the same, or both refuse."""
    raw = msgspec.json.encode(_without_twins(value))
    small = msgspec.json.encode(_lowered(_without_twins(value)))
    assert _outcome(raw) == _outcome(small)


@pytest.mark.parametrize("filler", [b"x", b": ", b'\\"', b"\\u003a"])
def test_a_name_is_found_wherever_it_stands_in_a_large_body(filler: bytes) -> None:
    """Such a body is looked through in pieces, and no name falls between two."""
    fill = filler * (65_500 // len(filler))
    for spaces in range(0, 120):
        raw = b'{"Labels": {"a": "%s"},%s"name"  :"b"}' % (fill, b" " * spaces)
        assert decode(raw, DECODER).name == "b", spaces


def test_no_field_is_longer_than_what_is_looked_at() -> None:
    for module in (cluster, containers, hostconfig, images, networks, system, volumes):
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                names = [field.encode_name for field in msgspec.structs.fields(kind)]
                assert max(map(len, names), default=0) <= LONGEST_NAME, kind


def _outcome(raw: bytes) -> object:
    try:
        return msgspec.to_builtins(_lowered(msgspec.to_builtins(decode(raw, DECODER))))
    except InvalidArgument:
        return None


def _lowered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.lower(): _lowered(item) for key, item in value.items()}
    return [_lowered(item) for item in value] if isinstance(value, list) else value


def _without_twins(value: Any) -> Any:
    if isinstance(value, dict):
        found = {key.lower(): (key, item) for key, item in value.items()}
        return {key: _without_twins(item) for key, item in found.values()}
    return [_without_twins(item) for item in value] if isinstance(value, list) else value
