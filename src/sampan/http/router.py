"""Routes: a visible list of (method, path pattern, handler), resolved by the path's first word.

A handler is a coroutine of the front's request context. A pattern's ``{name}`` is one path segment;
``{name:path}`` may hold slashes (image names do).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from urllib.parse import unquote

from aiohttp import web

from sampan.http.status import NoSuchRoute

C = TypeVar("C")
Handler = Callable[[C], Awaitable[web.StreamResponse]]

_VARIABLE = re.compile(r"\{(\w+)(:path)?\}")
_READING = frozenset(("GET", "HEAD", "OPTIONS"))


@dataclass(frozen=True, slots=True)
class Route(Generic[C]):
    method: str
    pattern: str
    handler: Handler[C]
    streams: bool = False
    """The client is part of it: when it hangs up, the handler is cancelled. Other handlers that
    change something run to their end, so that no half of a change is left behind."""
    hijacks: bool = False
    """The handler may take the connection over. Only for POST, and it needs a Content-Length."""

    @property
    def shielded(self) -> bool:
        """The handler runs to its end, whatever its client does."""
        return not self.streams and self.method not in _READING


class Routed(Protocol):
    """What a router can find."""

    @property
    def method(self) -> str: ...

    @property
    def pattern(self) -> str: ...


R = TypeVar("R", bound=Routed)


def expression(pattern: str) -> str:
    """A route's pattern as a regular expression on a path that is still quoted."""
    parts, end = [], 0
    for found in _VARIABLE.finditer(pattern):
        parts.append(re.escape(pattern[end : found.start()]))
        parts.append(f"(?P<{found[1]}>{'.+' if found[2] else '[^/]+'})")
        end = found.end()
    return "".join(parts) + re.escape(pattern[end:])


class Router(Generic[R]):
    """Finds the route of a request. Compiled once; of two patterns the earlier one wins."""

    def __init__(self, routes: Iterable[R]) -> None:
        self._fixed: dict[tuple[str, str], R] = {}
        self._patterns: dict[tuple[str, str], list[tuple[re.Pattern[str], R]]] = {}
        self._methods: set[str] = set()
        for route in routes:
            self._methods.add(route.method)
            if "{" not in route.pattern:
                assert (route.method, route.pattern) not in self._fixed, f"{route.pattern} is taken"
                self._fixed[route.method, route.pattern] = route
                continue
            compiled = re.compile(expression(route.pattern))
            known = self._patterns.setdefault((route.method, _first_word(route.pattern)), [])
            known.append((compiled, route))

    def resolve(self, method: str, path: str) -> tuple[R, Mapping[str, str]]:
        """Route and variables of a path whose version has been taken off (and is still quoted).

        Raises:
            NoSuchRoute: no such path, or not with this method.
        """
        if (found := self._find(method, path)) is not None:
            return found
        others = frozenset(m for m in self._methods if self._find(m, path) is not None)
        raise NoSuchRoute(method, path, others)

    def _find(self, method: str, path: str) -> tuple[R, Mapping[str, str]] | None:
        if (route := self._fixed.get((method, path))) is not None:
            return route, _NOTHING
        for regex, route in self._patterns.get((method, _first_word(path)), ()):
            if (match := regex.fullmatch(path)) is not None:
                return route, {k: unquote(v) for k, v in match.groupdict().items()}
        return None


def _first_word(path: str) -> str:
    return path.split("/", 2)[1] if path.startswith("/") else ""


_NOTHING: Mapping[str, str] = {}
