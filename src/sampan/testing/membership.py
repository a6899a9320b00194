"""Membership without a second host: a cluster whose store is in memory.

What it makes at ``init`` is what the real one makes (cluster, node, ingress network); who may do
what in which state, and with which words it is refused, is the real one's too. Nothing runs: no
loop, no agent. A test that wants tasks puts them into the store, or runs the loops on ``store``.
"""

from __future__ import annotations

from typing import Literal

from msgspec import structs

from sampan.aio import Clock
from sampan.cluster.ca.secretbox import SecretBox, new_key
from sampan.cluster.ca.tokens import role_by_token
from sampan.cluster.contract import ClusterStore, Draft, Presence
from sampan.cluster.control.networks import make_ingress
from sampan.cluster.manager_parts import ManagerParts
from sampan.cluster.node.contract import (
    AlreadyMember,
    InitRequest,
    JoinRequest,
    MembershipInfo,
    NotManager,
    RemoteManager,
    WorkerOnly,
)
from sampan.cluster.protocol.task_logs import TaskLogs
from sampan.cluster.records import Cluster, ManagerPart, Node, NodeDescription, NodeStatus, new_id
from sampan.cluster.spec import NodeSpec, Platform, Resources
from sampan.errors import Unavailable
from sampan.network.overlay.contract import DataPlaneView

ROOT = "-----BEGIN CERTIFICATE-----\nbm90IGEgcmVhbCBvbmU=\n-----END CERTIFICATE-----\n"

Role = Literal["none", "worker", "manager"]


class FakeMembership:
    """``Membership`` over a store of ``sampan.testing.cluster_store``."""

    def __init__(
        self,
        store: ClusterStore,
        clock: Clock,
        *,
        address: str = "192.0.2.1",
        hostname: str = "one",
    ) -> None:
        self.store = store
        self.clock = clock
        self.address = address
        self.hostname = hostname
        self.node_id = ""
        self.role: Role = "none"
        self.box = SecretBox(new_key())
        self.logs: TaskLogs | None = None

    @property
    def manager(self) -> ManagerParts:
        if self.role == "none":
            raise NotManager
        if self.role == "worker":
            raise WorkerOnly
        return ManagerParts(
            node_id=self.node_id, store=self.store, sealing=self.box, logs=self.logs
        )

    @property
    def view(self) -> DataPlaneView:
        return DataPlaneView()

    def info(self) -> MembershipInfo:
        if self.role == "none":
            return MembershipInfo()
        state = self.store.state
        return MembershipInfo(
            state="active",
            node_id=self.node_id,
            node_address=self.address,
            control_available=self.role == "manager",
            remote_managers=tuple(
                RemoteManager(node_id=node.id, address=node.address)
                for node in state.managers.values()
            ),
            nodes=len(state.nodes),
            managers=len(state.managers),
            cluster=state.cluster if self.role == "manager" else None,
        )

    async def init(self, request: InitRequest) -> str:
        if self.role != "none":
            raise AlreadyMember
        cluster = Cluster(
            id=new_id(),
            spec=request.spec,
            root_certificate=ROOT,
            trusted_roots=ROOT,
            worker_secret=new_id(),
            manager_secret=new_id(),
            default_addr_pool=request.default_addr_pool or ("10.0.0.0/8",),
            subnet_size=request.subnet_size or 24,
        )

        def draft(draft: Draft) -> str:
            draft.put(cluster)
            draft.put(make_ingress())
            return self._enter(draft, "manager")

        self.node_id = await self.store.update(draft)
        self.role = "manager"
        await self.store.announce(Presence(node_id=self.node_id, address=f"{self.address}:2377"))
        return self.node_id

    async def join(self, request: JoinRequest) -> None:
        if self.role != "none":
            raise AlreadyMember
        cluster = self.store.state.cluster
        if cluster is None:
            raise Unavailable("no manager answers")
        role = role_by_token(cluster, request.join_token)
        self.node_id = await self.store.update(lambda draft: self._enter(draft, role))
        self.role = role

    def _enter(self, draft: Draft, role: Literal["worker", "manager"]) -> str:
        address = f"{self.address}:2377"
        node = node_record(self.hostname, self.address)
        part = ManagerPart(address=address) if role == "manager" else None
        spec = structs.replace(node.spec, role=role)
        draft.put(structs.replace(node, role=role, manager=part, spec=spec))
        return node.id

    async def leave(self, *, force: bool) -> None:
        if self.role == "none":
            raise NotManager
        if self.role == "manager" and not force:
            raise Unavailable(
                "You are attempting to leave the swarm on a node that is participating as a "
                "manager. Use `--force` to leave all the same: what the swarm knows is lost with "
                "its last manager."
            )
        self.role, self.node_id = "none", ""

    async def unlock_key(self) -> str:
        return ""


def node_record(hostname: str, address: str) -> Node:
    """A worker that is ready, as its agent would describe it."""
    return Node(
        id=new_id(),
        spec=NodeSpec(),
        description=NodeDescription(
            hostname=hostname,
            platform=Platform(architecture="x86_64", os="linux"),
            resources=Resources(nano_cpus=2_000_000_000, memory_bytes=4 << 30),
            engine_version="0",
            trust_root=ROOT,
        ),
        status=NodeStatus(state="ready", address=address),
        address=f"{address}:2377",
        data_path_address=address,
    )
