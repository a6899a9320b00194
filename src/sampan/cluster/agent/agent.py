"""Every node's agent, managers' too: it runs the tasks that the cluster has for this node.

    Agent(node_id=, address=, data_path_address=, client=, executor=, overlay=, files=, clock=,
          managers=(addresses), server=None, prefer="", on_session=, on_roots=, on_removed=,
          attachments=, joining=False)
        with a ``server`` it registers the route of its tasks' logs there at once (else the owner
        routes it: ``agent.logs``, see ``protocol/logs.py``)
    async with agent: ...    runs; on the way out says goodbye, containers run on
    await agent.leave()      tasks stop and go, networks too, managers are told; then ``close``
    agent.prefer = address   the manager on this host (promotion), "" for none (demotion)

``on_session(Session)`` tells of the role and specification the managers have for this node, at the
start of each session and on changes; ``on_roots(pem)`` of other trusted roots; ``on_removed(why)``
that the cluster has removed this node: its tasks have been stopped by then.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import TypeVar

import msgspec

from sampan.aio import Clock, Tasks
from sampan.cluster.agent.attachments import ClusterAttachments, ManagerLink
from sampan.cluster.agent.contract import Executor
from sampan.cluster.agent.dataplane import DataPlane
from sampan.cluster.agent.files import AgentFiles
from sampan.cluster.agent.logs import LogRoute
from sampan.cluster.agent.manager_session import ManagerSessions, NodeRemoved
from sampan.cluster.agent.reports import Reports
from sampan.cluster.agent.withdrawal import Withdrawal
from sampan.cluster.agent.worker import TaskWorker
from sampan.cluster.peer.contract import Client, Server
from sampan.cluster.protocol.messages import (
    Assignments,
    Down,
    Hello,
    Nodes,
    RootsChanged,
    Session,
    ViewChange,
)
from sampan.cluster.records import NodeDescription, TaskAttachment
from sampan.errors import SampanError, Unavailable
from sampan.network.overlay.contract import DataPlaneView, Overlay

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R", bound=msgspec.Struct)

DESCRIBE_EVERY_S = 30.0
ASK_S = 4.0
ASK_STRANGER_S = 1.5
"""For one that may be gone: there may be others."""


async def _nothing(_: object) -> None:
    return None


class Agent:
    def __init__(
        self,
        *,
        node_id: str,
        address: str,
        data_path_address: str,
        client: Client,
        executor: Executor,
        overlay: Overlay | None,
        files: AgentFiles,
        clock: Clock,
        managers: Sequence[str] = (),
        server: Server | None = None,
        prefer: str = "",
        on_session: Callable[[Session], Awaitable[None]] = _nothing,
        on_roots: Callable[[str], Awaitable[None]] = _nothing,
        on_removed: Callable[[str], Awaitable[None]] = _nothing,
        rng: random.Random | None = None,
        attachments: ClusterAttachments | None = None,
        joining: bool = False,
    ) -> None:
        self._joining = joining
        self._address, self._data_path_address = address, data_path_address
        self._executor, self._clock = executor, clock
        self._seeds = tuple(managers)
        self._on_session, self._on_roots, self._on_removed = on_session, on_roots, on_removed
        self._description = NodeDescription()
        self._roots = ""
        self._client = client
        self._reports = reports = Reports(clock)
        self._attachments = attachments or ClusterAttachments(clock)
        self._dataplane = DataPlane(node_id, overlay, clock)
        self._withdrawal = Withdrawal(
            node_id, self._dataplane, client, clock, lambda: self._worker.supplies.sources
        )
        self._worker = TaskWorker(
            node_id,
            executor,
            files,
            reports,
            clock,
            self._attachments,
            self._withdrawal.everywhere,
        )
        self._sessions = ManagerSessions(
            client,
            self._worker,
            reports,
            clock,
            rng or random.Random(),
            hello=self._hello,
            heard=self._heard,
        )
        self._sessions.prefer = prefer
        self._tasks = Tasks()
        self._session: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None
        self.logs = LogRoute(executor, self._worker, clock)
        if server is not None:
            self.logs.mount(server)
            self._withdrawal.register(server)

    # -- life

    async def __aenter__(self) -> Agent:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Take up what runs here, and look for a manager in the background."""
        self._description = await self._describe()
        await self._worker.begin()
        link = ManagerLink(ask=self._ask, report=self._reports.put, ensure=self._ensure)
        self._attachments.join(link, await self._executor.attached())
        self._following = self._tasks.spawn(self._dataplane.run(), name="agent data plane")
        self._tasks.spawn(self._redescribe(), name="agent description")
        self._session = self._tasks.spawn(self._keep_session(), name="agent session")

    async def close(self) -> None:
        """The daemon stops: containers run on."""
        await self._attachments.part()
        await self._sessions.goodbye(leaving=False)
        await self._tasks.close()
        await self._worker.close()
        await self._withdrawal.close()

    async def leave(self) -> None:
        """The host leaves the cluster. Returns when no container and no network of it is left."""
        # Heard before the goodbye: nobody tells of these containers' end later.
        await self._executor.evict()
        await self._sessions.goodbye(leaving=True)
        if self._session is not None:
            self._session.cancel()
            await asyncio.wait({self._session})
        await self._clear()
        await self._tasks.close()
        await self._withdrawal.close()

    async def _clear(self) -> None:
        await self._executor.evict()
        await self._attachments.part()
        self._withdrawal.leave()
        await self._worker.leave()
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})
        await self._dataplane.leave()

    # -- what others ask

    @property
    def manager(self) -> str:
        """Address of the manager that holds the session; empty: none does."""
        return self._sessions.manager

    @property
    def managers(self) -> tuple[str, ...]:
        """Addresses of the managers that are known."""
        known = tuple(manager.address for manager in self._worker.managers)
        return known or self._seeds

    @property
    def prefer(self) -> str:
        return self._sessions.prefer

    @prefer.setter
    def prefer(self, address: str) -> None:
        self._sessions.prefer = address

    @property
    def view(self) -> DataPlaneView:
        """What this node was last told of networks."""
        return self._dataplane.view

    # -- the session

    def _hello(self) -> Hello:
        return Hello(
            description=self._description,
            address=self._address,
            data_path_address=self._data_path_address,
            tasks=self._worker.count,
            joining=self._joining,
        )

    async def _keep_session(self) -> None:
        try:
            await self._sessions.run(lambda: self.managers)
        except NodeRemoved as error:
            log.warning("this node was removed from the cluster: %s", error)
            await self._clear()
            await self._on_removed(str(error))

    async def _heard(self, message: Down) -> None:
        match message:
            case Assignments():
                await self._worker.apply(message)
            case ViewChange():
                self._dataplane.take(message)
            case Session(heartbeat_s=period, managers=managers):
                self._sessions.beat_every(period)
                self._worker.remember_managers(managers)
                await self._report(self._on_session, message)
            case Nodes(nodes=nodes):
                self._worker.remember_nodes(nodes)
            case RootsChanged(trusted_roots=roots):
                if roots and roots != self._roots:
                    self._roots = roots
                    await self._report(self._on_roots, roots)

    async def _report(self, listener: Callable[[T], Awaitable[None]], what: T) -> None:
        """Its failure is its own: the session goes on."""
        try:
            await listener(what)
        except Exception:
            log.exception("what the manager said could not be followed")

    async def joined(self) -> None:
        """Joining, of which it was told at the start, has succeeded."""
        self._joining = False
        await self._sessions.joined()

    # -- containers that are not tasks

    async def _ask(self, path: str, request: msgspec.Struct, reply: type[R]) -> R:
        """Any manager's answer, the session's first: it has just shown that it lives.

        Raises:
            SampanError; Unavailable: of the last, where none answered.
        """
        refused = Unavailable("no manager of the swarm is known")
        own = self._sessions.manager
        for address in dict.fromkeys((own, self.prefer, *self.managers)):
            if not address:
                continue
            limit = ASK_S if address == own else ASK_STRANGER_S
            try:
                return await self._client.call(address, path, request, reply, timeout_s=limit)
            except Unavailable as error:
                refused = error
        raise refused

    async def _ensure(self, places: tuple[TaskAttachment, ...]) -> None:
        await self._executor.ensure(places, self._worker.supplies)

    # -- the description

    async def _describe(self) -> NodeDescription:
        found = await self._executor.describe()
        # The cluster's own networks are no obstacle to the cluster's networks.
        own = {network.subnet for network in self._dataplane.view.networks}
        routes = tuple(route for route in found.routes if route not in own)
        return msgspec.structs.replace(found, routes=routes)

    async def _redescribe(self) -> None:
        while True:
            await self._clock.sleep(DESCRIBE_EVERY_S)
            await self.describe_again()

    async def describe_again(self) -> None:
        """Something about this host has changed: tell the managers now."""
        try:
            description = await self._describe()
        except (SampanError, OSError) as error:
            log.warning("this host cannot be described: %s", error)
            return
        if description != self._description:
            self._description = description
            await self._sessions.describe(description)
