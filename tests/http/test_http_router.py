"""Routes compiled once, and the one table of statuses."""

from __future__ import annotations

import pytest
from aiohttp import web

from sampan import errors
from sampan.api.errors import status_of
from sampan.cluster.contract import OutOfSequence
from sampan.cluster.peer.wire import dump
from sampan.http.front import Front, Limits, hijackable
from sampan.http.router import Route, Router
from sampan.http.status import STATUS, NoSuchRoute, Statuses


async def handler(context: object) -> web.StreamResponse:
    raise AssertionError(context)


ROUTES = (
    Route("GET", "/a", handler),
    Route("GET", "/a/{id}", handler),
    Route("POST", "/a/{id}", handler),
    Route("GET", "/v2/{name:path}/blobs/{digest}", handler),
    Route("GET", "/a.b/{id}", handler),
)


@pytest.mark.parametrize(
    ("path", "pattern", "variables"),
    [
        ("/a", "/a", {}),
        ("/a/x%2Fy", "/a/{id}", {"id": "x/y"}),
        ("/v2/a/b/c/blobs/sha256:0", "/v2/{name:path}/blobs/{digest}", None),
        ("/a.b/c", "/a.b/{id}", {"id": "c"}),
    ],
)
def test_resolving(path: str, pattern: str, variables: dict[str, str] | None) -> None:
    route, found = Router(ROUTES).resolve("GET", path)
    assert route.pattern == pattern
    assert found == (
        variables if variables is not None else {"name": "a/b/c", "digest": "sha256:0"}
    )


def test_a_dot_of_a_pattern_is_a_dot() -> None:
    with pytest.raises(NoSuchRoute):
        Router(ROUTES).resolve("GET", "/axb/c")


def test_methods_that_a_path_does_have() -> None:
    with pytest.raises(NoSuchRoute) as missing:
        Router(ROUTES).resolve("DELETE", "/a/x")
    assert missing.value.allowed == {"GET", "POST"}
    with pytest.raises(NoSuchRoute) as missing:
        Router(ROUTES).resolve("GET", "/b")
    assert missing.value.allowed == frozenset()


def test_one_route_a_path() -> None:
    with pytest.raises(AssertionError, match="/a is taken"):
        Router((Route("GET", "/a", handler), Route("GET", "/a", handler)))


def test_what_may_be_hijacked_comes_from_the_routes() -> None:
    def front(*routes: Route[object]) -> Front[object]:
        return Front(
            name="x",
            routes=routes,
            context=lambda request, matched: request,
            error=lambda request, error: web.Response(),
            limits=Limits(),
        )

    none = front(*ROUTES)
    assert hijackable(none, none.routes) is None
    some = front(Route("POST", "/echo/{name}/go", handler, hijacks=True))
    found = hijackable(some, some.routes)
    assert found is not None
    assert found.match(b"POST /echo/a/go HTTP/1.1")
    assert found.match(b"POST /echo/a/go?x=1 HTTP/1.1")
    for other in (
        b"POST /echo/a/b/go ",
        b"GET /echo/a/go ",
        b"POST /v1/echo/a/go ",
        b"POST /echo/",
    ):
        assert not found.match(other)


def test_one_table_and_each_fronts_differences() -> None:
    assert Statuses().of(errors.Exhausted("full")) == 507
    assert Statuses().of(ValueError()) == 500
    assert Statuses({errors.Conflict: 412}).of(errors.Conflict("x")) == 412
    # Docker's clients know no 507; between nodes nothing is 304, which has no body
    assert status_of(errors.Exhausted("full")) == 500
    assert status_of(OutOfSequence()) == 500
    assert dump(errors.Exhausted("full"))[0] == 507
    assert dump(errors.NotModified("x"))[0] == 409
    same = set(STATUS) - {errors.Exhausted, errors.NotModified}
    for kind in same:
        assert status_of(kind("x")) == dump(kind("x"))[0] == STATUS[kind]  # type: ignore[arg-type]
