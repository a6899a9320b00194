"""Every manager's dispatcher, leader or not: it serves the agents that chose this manager.

    Dispatcher(store, server, sealing, clock, node_id)
        registers ``/session`` and what ``attachments`` answers on ``server`` at once (with
        server=None the owner routes ``SESSION_PATH`` to ``serve`` itself, for routes cannot be
        registered twice); answers Unavailable until it is entered
    async with dispatcher: ...   serves; on the way out every session is ended, nothing is written

It writes a task's status and a node's status, address and description, nothing else. A node is
``ready`` while its session lives; ``disconnected`` when its agent said goodbye; ``down`` when three
heartbeats are missing, counted from the last sign of life (more after a goodbye), or when it left.
Sessions whose manager died are the leader's to watch (``status.manager`` not in ``state.present``);
those of this manager's own former life are taken up here with a fresh grace.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

import msgspec

from sampan.aio import Clock, Tasks, breathe, deadline, first_of
from sampan.cluster.contract import ClusterStore, Feed, StoreLagged
from sampan.cluster.dispatcher.agent_session import AgentSession
from sampan.cluster.dispatcher.attachments import AttachmentServer
from sampan.cluster.dispatcher.index import AssignmentIndex, Touched
from sampan.cluster.dispatcher.node_sessions import NodeSessions
from sampan.cluster.dispatcher.outbox import Outbox
from sampan.cluster.dispatcher.statuses import StatusWriter
from sampan.cluster.heartbeat import HEARTBEAT_FAILURE, grace_s, heartbeat_s
from sampan.cluster.manager_parts import Sealing
from sampan.cluster.peer.contract import Allow, PeerRequest, Server, Socket, SocketClosed
from sampan.cluster.protocol.messages import (
    SESSION_PATH,
    Hello,
    Kick,
    NodeAddress,
    Nodes,
    Session,
    decode_up,
    encode,
)
from sampan.cluster.records import new_id
from sampan.errors import Unavailable

log = logging.getLogger(__name__)

HELLO_DEADLINE_S = 10.0
GOODBYE_GRACES = 3
"""How many times longer than usual a node may be away that has said goodbye: a daemon's restart or
upgrade moves no task."""
KINDS = ("task", "service", "network", "node", "cluster")
_THROUGH = object()


@dataclass(slots=True)
class DisconnectedNode:
    """A node whose session is over without a word: it has until ``deadline`` to come back."""

    node_id: str
    session_id: str
    deadline: float


class Dispatcher:
    def __init__(
        self,
        store: ClusterStore,
        server: Server | None,
        sealing: Sealing,
        clock: Clock,
        node_id: str,
    ) -> None:
        self._store, self._sealing, self._clock, self._node_id = store, sealing, clock, node_id
        self._sessions: dict[str, AgentSession] = {}
        """By node id."""
        self._disconnected: dict[str, DisconnectedNode] = {}
        """By node id."""
        self._nodes = NodeSessions(store, clock, node_id)
        self._statuses = StatusWriter(store, clock)
        self._quorate = True
        self._known_period_s = 0.0
        self._other_period = asyncio.Event()
        """Set when the period of heartbeats changes; the next change has an event of its own."""
        self._managers: tuple[NodeAddress, ...] = ()
        self._ready = b""
        """The message that tells which nodes are ready."""
        self._index: AssignmentIndex | None = None
        self._feed: Feed | None = None
        self._tasks = Tasks()
        if server is not None:
            server.socket(SESSION_PATH, self.serve, allow=Allow.NODES)
            AttachmentServer(store, clock, lambda: self._index is not None).register(server)

    # -- life

    async def __aenter__(self) -> Dispatcher:
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def start(self) -> None:
        self._feed = self._store.feed(*KINDS)
        index = AssignmentIndex(self._store.state)
        slices = index.rebuild()
        if next(slices, _THROUGH) is _THROUGH:
            self._index = index  # of a large cluster it is there a few seconds later
        self._survey()
        self._known_period_s = self._period()
        grace = grace_s(self._known_period_s)
        for node in self._store.state.nodes.values():
            if node.status.manager == self._node_id and node.status.state != "down":
                self._disconnected[node.id] = DisconnectedNode(
                    node.id, node.status.session, self._clock.monotonic() + grace
                )
        self._tasks.spawn(self._follow(index, slices), name="dispatcher feed")
        self._tasks.spawn(self._statuses.run(), name="dispatcher statuses")
        self._tasks.spawn(self._watch(), name="dispatcher heartbeats")
        self._tasks.spawn(self._guard(), name="dispatcher quorum")

    async def close(self) -> None:
        """End every session without touching the nodes' status: they go to other managers."""
        self._index = None
        for session in list(self._sessions.values()):
            session.end("this manager stops serving")
        if self._feed is not None:
            self._feed.close()
            self._feed = None
        await self._tasks.close()

    @property
    def sessions(self) -> frozenset[str]:
        """Ids of the nodes that are served here."""
        return frozenset(self._sessions)

    # -- an agent comes

    async def serve(self, request: PeerRequest, socket: Socket) -> None:
        """Handler of ``SESSION_PATH``. The caller's certificate says which node it is."""
        node_id = request.caller.node_id
        hello = await self._hello(socket)
        if hello is None:
            return
        if self._index is None:
            raise Unavailable("this manager does not serve nodes now")
        if node_id not in self._store.state.nodes:
            await self._store.barrier()  # it may have joined through another manager just now
        session = AgentSession(
            new_id(),
            node_id,
            hello,
            socket,
            Outbox(node_id, self._store, self._index, self._sealing),
            clock=self._clock,
            statuses=self._statuses,
            nodes=self._nodes,
        )
        if not await self._nodes.register(node_id, session.id, hello):
            with suppress(SocketClosed):
                await socket.send(encode(Kick(reason=f"node {node_id} was removed", removed=True)))
            return
        if self._index is None:
            raise Unavailable("this manager does not serve nodes now")
        node = self._store.state.nodes.get(node_id)
        if node is None or node.status.session != session.id:
            return  # it came again, here or elsewhere, while this was being written
        if (older := self._sessions.get(node_id)) is not None:
            older.superseded = True
            older.end("the node has a newer session")
        self._sessions[node_id] = session
        self._disconnected.pop(node_id, None)
        # Anything between the registration and here is in the state that the outbox starts from.
        session.heard = self._clock.monotonic()
        self._report(session)
        log.info("session with %s (%d tasks there)", node_id, hello.tasks)
        try:
            await session.run()
        finally:
            await self._ended(session)

    async def _hello(self, socket: Socket) -> Hello | None:
        try:
            async with deadline(self._clock, HELLO_DEADLINE_S):
                message = decode_up(await socket.receive())
        except (SocketClosed, TimeoutError, msgspec.DecodeError) as error:
            log.info("a session that did not begin: %s", error)
            return None
        return message if isinstance(message, Hello) else None

    async def _ended(self, session: AgentSession) -> None:
        if self._sessions.get(session.node_id) is session:
            del self._sessions[session.node_id]
        if session.superseded or self._index is None:
            return
        deadline = session.heard + grace_s(session.period_s)
        self._disconnected[session.node_id] = DisconnectedNode(
            session.node_id, session.id, deadline
        )
        if (goodbye := session.goodbye) is None:
            return
        if goodbye.leaving:
            self._disconnected[session.node_id].deadline = self._clock.monotonic()
            await self._down(self._disconnected[session.node_id], "node left the swarm")
            return
        # Its containers run and serve on: to replace them before it is back would be the outage.
        self._disconnected[session.node_id].deadline += GOODBYE_GRACES * grace_s(session.period_s)
        try:
            await self._nodes.ended(
                session.node_id, session.id, "disconnected", "the node's daemon has stopped"
            )
        except Unavailable as error:
            log.warning("node %s has left, but that cannot be recorded: %s", session.node_id, error)

    # -- an agent goes

    async def _watch(self) -> None:
        while True:
            now = self._clock.monotonic()
            deadlines = [g.deadline for g in self._disconnected.values()]
            deadlines += [s.heard + grace_s(s.period_s) for s in self._sessions.values()]
            period = self._period()
            pause = min(max(min(deadlines, default=now + period) - now, 0.02), period)
            if await self._interrupted(pause):
                continue
            late = self._clock.monotonic() - now - pause
            if late > period:
                # We slept too long ourselves (a frozen machine): what they said meanwhile is
                # still in their sockets.
                log.warning("this manager stood still for %.1f s", late)
                for session in self._sessions.values():
                    session.heard += late
                for lost in self._disconnected.values():
                    lost.deadline += late
                continue
            await self._expire(self._clock.monotonic())

    async def _interrupted(self, seconds: float) -> bool:
        """Sleep; True: not so long, for another period holds now."""
        first, _ = await first_of(due=self._clock.sleep(seconds), other=self._other_period.wait())
        return first == "other"

    def _follow_period(self) -> None:
        if (period := self._period()) != self._known_period_s:
            self._known_period_s = period
            self._other_period.set()
            self._other_period = asyncio.Event()

    async def _expire(self, now: float) -> None:
        for session in list(self._sessions.values()):
            if session.heard + grace_s(session.period_s) <= now:
                del self._sessions[session.node_id]
                self._disconnected[session.node_id] = DisconnectedNode(
                    session.node_id, session.id, now
                )
                session.superseded = True  # its end says nothing that the ghost does not
                session.end(HEARTBEAT_FAILURE)
        if not self._quorate:
            return
        for lost in [g for g in self._disconnected.values() if g.deadline <= now]:
            await self._down(lost, HEARTBEAT_FAILURE)

    async def _guard(self) -> None:
        """A manager without quorum sends its nodes to the others, if there are any; and when it
        has it back, nobody is down only because nobody could write that he was up."""
        while True:
            period = self._period()
            if await self._interrupted(period):
                continue
            try:
                await self._store.barrier()
            except Unavailable as error:
                self._quorate = False
                for session in list(self._sessions.values()):
                    session.end(str(error))
                continue
            if not self._quorate:
                self._quorate = True
                deadline = self._clock.monotonic() + grace_s(period)
                for lost in self._disconnected.values():
                    lost.deadline = max(lost.deadline, deadline)

    async def _down(self, lost: DisconnectedNode, message: str) -> None:
        try:
            await self._nodes.ended(lost.node_id, lost.session_id, "down", message)
        except Unavailable as error:
            log.warning("node %s is down, but that cannot be recorded: %s", lost.node_id, error)
            self._quorate = False
            lost.deadline = self._clock.monotonic() + 1.0
            return
        if self._disconnected.get(lost.node_id) is lost:
            del self._disconnected[lost.node_id]

    # -- the cluster changes

    async def _follow(self, index: AssignmentIndex, slices: Iterator[None]) -> None:
        again = False
        while (feed := self._feed) is not None:
            try:
                for _ in slices:
                    await breathe()
                    for batch in feed.waiting():
                        self._spread(index.apply(batch.changes))
                if again or self._index is None:
                    self._survey()
                self._index = index
                for session in list(self._sessions.values()) if again else ():
                    session.outbox.mark_all()
                    self._check(session)
                    self._report(session)
                    session.wake()
                async for batch in feed:
                    self._spread(index.apply(batch.changes))
                return
            except StoreLagged:
                log.warning("the dispatcher fell behind the store: everything is compared anew")
                feed.close()
            except Exception:
                log.exception("the dispatcher lost its way: everything is compared anew")
                feed.close()
                await self._clock.sleep(1.0)
            self._feed, again = self._store.feed(*KINDS), True
            slices = index.rebuild()

    def _spread(self, touched: Touched) -> None:
        facts = touched.managers or touched.cluster
        if touched.managers:
            self._survey()
        if touched.nodes or touched.cluster:
            self._follow_period()
        for node_id, session in list(self._sessions.items()):
            outbox, wake = session.outbox, False
            if ids := touched.tasks.get(node_id):
                outbox.mark_tasks(ids)
                wake = True
            if touched.records:
                outbox.mark_records()
                wake = True
            if touched.networks or touched.ingress:
                wake = outbox.mark_view(touched.networks, ingress=touched.ingress) or wake
            if node_id in touched.nodes:
                self._check(session)
            if facts or node_id in touched.nodes:
                self._report(session)
            if wake:
                session.wake()

    def _check(self, session: AgentSession) -> None:
        """The node's record may say that this session is not the one, or has no right to be."""
        node = self._store.state.nodes.get(session.node_id)
        if node is None:
            session.end(f"node {session.node_id} was removed from the cluster", removed=True)
        elif node.status.session != session.id:
            session.superseded = True
            session.end("the node has a newer session with another manager")
        elif node.status.state != "ready":
            # Declared down by someone who could not see that it talks to us.
            self._tasks.spawn(self._register_again(session), name=f"register {node.id}")

    async def _register_again(self, session: AgentSession) -> None:
        node = self._store.state.nodes.get(session.node_id)
        if node is None or self._sessions.get(session.node_id) is not session:
            return
        hello = msgspec.structs.replace(session.hello, description=node.description)
        try:
            await self._nodes.register(session.node_id, session.id, hello)
        except Unavailable as error:
            session.end(str(error))

    def _survey(self) -> None:
        """Who there is: the same for every session, so it is put together once a change."""
        nodes = sorted(self._store.state.nodes.values(), key=lambda n: n.id)
        self._managers = tuple(
            NodeAddress(
                node_id=n.id,
                address=n.manager.address or n.address,
                name=n.description.hostname,
            )
            for n in nodes
            if n.manager is not None
        )
        self._ready = encode(
            Nodes(
                nodes=tuple(
                    NodeAddress(node_id=n.id, address=n.address, name=n.description.hostname)
                    for n in nodes
                    if n.status.state == "ready"
                )
            )
        )

    def _report(self, session: AgentSession) -> None:
        state = self._store.state
        node = state.nodes.get(session.node_id)
        if node is None:
            return
        session.report(
            Session(
                id=session.id,
                heartbeat_s=self._period(),
                managers=self._managers,
                node=node.spec,
                role=node.role,
            ),
            state.cluster.trusted_roots if state.cluster is not None else "",
            self._ready,
        )

    def _period(self) -> float:
        """Seconds between heartbeats."""
        state = self._store.state
        chosen = state.cluster.spec.dispatcher.heartbeat_period if state.cluster is not None else 0
        return heartbeat_s(len(state.nodes), chosen)
