"""Managers' dispatchers and nodes' agents in one process, on fakes, in virtual time.

async with AgentWorld() as world:
    manager = await world.manager("m1")
    node = await world.node("w1")
    await world.put(task)
    await world.until(lambda: world.state_of("t1") is TaskState.RUNNING)
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from sampan.cluster.agent.agent import Agent
from sampan.cluster.agent.attachments import ClusterAttachments
from sampan.cluster.agent.files import Memory
from sampan.cluster.contract import ClusterStore, Draft
from sampan.cluster.dispatcher.dispatcher import Dispatcher
from sampan.cluster.peer.contract import Identity, NodeRole
from sampan.cluster.records import Cluster, ManagerPart, Node, Object, Task
from sampan.cluster.states import TaskState
from sampan.network.overlay.contract import DataPlaneView
from sampan.testing.clock import FakeClock, settle
from sampan.testing.cluster_store import MemoryCluster
from sampan.testing.executor import Delays, FakeExecutor, FakeHost
from sampan.testing.peers import PeerHub, PeerNode

O = TypeVar("O", bound=Object)  # noqa: E741

CLUSTER_ID = "c"


class MemoryFiles:
    """``AgentFiles`` of an agent whose memory need not outlive the process."""

    def __init__(self) -> None:
        self.memory = Memory()

    async def load(self) -> Memory:
        return self.memory

    async def save(self, memory: Memory) -> None:
        self.memory = memory

    async def forget(self) -> None:
        self.memory = Memory()


class PlainSealing:
    """``Sealing`` that anybody can open."""

    def seal(self, plain: bytes, *, about: str) -> bytes:
        return about.encode() + b"|" + plain

    def unseal(self, sealed: bytes, *, about: str) -> bytes:
        owner, _, plain = sealed.partition(b"|")
        assert owner == about.encode(), f"sealed for {owner!r}, not for {about}"
        return plain


class FakeOverlay:
    """``Overlay`` that remembers."""

    def __init__(self) -> None:
        self.applied = DataPlaneView()
        self.history: list[DataPlaneView] = []
        self.broken: Exception | None = None
        self.left = False
        self.late = asyncio.Event()
        """Clear: what it is told is applied only when this is set."""
        self.late.set()

    async def apply(self, view: DataPlaneView) -> None:
        await self.late.wait()
        if self.broken is not None:
            raise self.broken
        self.applied = view
        self.history.append(view)

    async def leave(self) -> None:
        self.applied, self.left = DataPlaneView(), True


@dataclass(eq=False)
class FakeManager:
    id: str
    address: str
    store: ClusterStore
    peer: PeerNode
    dispatcher: Dispatcher


@dataclass(eq=False)
class FakeNode:
    """A host with its memory; ``agent`` is the daemon that runs on it now."""

    id: str
    address: str
    host: FakeHost
    executor: FakeExecutor
    overlay: FakeOverlay
    files: MemoryFiles
    peer: PeerNode
    agent: Agent
    attachments: ClusterAttachments
    """What the engine asks for places; as old as the daemon."""
    removed: list[str] = field(default_factory=list)
    roots: list[str] = field(default_factory=list)


class AgentWorld:
    def __init__(self, cluster: Cluster | None = None) -> None:
        self.clock = FakeClock()
        self.cluster = MemoryCluster(self.clock)
        self.hub = PeerHub(self.clock)
        self.sealing = PlainSealing()
        self.managers: dict[str, FakeManager] = {}
        self.nodes: dict[str, FakeNode] = {}
        self._record = cluster or Cluster(id=CLUSTER_ID, trusted_roots="root")
        self._rng = random.Random(7)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> AgentWorld:
        await self._stack.enter_async_context(self.cluster)
        await self._stack.enter_async_context(self.hub)
        return self

    async def __aexit__(self, *_: object) -> None:
        for node in self.nodes.values():
            await node.agent.close()
        for manager in self.managers.values():
            await manager.dispatcher.close()
        await self._stack.aclose()

    # -- making

    async def manager(self, id: str) -> FakeManager:
        """A manager with a dispatcher, and its node's record. Its agent is ``node(id)``'s."""
        store = await self.cluster.store()
        address = f"10.0.0.{len(self.managers) + 1}:2377"
        peer = self.hub.node(address, Identity(id, "manager", CLUSTER_ID), self.role_of)
        dispatcher = Dispatcher(store, peer.server, self.sealing, self.clock, id)
        manager = self.managers[id] = FakeManager(id, address, store, peer, dispatcher)
        if store.state.cluster is None:
            await self.put(self._record)
        await self.put(
            Node(
                id=id,
                role="manager",
                address=address,
                data_path_address=address.partition(":")[0],
                manager=ManagerPart(address=address),
            )
        )
        dispatcher.start()
        peer.start()
        return manager

    async def node(
        self, id: str, delays: Delays | None = None, *, joining: bool = False
    ) -> FakeNode:
        """A worker that has joined (or is at it), with its agent running."""
        address = f"10.0.1.{len(self.nodes) + 1}:2377"
        data_path = address.partition(":")[0]
        await self.put(Node(id=id, address=address, data_path_address=data_path, joining=joining))
        host = FakeHost(id)
        executor = FakeExecutor(self.clock, host, delays)
        overlay, files = FakeOverlay(), MemoryFiles()
        peer = self.hub.node(address, Identity(id, "worker", CLUSTER_ID), self.role_of)
        removed: list[str] = []
        roots: list[str] = []
        attachments = ClusterAttachments(self.clock)
        agent = self._agent(
            id, address, peer, executor, overlay, files, removed, roots, attachments, joining
        )
        node = self.nodes[id] = FakeNode(
            id, address, host, executor, overlay, files, peer, agent, attachments, removed, roots
        )
        host.left = attachments.detach
        await agent.start()
        peer.start()
        await settle()
        return node

    def _agent(
        self,
        id: str,
        address: str,
        peer: PeerNode,
        executor: FakeExecutor,
        overlay: FakeOverlay,
        files: MemoryFiles,
        removed: list[str],
        roots: list[str],
        attachments: ClusterAttachments,
        joining: bool = False,
    ) -> Agent:
        async def on_removed(why: str) -> None:
            removed.append(why)

        async def on_roots(pem: str) -> None:
            roots.append(pem)

        return Agent(
            node_id=id,
            address=address,
            data_path_address=address.partition(":")[0],
            client=peer.client,
            executor=executor,
            overlay=overlay,
            files=files,
            clock=self.clock,
            managers=[manager.address for manager in self.managers.values()],
            server=peer.server,
            on_removed=on_removed,
            on_roots=on_roots,
            rng=random.Random(self._rng.random()),
            attachments=attachments,
            joining=joining,
        )

    # -- accidents

    async def kill(self, id: str) -> None:
        """kill -9 of a node's daemon: its containers run on."""
        node = self.nodes[id]
        await self.hub.crash(node.address)
        # Nothing of the process is left; its last words are lost.
        await node.agent.close()

    async def restart(self, id: str) -> None:
        """A new daemon on what ``kill`` left."""
        node = self.nodes[id]
        node.peer = self.hub.node(node.address, Identity(id, "worker", CLUSTER_ID), self.role_of)
        node.attachments = ClusterAttachments(self.clock)
        node.host.left = node.attachments.detach
        node.executor = FakeExecutor(self.clock, node.host, node.executor.delays)
        node.agent = self._agent(
            id,
            node.address,
            node.peer,
            node.executor,
            node.overlay,
            node.files,
            node.removed,
            node.roots,
            node.attachments,
        )
        await node.agent.start()
        node.peer.start()
        await settle()

    async def kill_manager(self, id: str) -> None:
        manager = self.managers.pop(id)
        await self.hub.crash(manager.address)
        await manager.dispatcher.close()

    # -- the store

    @property
    def store(self) -> ClusterStore:
        """Any manager's."""
        return next(iter(self.managers.values())).store

    def role_of(self, node_id: str) -> NodeRole | None:
        node = self.store.state.nodes.get(node_id) if self.managers else None
        return node.role if node is not None else None

    async def put(self, *records: Object) -> None:
        def draft(d: Draft) -> None:
            for record in records:
                d.put(record)

        await self.store.update(draft)
        await settle()

    async def change(self, kind: type[O], id: str, **fields: object) -> None:
        """Change fields of a record as it is now."""

        def draft(d: Draft) -> None:
            record = d.get(kind, id)
            assert record is not None
            d.put(msgspec.structs.replace(record, **fields))

        await self.store.update(draft)
        await settle()

    async def delete(self, kind: type[O], id: str) -> None:
        def draft(d: Draft) -> None:
            record = d.get(kind, id)
            assert record is not None
            d.delete(record)

        await self.store.update(draft)
        await settle()

    def state_of(self, task_id: str) -> TaskState:
        return self.store.state.tasks[task_id].status.state

    def task(self, task_id: str) -> Task:
        return self.store.state.tasks[task_id]

    # -- time

    async def until(
        self, condition: Callable[[], object], limit_s: float = 60.0, step_s: float = 0.01
    ) -> float:
        """Let virtual time pass until ``condition()``; returns how much did."""
        begin = self.clock.monotonic()
        await settle()
        while not condition():
            assert self.clock.monotonic() - begin < limit_s, "it did not come about"
            await self.clock.advance(step_s)
        return self.clock.monotonic() - begin
