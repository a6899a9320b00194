"""What a front is: one protocol over HTTP, as data.

Protocols over HTTP differ in their routes, in the form of their errors, in the headers that every
answer has and in how a path names a version. All of that is in a ``Front``, and
``sampan.http.server`` knows nothing else of it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

from aiohttp import web

from sampan.http.router import Handler, Route

Version = tuple[int, int]
UNVERSIONED: Version = (0, 0)
"""What a front without a version rule says in ``RequestContext.version``."""

C = TypeVar("C")


class VersionRule(Protocol):
    """How a path names the version of the protocol that its client speaks."""

    @property
    def prefix(self) -> str:
        """A regular expression, without groups, of all that may stand before a route's path."""
        ...

    def split(self, path: str) -> tuple[Version, str]:
        """Version and the path of the route.

        Raises:
            sampan.errors.InvalidArgument: no such version.
        """
        ...


class Matched(NamedTuple):
    """What the server knows of a request before its handler runs."""

    version: Version
    path: Mapping[str, str]
    """The values of the route's variables."""
    headers: Mapping[str, str]
    """Those that every answer of the front has."""
    method: str
    pattern: str
    """Of the route, as written: a guard decides by it."""


Around = Callable[[C, Handler[C]], Awaitable[web.StreamResponse]]
"""A guard: called instead of the handler, which it calls itself::

    async def audited(context, handler):
        body = await context.peek_body(1 << 20)    # None: larger; the handler still reads all of it
        response = await handler(context)          # raises what the handler raises
        ...                                        # a plain web.Response has its ``body`` here
        return response

What it raises is answered in the front's error form. A ``web.Response`` that it is given has not
been sent yet and may be held back, changed or replaced. Of any other response, and after a hijack,
the head and perhaps all of it is out. A guard runs in the handler's task: where a route is shielded
from hang-ups, the guard is, too. Guards of a front nest, the first one outermost.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client may make a front hold in memory, and for how long."""

    line_bytes: int = 64 * 1024
    """Of a request's first line."""
    field_bytes: int = 64 * 1024
    """Of one header."""
    headers: int = 128
    """Number of headers of one request."""
    read_bytes: int = 256 * 1024
    """Unread body that is held before the socket is no longer read."""
    keepalive_s: float = 3600.0
    """How long a connection may be idle."""
    linger_s: float = 2.0
    """How long the rest of a body that nobody wants is read before the connection is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Front(Generic[C]):
    """One protocol over HTTP."""

    name: str
    """For logs and for the names of tasks."""
    routes: Iterable[Route[C]]
    context: Callable[[web.BaseRequest, Matched], C]
    """Makes what handlers get; usually a subclass of ``RequestContext``."""
    error: Callable[[web.BaseRequest, Exception], web.Response]
    """The answer that tells of an error, in the front's own form. Besides what handlers raise it
    is given ``NoSuchRoute`` and ``MalformedRequest``. The front's headers are added to it."""
    headers: Mapping[str, str] = field(default_factory=dict)
    versions: VersionRule | None = None
    around: tuple[Around[C], ...] = ()
    limits: Limits = field(default_factory=Limits)
    cancels: bool = True
    """A client that hangs up cancels its handler, as the route says. False: handlers are never
    cancelled; they find out when they read or write."""


def guarded(route: Route[C], around: Iterable[Around[C]]) -> Handler[C]:
    """A route's handler inside of the front's guards."""
    handler = route.handler
    for guard in reversed(tuple(around)):
        handler = _nested(guard, handler)
    return handler


def _nested(guard: Around[C], handler: Handler[C]) -> Handler[C]:
    async def call(context: C) -> web.StreamResponse:
        return await guard(context, handler)

    return call


def hijackable(front: Front[C], routes: Iterable[Route[C]]) -> re.Pattern[bytes] | None:
    """The beginning of every request that may be hijacked; None: there is none."""
    paths = []
    for route in routes:
        if route.hijacks:
            assert route.method == "POST", f"{route.pattern}: only a POST can be hijacked"
            path = re.sub(r"\{\w+:path\}", "[^? ]+", route.pattern)
            paths.append(re.sub(r"\{\w+\}", "[^/? ]+", path))
    if not paths:
        return None
    prefix = f"(?:{front.versions.prefix})?" if front.versions is not None else ""
    return re.compile(f"POST {prefix}(?:{'|'.join(paths)})[? ]".encode(), re.ASCII)
