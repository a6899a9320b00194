"""The grammar of references."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.image.contract import BadReference
from sampan.image.reference import parse

HEX = "a" * 64


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/a/b", "docker.io/a/b:latest", "a/b:latest"),
        ("me/app:v1_2.3-x", "docker.io/me/app:v1_2.3-x", "me/app:v1_2.3-x"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/a/b/c", "localhost:5000/a/b/c:latest", "localhost:5000/a/b/c:latest"),
        ("ghcr.io/a__b/c--d", "ghcr.io/a__b/c--d:latest", "ghcr.io/a__b/c--d:latest"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
        ("Host/x", "Host/x:latest", "Host/x:latest"),
        (
            f"busybox@sha256:{HEX}",
            f"docker.io/library/busybox@sha256:{HEX}",
            f"busybox@sha256:{HEX}",
        ),
        (
            f"a/b:t@sha256:{HEX}",
            f"docker.io/a/b@sha256:{HEX}",
            f"a/b@sha256:{HEX}",
        ),
    ],
)
def test_what_people_write(text: str, canonical: str, familiar: str) -> None:
    found = parse(text)
    assert (found.canonical, found.familiar) == (canonical, familiar)


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "a:", "a@", "a@sha256:short", "-a", "a-", "a..b", "a//b", "/a", "a/", "a:b:c",
        "a b", "a/b:" + "t" * 129, "http://a/b", "_a", "a___b", "a:-t", "a\n", "ä", "a@md5:" + HEX,
        "host.:5000/a", "host:port/a", "a/../b",
    ],
)  # fmt: skip
def test_what_makes_no_sense(text: str) -> None:
    with pytest.raises(BadReference, match="invalid reference format"):
        parse(text)


def test_capitals_are_named() -> None:
    with pytest.raises(BadReference, match="must be lowercase"):
        parse("me/App")


def test_a_name_that_looks_like_an_id() -> None:
    with pytest.raises(BadReference, match="cannot specify 64-byte hexadecimal strings"):
        parse(HEX)


def test_length() -> None:
    parse("a/" + "b" * (255 - len("docker.io/a/")))
    with pytest.raises(BadReference, match="255"):
        parse("a/" + "b" * (256 - len("docker.io/a/")))


@given(st.text(alphabet="aZ0.:/@_-[]é ", max_size=40))
def test_it_parses_or_refuses_and_familiar_names_mean_the_same(text: str) -> None:
    try:
        found = parse(text)
    except BadReference:
        return
    assert parse(found.familiar).canonical == found.canonical
    assert parse(found.canonical).canonical == found.canonical
