"""Nodes that talk in memory, with the same words as over TLS, and links that can be cut.

    hub = PeerHub(clock)
    one = hub.node("10.0.0.1:2377", Identity("one", "manager", "c"), role_of)
    one.server.socket("/session", handler, allow=Allow.NODES)
    one.start()
    socket = await two.client.socket(one.address, "/session")
    hub.cut(one.address, two.address); hub.heal(...); hub.crash(one.address)

What crosses a link that is cut arrives when it is healed, as TCP would have it; who waits for an
answer meanwhile runs into its deadline, by the clock. Messages are bytes and errors go through the
wire's form, so what works here has been encoded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import msgspec

from sampan.aio import Clock, Tasks, within
from sampan.cluster.peer.client import decode_reply
from sampan.cluster.peer.contract import (
    BODY_LIMIT,
    CALL_DEADLINE_S,
    Identity,
    Impostor,
    Incoming,
    NodeRole,
    PeerRequest,
    R,
    Reply,
    Socket,
    SocketClosed,
    Unreachable,
    gather,
)
from sampan.cluster.peer.routes import PeerRoute, RoleOf, Routes
from sampan.cluster.peer.wire import dump, load
from sampan.errors import SampanError
from sampan.testing.peer_links import RESET, Half, Link, MemorySocket

log = logging.getLogger(__name__)
T = TypeVar("T")

_REFUSED = "Connection refused"


class MemoryServer(Routes):
    """``Server`` of one node of a hub."""

    def __init__(self, hub: PeerHub, node: PeerNode, role_of: RoleOf) -> None:
        super().__init__(role_of)
        self._hub = hub
        self._node = node

    async def disconnect(self, node_id: str) -> None:
        """Close every connection of a node."""
        for caller, socket in list(self._node.inbound):
            if caller == node_id:
                socket.reset()


class _MemoryIncoming:
    def __init__(self, address: str, link: Link, clock: Clock, reply: Reply, tasks: Tasks) -> None:
        self._address = address
        self._link = link
        self._clock = clock
        self._body = reply.body
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(0)
        self._whole = False
        self._sending: asyncio.Task[None] | None = None
        if not isinstance(reply.body, bytes):
            # The sender's own: it ends with its process.
            self._sending = tasks.spawn(self._send(reply.body), name="stream")
        self.status = reply.status
        self.headers: Mapping[str, str] = {k.lower(): v for k, v in reply.headers.items()}

    async def _send(self, body: AsyncIterable[bytes]) -> None:
        try:
            await self._room.acquire()
            async for chunk in body:
                self._chunks.put_nowait(chunk)
                await self._room.acquire()
            self._whole = True
        except Exception as error:
            log.info("the sender of a stream failed", exc_info=error)
        finally:
            self._chunks.put_nowait(None)
            if (close := getattr(body, "aclose", None)) is not None:
                await close()

    async def chunks(self) -> AsyncIterator[bytes]:
        if isinstance(self._body, bytes):
            if self._body:
                yield self._body
            return
        while True:
            self._room.release()
            chunk = await self._chunks.get()
            if chunk is None:
                break
            await self._link.passage(self._clock.monotonic())
            yield chunk
        if not self._whole:
            raise Unreachable(self._address, "the connection broke")

    async def read(self, limit: int = BODY_LIMIT) -> bytes:
        return await gather(self.chunks(), limit)

    async def close(self) -> None:
        if self._sending is not None and not self._sending.done():
            self._sending.cancel()
            await asyncio.wait({self._sending})


class MemoryClient:
    """``Client`` of one node of a hub, or of an unknown peer (``identity`` None)."""

    def __init__(self, hub: PeerHub, node: PeerNode) -> None:
        self._hub = hub
        self._node = node
        self._sockets: list[MemorySocket] = []

    async def call(
        self,
        address: str,
        path: str,
        request: msgspec.Struct,
        reply: type[R],
        *,
        role: NodeRole | None = "manager",
        node_id: str = "",
        timeout_s: float = CALL_DEADLINE_S,
    ) -> R:
        """See the contract."""
        answer = await self._within(
            timeout_s,
            address,
            self._call(address, path, msgspec.json.encode(request), role, node_id),
        )
        return decode_reply(answer, reply, path)

    async def _call(
        self, address: str, path: str, body: bytes, role: NodeRole | None, node_id: str
    ) -> bytes:
        incoming = await self._ask(address, "POST", path, {}, {}, body, role, node_id)
        try:
            return await incoming.read()
        finally:
            await incoming.close()

    @asynccontextmanager
    async def stream(
        self,
        address: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | AsyncIterable[bytes] | None = None,
        role: NodeRole | None = "manager",
        node_id: str = "",
        timeout_s: float = CALL_DEADLINE_S,
    ) -> AsyncIterator[Incoming]:
        """See the contract."""
        incoming = await self._within(
            timeout_s,
            address,
            self._ask(
                address, method, path, query or {}, headers or {}, body or b"", role, node_id
            ),
        )
        try:
            yield incoming
        finally:
            await incoming.close()

    async def socket(
        self,
        address: str,
        path: str,
        *,
        role: NodeRole | None = "manager",
        node_id: str = "",
        timeout_s: float = CALL_DEADLINE_S,
    ) -> Socket:
        """See the contract."""
        made = await self._within(timeout_s, address, self._open(address, path, role, node_id))
        self._sockets = [each for each in self._sockets if each.open]
        self._sockets.append(made)
        return made

    async def close(self) -> None:
        """Close every socket."""
        for socket in self._sockets:
            await socket.close()

    async def _reach(self, address: str, role: NodeRole | None, node_id: str) -> PeerNode:
        """The node at ``address``, who is whom we ask for."""
        await self._hub.link(self._node.address, address).passage(self._hub.clock.monotonic())
        found = self._hub.nodes.get(address)
        if not self._node.alive:
            raise Unreachable(address, "this process is gone")
        if found is None or not found.alive or not found.started:
            raise Unreachable(address, _REFUSED)
        ours, theirs = self._node.identity, found.identity
        wrong = ""
        if theirs is None or (ours is not None and theirs.cluster_id != ours.cluster_id):
            wrong = "it is not a node of this cluster"
        elif node_id and theirs.node_id != node_id:
            wrong = f"it is node {theirs.node_id}, not {node_id}"
        elif role is not None and theirs.role != role:
            wrong = f"it is a {theirs.role}, and this needs a {role}"
        if wrong:
            raise Impostor(f"refused to talk to {address}: {wrong}")
        return found

    def _request(
        self, found: PeerNode, method: str, path: str, **more: Any
    ) -> tuple[PeerRoute, PeerRequest]:
        route, match = found.server.find(method, path)
        identity = self._node.identity
        if identity is not None and found.identity is not None:
            identity = identity if identity.cluster_id == found.identity.cluster_id else None
        return route, PeerRequest(
            method=method,
            path=path,
            match=match,
            identity=found.server.admit(route, identity),
            remote=self._node.address.rpartition(":")[0],
            **more,
        )

    async def _ask(
        self,
        address: str,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes | AsyncIterable[bytes],
        role: NodeRole | None,
        node_id: str,
    ) -> _MemoryIncoming:
        found = await self._reach(address, role, node_id)
        link = self._hub.link(self._node.address, address)
        try:
            route, request = self._request(
                found,
                method,
                path,
                query=dict(query),
                headers={name.lower(): value for name, value in headers.items()},
                body=_pieces(body),
            )
            assert route.handler is not None
            reply = await found.run(address, partial(route.handler, request))
        except Exception as error:
            if isinstance(error, Unreachable) and error.address == address:
                raise
            raise _carried(error) from error
        finally:
            await link.passage(self._hub.clock.monotonic())
        return _MemoryIncoming(address, link, self._hub.clock, reply, found.tasks)

    async def _open(
        self, address: str, path: str, role: NodeRole | None, node_id: str
    ) -> MemorySocket:
        found = await self._reach(address, role, node_id)
        link = self._hub.link(self._node.address, address)
        try:
            route, request = self._request(found, "GET", path)
        except SampanError as error:
            raise _carried(error) from error
        assert route.socket is not None
        there, back = (
            Half(self._hub.tasks, self._hub.clock, link),
            Half(self._hub.tasks, self._hub.clock, link),
        )
        near = MemorySocket(self._node.address, back, there)
        far = MemorySocket(address, there, back)
        self._node.sockets.append(near)
        found.sockets.append(far)
        caller = request.identity.node_id if request.identity is not None else ""
        found.inbound.append((caller, far))
        found.tasks.spawn(
            _serve(route.socket(request, far), far, found, (caller, far)), name=f"socket {path}"
        )
        await link.passage(self._hub.clock.monotonic())
        return near

    async def _within(self, seconds: float, address: str, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await within(self._hub.clock, seconds, work)
        except TimeoutError:
            raise Unreachable(address, f"no answer within {seconds:g} s") from None


class PeerNode:
    """One process of one host: its server, its client, what it proves itself with."""

    def __init__(
        self, hub: PeerHub, address: str, identity: Identity | None, role_of: RoleOf
    ) -> None:
        self.address = address
        self.identity = identity
        """May be changed: a role that was renewed."""
        self.server = MemoryServer(hub, self, role_of)
        self.client = MemoryClient(hub, self)
        self.tasks = Tasks()
        self.sockets: list[MemorySocket] = []
        self.inbound: list[tuple[str, MemorySocket]] = []
        self.alive = True
        self.started = False

    def start(self) -> None:
        """Answer."""
        self.started = True

    async def run(self, address: str, handler: Callable[[], Awaitable[Reply]]) -> Reply:
        """Run a handler as this process would: it ends with the process, not with the caller."""

        async def answer() -> Reply:
            return await handler()

        answering = self.tasks.attempt(answer(), name=f"peers/handler {address}")
        await asyncio.wait({answering})
        if answering.cancelled():
            raise Unreachable(address, RESET)
        return answering.result().value()


class PeerHub:
    """The network. ``close`` it, or use it as an async context."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.tasks = Tasks()
        self.nodes: dict[str, PeerNode] = {}
        self._links: dict[frozenset[str], Link] = {}

    async def __aenter__(self) -> PeerHub:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def node(self, address: str, identity: Identity | None, role_of: RoleOf) -> PeerNode:
        """A process at ``address`` (``host:port``), in the place of one that has crashed there."""
        old = self.nodes.get(address)
        assert old is None or not old.alive, f"{address} is taken"
        self.nodes[address] = PeerNode(self, address, identity, role_of)
        return self.nodes[address]

    def link(self, one: str, other: str) -> Link:
        """The link between two addresses."""
        return self._links.setdefault(frozenset((one, other)), Link(self.clock))

    def cut(self, one: str, *others: str) -> None:
        """Nothing passes between ``one`` and ``others`` (none given: everybody else)."""
        for other in others or [address for address in self.nodes if address != one]:
            self.link(one, other).cut()

    def heal(self, one: str, *others: str) -> None:
        """Undo ``cut``; what was on the way arrives."""
        for other in others or [address for address in self.nodes if address != one]:
            self.link(one, other).heal()

    def delay(self, one: str, other: str, seconds: float) -> None:
        """Whatever passes takes this long."""
        self.link(one, other).delay_s = seconds

    async def crash(self, address: str) -> None:
        """kill -9 of a process: its handlers end where they are, its connections are reset."""
        node = self.nodes[address]
        node.alive = False
        for socket in node.sockets:
            socket.reset()
        await node.tasks.close()

    async def close(self) -> None:
        """End everything."""
        for address, node in list(self.nodes.items()):
            if node.alive:
                await self.crash(address)
        await self.tasks.close()


async def _serve(
    work: Awaitable[None],
    socket: MemorySocket,
    node: PeerNode,
    entry: tuple[str, MemorySocket],
) -> None:
    reason = ""
    try:
        await work
    except SocketClosed:
        pass  # it was told, and that ended it
    except SampanError as error:
        reason = str(error)
    except Exception as error:
        log.exception("the handler of a socket failed")
        reason = str(_carried(error))
    finally:
        node.inbound.remove(entry)
        node.sockets.remove(socket)
    await socket.close(reason)


async def _pieces(body: bytes | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    if isinstance(body, bytes):
        if body:
            yield body
    else:
        async for piece in body:
            yield piece


def _carried(error: Exception) -> SampanError:
    """The error as it comes out at the other end."""
    if not isinstance(error, SampanError):
        log.error("a handler failed", exc_info=error)
    return load(dump(error)[1])
