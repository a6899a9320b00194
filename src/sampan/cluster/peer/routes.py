"""Which handler answers what, and who may ask: the same for every transport."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

import msgspec

from sampan.cluster.peer.contract import (
    BODY_LIMIT,
    STRANGERS_BODY_LIMIT,
    Allow,
    B,
    CallHandler,
    Handler,
    Identity,
    NodeRole,
    NotMember,
    Reply,
    Request,
    SocketHandler,
)
from sampan.errors import Forbidden, NotFound

RoleOf = Callable[[str], NodeRole | None]
"""The role that a node has by the cluster's state; None: it is not (or no longer) a member."""

_NAME = re.compile(r"\{(\w+)(\.\.\.)?\}")


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    pattern: re.Pattern[str]
    allow: Allow
    handler: Handler | None = None
    socket: SocketHandler | None = None


class Routes:
    """``Server`` without a wire. Registration ends when the first request is answered."""

    def __init__(self, role_of: RoleOf) -> None:
        self._role_of = role_of
        self._fixed: dict[tuple[str, str], Route] = {}
        self._patterns: list[Route] = []

    def route(self, method: str, path: str, handler: Handler, *, allow: Allow) -> None:
        """Answer ``method path``; see the contract."""
        self._add(path, Route(method, compile_path(path), allow, handler))

    def call(self, path: str, request: type[B], handler: CallHandler[B], *, allow: Allow) -> None:
        """Answer ``POST path`` with the struct that ``handler`` makes of a ``request``."""

        limit = STRANGERS_BODY_LIMIT if allow is Allow.ANYONE else BODY_LIMIT

        async def answer(asked: Request) -> Reply:
            result = await handler(asked, await asked.decode(request, limit))
            return Reply(body=msgspec.json.encode(result))

        self.route("POST", path, answer, allow=allow)

    def socket(self, path: str, handler: SocketHandler, *, allow: Allow) -> None:
        """Take sockets on ``path``."""
        self._add(path, Route("GET", compile_path(path), allow, None, handler))

    def _add(self, path: str, route: Route) -> None:
        if "{" in path:
            self._patterns.append(route)
        else:
            assert (route.method, path) not in self._fixed, f"{route.method} {path} is taken"
            self._fixed[route.method, path] = route

    def find(self, method: str, raw_path: str) -> tuple[Route, dict[str, str]]:
        """The route for a path as it came, still encoded.

        Raises:
            NotFound: there is none. A worker has no routes of managers.
        """
        if (route := self._fixed.get((method, raw_path))) is not None:
            return route, {}
        for route in self._patterns:
            if route.method == method and (found := route.pattern.fullmatch(raw_path)):
                return route, {name: unquote(value) for name, value in found.groupdict().items()}
        raise NotFound(f"this node does not answer {method} {raw_path}: is it a manager?")

    def admit(self, route: Route, identity: Identity | None) -> Identity | None:
        """Who the caller counts as: its certificate, cut down to what the cluster's state says.

        A demoted manager's old certificate makes it a worker, a removed node's nobody.

        Raises:
            Forbidden: it may not call this route.
        """
        removed = False
        if identity is not None:
            standing = self._role_of(identity.node_id)
            if standing is None:
                identity, removed = None, True
            elif standing == "worker" and identity.role == "manager":
                identity = Identity(identity.node_id, "worker", identity.cluster_id)
        if route.allow is Allow.ANYONE:
            return identity
        if removed:
            raise NotMember
        if identity is None:
            raise Forbidden("this call needs the certificate of a node of this cluster")
        if route.allow is Allow.MANAGERS and identity.role != "manager":
            raise Forbidden(f"node {identity.node_id} is not a manager: only managers may ask this")
        return identity


def compile_path(path: str) -> re.Pattern[str]:
    """``/v2/{name...}/blobs/{digest}`` as a pattern on a still encoded path."""
    parts, end = [], 0
    for found in _NAME.finditer(path):
        parts.append(re.escape(path[end : found.start()]))
        parts.append(f"(?P<{found[1]}>{'.+' if found[2] else '[^/]+'})")
        end = found.end()
    return re.compile("".join(parts) + re.escape(path[end:]))
