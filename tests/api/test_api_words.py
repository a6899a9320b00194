"""The small parsers of the API: filters, times, versions, routes, frames, errors."""

from __future__ import annotations

import pytest

from sampan import errors
from sampan.api import credentials, frames, timestamps, versions
from sampan.api.errors import INTERNAL, sentence_of, status_of
from sampan.api.filters import Filters
from sampan.api.json_stream import ProgressStream, human
from sampan.api.routes import every
from sampan.api.routes.images import matches_reference
from sampan.engine.contract import AlreadyStarted, NoSuchContainer
from sampan.errors import InvalidArgument
from sampan.http.front import Version
from sampan.http.router import Route, Router
from sampan.http.status import NoSuchRoute
from sampan.image.contract import Credentials, Progress
from sampan.runtime.contract import LogEntry


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("/v1.41/info", ((1, 41), "/info")),
        ("/info", (versions.NEWEST, "/info")),
        ("/volumes", (versions.NEWEST, "/volumes")),
        ("/version", (versions.NEWEST, "/version")),
    ],
)
def test_versions_in_paths(path: str, split: tuple[Version, str]) -> None:
    assert versions.DockerVersions().split(path) == split


def test_a_version_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="invalid API version '1x'"):
        versions.DockerVersions().split("/v1x/info")


def test_versions() -> None:
    assert versions.parse("1.24") == (1, 24)
    with pytest.raises(InvalidArgument) as new:
        versions.parse("1.99")
    assert str(new.value) == (
        "client version 1.99 is too new. Maximum supported API version is 1.51"
    )
    with pytest.raises(InvalidArgument) as old:
        versions.parse("1.12")
    assert str(old.value) == (
        "client version 1.12 is too old. Minimum supported API version is 1.24, "
        "please upgrade your client to a newer version"
    )
    for malformed in ("1", "1.x", "x", "1.4.1", "１.41"):
        with pytest.raises(InvalidArgument, match="invalid API version"):
            versions.parse(malformed)


@pytest.mark.parametrize(
    ("method", "path", "variables"),
    [
        ("GET", "/images/a/b/c:d/json", {"name": "a/b/c:d"}),
        ("GET", "/images/a%2Fb/history", {"name": "a/b"}),
        ("GET", "/images/json", {}),
        ("DELETE", "/images/host:5000/x@sha256:00", {"name": "host:5000/x@sha256:00"}),
        ("POST", "/containers/x/start", {"id": "x"}),
        ("GET", "/containers/json", {}),
        ("POST", "/build/prune", {}),
    ],
)
def test_routes(method: str, path: str, variables: dict[str, str]) -> None:
    assert Router(every()).resolve(method, path)[1] == variables


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/nope"), ("PUT", "/containers/x/start"), ("GET", "")],
)
def test_no_such_route(method: str, path: str) -> None:
    with pytest.raises(NoSuchRoute) as missing:
        Router(every()).resolve(method, path)
    assert sentence_of(missing.value) == "page not found"


def test_no_route_is_hidden_by_another() -> None:
    seen: set[tuple[str, str]] = set()
    for route in every():
        assert isinstance(route, Route)
        assert (route.method, route.pattern) not in seen
        seen.add((route.method, route.pattern))


@pytest.mark.parametrize(
    ("written", "parsed"),
    [
        ("", {}),
        ('{"label":["a=b","c"]}', {"label": ("a=b", "c")}),
        ('{"label":{"a":true,"b":false}}', {"label": ("a",)}),
        ('{"label":null}', {}),
    ],
)
def test_filters(written: str, parsed: dict[str, tuple[str, ...]]) -> None:
    assert Filters.parse(written, ("label",)) == parsed


@pytest.mark.parametrize("written", ["{", "[]", '{"label":"x"}', '{"nope":["x"]}', '{"label":[1]}'])
def test_bad_filters(written: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid filter"):
        Filters.parse(written, ("label",))


def test_label_filters() -> None:
    filters = Filters.parse('{"label":["a","b=1"],"label!":["c"]}', ("label", "label!"))
    assert filters.labels({"a": "x", "b": "1"})
    assert not filters.labels({"a": "x", "b": "2"})
    assert filters.without_labels({"a": ""})
    assert not filters.without_labels({"c": ""})


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("", 0),
        ("10", 10_000_000_000),
        ("10.5", 10_500_000_000),
        ("1136073845.000000001", 1_136_073_845_000_000_001),
        ("2006-01-02T15:04:05Z", 1_136_214_245_000_000_000),
        ("2006-01-02T15:04:05.123456789Z", 1_136_214_245_123_456_000),
        ("10m", 1_000_000_000_000 - 600_000_000_000),
        ("1h30m", 1_000_000_000_000 - 5_400_000_000_000),
    ],
)
def test_moments(written: str, expected: int) -> None:
    assert timestamps.parse_ns(written, "since", now=1000.0) == expected


