"""Which handler answers what, and who may ask: the same for every transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
    PeerRequest,
    Reply,
    SocketHandler,
)
from sampan.errors import Forbidden, NotFound
from sampan.http.router import Router
from sampan.http.status import NoSuchRoute

RoleOf = Callable[[str], NodeRole | None]
"""The role that a node has by the cluster's state; None: it is not (or no longer) a member."""


@dataclass(frozen=True, slots=True)
class PeerRoute:
    method: str
    pattern: str
    allow: Allow
    handler: Handler | None = None
    socket: SocketHandler | None = None


class Routes:
    """``Server`` without a wire. Registration ends when the first request is answered."""

    def __init__(self, role_of: RoleOf) -> None:
        self._role_of = role_of
        self._routes: list[PeerRoute] = []
        self._router: Router[PeerRoute] | None = None

    def route(self, method: str, path: str, handler: Handler, *, allow: Allow) -> None:
        """Answer ``method path``; see the contract."""
        self._add(PeerRoute(method, path, allow, handler))

    def call(self, path: str, request: type[B], handler: CallHandler[B], *, allow: Allow) -> None:
        """Answer ``POST path`` with the struct that ``handler`` makes of a ``request``."""

        limit = STRANGERS_BODY_LIMIT if allow is Allow.ANYONE else BODY_LIMIT

        async def answer(asked: PeerRequest) -> Reply:
            result = await handler(asked, await asked.decode(request, limit))
            return Reply(body=msgspec.json.encode(result))

        self.route("POST", path, answer, allow=allow)

    def socket(self, path: str, handler: SocketHandler, *, allow: Allow) -> None:
        """Take sockets on ``path``."""
        self._add(PeerRoute("GET", path, allow, None, handler))

    def _add(self, route: PeerRoute) -> None:
        self._routes.append(route)
        self._router = None

    @property
    def routes(self) -> tuple[PeerRoute, ...]:
        return tuple(self._routes)

    def find(self, method: str, raw_path: str) -> tuple[PeerRoute, Mapping[str, str]]:
        """The route for a path as it came, still encoded.

        Raises:
            NotFound: there is none.
        """
        if self._router is None:
            self._router = Router(self._routes)
        try:
            return self._router.resolve(method, raw_path)
        except NoSuchRoute as missing:
            raise no_such_call(missing) from None

    def admit(self, route: PeerRoute, identity: Identity | None) -> Identity | None:
        """Who the caller counts as: its certificate, cut down to what the cluster's state says.

        A demoted manager's old certificate makes it a worker, a removed node's nobody.

        Raises:
            Forbidden: it may not call this route.
        """
        removed = False
        if identity is not None:
            role = self._role_of(identity.node_id)
            if role is None:
                identity, removed = None, True
            elif role == "worker" and identity.role == "manager":
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


def no_such_call(missing: NoSuchRoute) -> NotFound:
    """What a node says of it. A worker has no routes of managers."""
    return NotFound(f"this node does not answer {missing.method} {missing.path}: is it a manager?")
