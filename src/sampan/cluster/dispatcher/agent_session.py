"""One agent's session, from its Hello to the end of its socket."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from sampan.aio import Clock, deadline, first_of
from sampan.cluster.dispatcher.node_sessions import NodeSessions
from sampan.cluster.dispatcher.outbox import Outbox
from sampan.cluster.dispatcher.statuses import StatusWriter
from sampan.cluster.peer.contract import Socket, SocketClosed
from sampan.cluster.protocol.messages import (
    DescriptionChanged,
    Goodbye,
    Heartbeat,
    Hello,
    Joined,
    Kick,
    Pong,
    RootsChanged,
    Session,
    StatusUpdates,
    Up,
    decode_up,
    encode,
)
from sampan.errors import Unavailable

log = logging.getLogger(__name__)

KICK_S = 2.0
"""To tell an agent to go, which may be gone."""

_PONG = encode(Pong())


class AgentSession:
    """``run`` it once. ``end`` may be called from anywhere, any number of times."""

    def __init__(
        self,
        id: str,
        node_id: str,
        hello: Hello,
        socket: Socket,
        outbox: Outbox,
        *,
        clock: Clock,
        statuses: StatusWriter,
        nodes: NodeSessions,
    ) -> None:
        self.id, self.node_id, self.hello = id, node_id, hello
        self.outbox = outbox
        self.heard = clock.monotonic()
        """When the agent last said something."""
        self.period_s = 1.0
        """Between heartbeats, as the agent was last told."""
        self.goodbye: Goodbye | None = None
        self.superseded = False
        self._socket, self._clock = socket, clock
        self._statuses, self._nodes = statuses, nodes
        self._wake = asyncio.Event()
        self._over: asyncio.Future[Kick] = asyncio.get_running_loop().create_future()
        self._facts: Session | None = None
        self._roots: str | None = None
        self._nodes_reported = b""
        self._urgent: list[bytes] = []

    # -- what the dispatcher says

    def wake(self) -> None:
        """The outbox has something."""
        self._wake.set()

    def report(self, facts: Session, roots: str, nodes: bytes) -> None:
        """What the agent must know of its session; sent if it has changed. ``nodes`` is a whole
        message, encoded: the same for everyone."""
        if facts != self._facts:
            self._facts = facts
            if facts.heartbeat_s < self.period_s:
                # What it said last was in time by the longer period.
                self.heard = self._clock.monotonic()
            self.period_s = facts.heartbeat_s
            self._urgent.append(encode(facts))
            self._wake.set()
        if nodes != self._nodes_reported:
            self._nodes_reported = nodes
            self._urgent.append(nodes)
            self._wake.set()
        if roots != self._roots:
            # The first is what it connected with, or will be told below: never a difference.
            self._roots = roots
            self._urgent.append(encode(RootsChanged(trusted_roots=roots)))
            self._wake.set()

    def end(self, reason: str, *, removed: bool = False) -> None:
        if not self._over.done():
            self._over.set_result(Kick(reason=reason, removed=removed))

    # -- the socket

    async def run(self) -> None:
        """Until the socket closes or ``end``."""
        try:
            await first_of(over=self._over, incoming=self._receive(), outgoing=self._send())
            if self._over.done():
                kick = self._over.result()
                log.info("session with %s: %s", self.node_id, kick.reason)
                try:
                    async with deadline(self._clock, KICK_S):
                        await self._socket.send(encode(kick))
                except (SocketClosed, TimeoutError):
                    log.debug("node %s was gone before it was told to go", self.node_id)
        finally:
            await self._socket.close()

    async def _send(self) -> None:
        try:
            while True:
                urgent, self._urgent = self._urgent, []
                for data in urgent:
                    await self._socket.send(data)
                for data in self.outbox.collect():
                    await self._socket.send(data)
                await self._wake.wait()
                self._wake.clear()
        except SocketClosed:
            return

    async def _receive(self) -> None:
        try:
            while True:
                message = decode_up(await self._socket.receive())
                self.heard = self._clock.monotonic()
                if isinstance(message, Goodbye):
                    self.goodbye = message
                    return
                await self._take(message)
        except SocketClosed:
            return
        except msgspec.DecodeError as error:
            log.warning("node %s sent a message that cannot be read: %s", self.node_id, error)
            self.end(f"a message that cannot be read: {error}")

    async def _take(self, message: Up) -> None:
        match message:
            case StatusUpdates(statuses=statuses):
                self._statuses.put(self.node_id, statuses)
            case Heartbeat():
                self._urgent.append(_PONG)
                self._wake.set()
            case Joined():
                try:
                    await self._nodes.joined(self.node_id)
                except Unavailable as error:
                    # The next session says it again.
                    self.end(f"it cannot be written down that the node has joined: {error}")
            case DescriptionChanged(description=description):
                try:
                    await self._nodes.describe(self.node_id, description)
                except Unavailable as error:
                    log.warning("description of node %s: %s", self.node_id, error)
