"""Routes: a visible list of (method, path pattern, handler), resolved by the path's first word.

Handlers are plain coroutines of a ``Call``. A pattern's ``{name}`` is one path segment;
``{name:path}`` may hold slashes (image names do).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import web

from sampan.api.call import Call
from sampan.api.errors import PageNotFound

Handler = Callable[[Call], Awaitable[web.StreamResponse]]

_VERSIONED = re.compile(r"/v([0-9][^/]*)(/.*)")
_VARIABLE = re.compile(r"\{(\w+)(:path)?\}")


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    pattern: str
    handler: Handler
    streams: bool = False
    """The client is part of it: when it hangs up, the handler is cancelled. Everything else runs
    to its end, so that no half of a change is left behind."""


class Router:
    """Finds the route of a request."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._fixed: dict[tuple[str, str], Route] = {}
        self._patterns: dict[tuple[str, str], list[tuple[re.Pattern[str], Route]]] = {}
        for route in routes:
            if "{" not in route.pattern:
                self._fixed[route.method, route.pattern] = route
                continue
            regex = _VARIABLE.sub(
                lambda m: f"(?P<{m[1]}>.+)" if m[2] else f"(?P<{m[1]}>[^/]+)", route.pattern
            )
            first = route.pattern.split("/", 2)[1]
            self._patterns.setdefault((route.method, first), []).append((re.compile(regex), route))

    def resolve(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        """Route and variables of a path that has no version any more (and is still quoted).

        Raises:
            PageNotFound: no such path, or not with this method.
        """
        if (route := self._fixed.get((method, path))) is not None:
            return route, _NOTHING
        first = path.split("/", 2)[1] if path.startswith("/") else ""
        for regex, route in self._patterns.get((method, first), ()):
            if (match := regex.fullmatch(path)) is not None:
                return route, {k: unquote(v) for k, v in match.groupdict().items()}
        raise PageNotFound


_NOTHING: Mapping[str, str] = {}


def split_version(path: str) -> tuple[str, str]:
    """``/v1.41/info`` to ``("1.41", "/info")``; the version is empty when there is none."""
    if path.startswith("/v") and (match := _VERSIONED.fullmatch(path)):
        return match[1], match[2]
    return "", path