def test_bad_moments_name_the_parameter() -> None:
    with pytest.raises(InvalidArgument, match="since"):
        timestamps.parse_ns("yesterday", "since")


def test_times_are_gos() -> None:
    assert timestamps.rfc3339(0) == "0001-01-01T00:00:00Z"
    assert timestamps.rfc3339(1.5) == "1970-01-01T00:00:01.5Z"
    assert timestamps.rfc3339(1) == "1970-01-01T00:00:01Z"
    assert timestamps.rfc3339_ns(1_000_000_001) == "1970-01-01T00:00:01.000000001Z"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (120, "2 minutes"),
        (3600, "About an hour"),
        (7200, "2 hours"),
        (3 * 86400, "3 days"),
        (21 * 86400, "3 weeks"),
        (90 * 86400, "3 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_ago(seconds: int, text: str) -> None:
    assert timestamps.ago(0.0, float(seconds)) == text


@pytest.mark.parametrize(
    ("typed", "out", "detached"),
    [
        ([b"abc"], b"abc", False),
        ([b"ab\x10\x11cd"], b"ab", True),
        ([b"ab\x10", b"\x11"], b"ab", True),
        ([b"\x10", b"x"], b"\x10x", False),
        ([b"\x10\x10\x11"], b"\x10", True),
    ],
)
def test_detach_keys(typed: list[bytes], out: bytes, detached: bool) -> None:
    keys = frames.DetachKeys(frames.DEFAULT_DETACH_KEYS)
    got, done = b"", False
    for data in typed:
        passed, done = keys.feed(data)
        got += passed
    assert (got, done) == (out, detached)


def test_detach_key_names() -> None:
    assert frames.parse_detach_keys("") == b"\x10\x11"
    assert frames.parse_detach_keys("ctrl-a,b,ctrl-@") == b"\x01b\x00"
    with pytest.raises(InvalidArgument):
        frames.parse_detach_keys("ctrl-ab")


def test_log_lines() -> None:
    entries = [LogEntry(1_000_000_001, "stderr", b"oops\n")]
    assert frames.log_bytes(entries, tty=False, stamp=False, details=b"") == (
        b"\x02\0\0\0\0\0\0\x05oops\n"
    )
    stamped = frames.log_bytes(entries, tty=True, stamp=True, details=b"")
    assert stamped == b"1970-01-01T00:00:01.000000001Z oops\n"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NoSuchContainer("x"), 404),
        (AlreadyStarted(), 304),
        (errors.Exhausted("full"), 500),
        (errors.Internal("bug"), 500),
        (errors.Unavailable("x"), 503),
        (KeyError("x"), 500),
    ],
)
def test_statuses(error: Exception, status: int) -> None:
    assert status_of(error) == status


def test_surprises_are_not_told_to_clients(caplog: pytest.LogCaptureFixture) -> None:
    assert sentence_of(ZeroDivisionError("secret")) == INTERNAL
    assert "ZeroDivisionError" in caplog.text


def test_credentials() -> None:
    header = "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InAifQ"
    assert credentials.from_header(header) == Credentials(username="u", password="p")
    assert credentials.from_header("") is None
    assert credentials.from_header("e30=") is None
    with pytest.raises(InvalidArgument):
        credentials.from_header("!!!")


async def test_progress_of_one_layer_takes_one_place_while_nobody_reads() -> None:
    lines = ProgressStream()
    for current in range(1000):
        lines.progress(Progress("Downloading", "abc", current, 1000))
    lines.close()
    data = await lines.take()
    assert data.count(b"\r\n") == 1
    assert b'"current":999' in data
    assert await lines.take() == b""


def test_sizes() -> None:
    assert [human(n) for n in (0, 999, 1000, 63_220_000)] == ["0B", "999B", "1kB", "63.22MB"]


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("busybox", "busybox:latest", True),
        ("busybox:l*", "busybox:latest", True),
        ("*/app", "host:5000/app:1", True),
        ("busy", "busybox:latest", False),
    ],
)
def test_reference_patterns(pattern: str, name: str, matches: bool) -> None:
    assert matches_reference(pattern, name) is matches
