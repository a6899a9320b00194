"""A membership at work: what runs on a node from its start to its stop.

    credentials -> peer server and client -> manager's parts (managers) -> agent -> renewal

A change of role stops all of it and starts it anew with the other role: that takes a fraction of a
second, no container notices, and there is one way to come up instead of two that must agree.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from sampan.aio import Tasks, first_of, in_thread
from sampan.cluster.agent.agent import Agent
from sampan.cluster.agent.files import DiskFiles
from sampan.cluster.ca.certificates import issuer_first
from sampan.cluster.ca.files import CertificateFiles
from sampan.cluster.ca.join import CertificateClient
from sampan.cluster.ca.renewal import Renewer
from sampan.cluster.ca.server import RootServer
from sampan.cluster.contract import Draft
from sampan.cluster.etcd.process import EtcdRemoved
from sampan.cluster.images.contract import PeerSource
from sampan.cluster.node.addresses import ANY, reached_from_here
from sampan.cluster.node.host import Host, NodeFacts
from sampan.cluster.node.manager import Manager
from sampan.cluster.node.members import Nothing
from sampan.cluster.node.peer_roles import RoleLookup
from sampan.cluster.node.state_dir import NodeDirectory, NodeRecord
from sampan.cluster.peer.address import host_of, split_port
from sampan.cluster.peer.client import PeerClient
from sampan.cluster.peer.contract import NodeRole, NotMember
from sampan.cluster.peer.server import PeerServer
from sampan.cluster.peer.tls import Credentials, Tls
from sampan.cluster.protocol.messages import Session
from sampan.errors import SampanError, Unavailable

log = logging.getLogger(__name__)


class Member:
    """One start of one membership.

    Args:
        role_wanted: told the role that the managers want for this node, when it is another one
            than it has.
        removed: told why, when the cluster does not know this node any more.
    """

    def __init__(
        self,
        host: Host,
        state_dir: NodeDirectory,
        record: NodeRecord,
        *,
        role_wanted: Callable[[NodeRole], None],
        removed: Callable[[str], None],
    ) -> None:
        self.record = record
        self.session = asyncio.Event()
        """A manager has taken this node's session since the start."""
        self.manager: Manager | None = None
        self._host, self._state_dir = host, state_dir
        self._role_wanted, self._removed = role_wanted, removed
        self._tasks = Tasks()
        self._stack = AsyncExitStack()
        self._managers: tuple[tuple[str, str], ...] = ()
        self._served = asyncio.Event()

    # -- life

    async def start(
        self, *, found: Callable[[Draft], None] | None = None, alone: bool = False
    ) -> None:
        """Bring everything up; what needs other nodes goes on in the background.

        Args:
            found: writes the first records of a new cluster; the manager serves when this returns.
            alone: ``--force-new-cluster``; the manager serves when this returns.

        Raises:
            Conflict: the port is taken.
            Unavailable, Internal: the store of a new cluster did not start.
        """
        try:
            await self._start(found, alone)
        except BaseException:
            await self.close()
            raise

    async def _start(self, found: Callable[[Draft], None] | None, alone: bool) -> None:
        record, clock = self.record, self._host.clock
        self.files = CertificateFiles(
            self._state_dir.certificates, etcd=self._state_dir.etcd_certificates
        )
        credentials = await in_thread(self.files.load)
        self.tls = Tls(credentials)
        self.peer_roles = RoleLookup(self._tasks)
        self.server = PeerServer(self.tls, self.peer_roles.role_of, clock=clock)
        self.client = PeerClient(
            self.tls, instead={record.advertise: reached_from_here(record.listen)}, clock=clock
        )
        self._stack.push_async_callback(self._tasks.close)
        self._stack.push_async_callback(self.client.close)
        if record.role == "manager":
            self.manager = Manager(
                state_dir=self._state_dir,
                record=record,
                files=self.files,
                server=self.server,
                peers=self.client,
                events=self._host.events,
                clock=clock,
            )
            self._stack.push_async_callback(self.manager.close)
            await self.manager.begin(alone=alone)
        else:
            RootServer(credentials.roots).register(self.server)
        self._host.images.register(self.server)
        self._host.images.join(self.client, self._others)
        self._stack.push_async_callback(self._host.images.leave)
        facts = NodeFacts(
            node_id=record.node_id,
            root_certificate=lambda: issuer_first(
                self.tls.credentials.roots, self.tls.credentials.certificate
            ),
        )
        self.agent = Agent(
            node_id=record.node_id,
            address=record.advertise,
            data_path_address=record.data_path,
            client=self.client,
            executor=self._host.executor(facts),
            overlay=self._host.overlay,
            files=DiskFiles(self._state_dir.agent),
            clock=clock,
            managers=record.managers,
            server=self.server,
            prefer=record.advertise if record.role == "manager" else "",
            on_session=self._heard,
            on_roots=self._other_roots,
            on_removed=self._gone,
            attachments=self._host.attachments,
            joining=record.phase == "joining",
        )
        address, port = split_port(record.listen)
        self._stack.push_async_callback(self.server.stop)
        await self.server.start(address or ANY, port)
        if self.manager is not None:
            if found is not None or alone:
                await self.manager.serve(found=found)
                self._serving()
            else:
                self._tasks.spawn(self._serve(self.manager), name="node/manager")
            self._tasks.spawn(self._until_removed(self.manager), name="node/membership")
        await self.agent.start()
        self._stack.push_async_callback(self.agent.close)
        self.certificates = CertificateClient(self.client, self.files)
        self._renewer = Renewer(self.tls.credentials, self.renew, self._renewed, clock)
        self._tasks.spawn(self._keep_certificate(), name="node/certificate")

    async def close(self) -> None:
        """Stop everything; containers run on. Safe to repeat."""
        await self._stack.aclose()

    async def leave(self) -> None:
        """Stop this node's tasks, take its networks away, say goodbye; then ``close``."""
        await self.agent.leave()

    # -- the manager's part

    async def _serve(self, manager: Manager) -> None:
        try:
            await manager.serve_at_last(lambda: self.agent.managers)
        except EtcdRemoved as error:
            log.warning("%s: this node goes on as a worker", error)
            return  # ``_until_removed`` has heard of it, too
        self._serving()

    async def _until_removed(self, manager: Manager) -> None:
        """The others may take this manager out while its own copy hears nothing more of it."""
        await manager.process.removed.wait()
        self._role_wanted("worker")

    async def until_serving(self) -> None:
        """Wait until this manager serves.

        Raises:
            EtcdRemoved: the others have taken it out of the store first.
        """
        assert self.manager is not None
        removed = self.manager.process.removed
        await first_of(served=self._served.wait(), removed=removed.wait())
        if not self._served.is_set():
            raise EtcdRemoved("the managers have taken this one out of their store again")

    def _serving(self) -> None:
        assert self.manager is not None
        self.peer_roles.store = self.manager.store
        self._served.set()

    # -- what managers say

    @property
    def managers(self) -> tuple[tuple[str, str], ...]:
        """(node id, ADDRESS:PORT) of every manager, as last heard."""
        return self._managers

    def _others(self) -> Sequence[PeerSource]:
        """Other nodes that are up, as far as this one knows: a worker knows the managers."""
        own = self.record.node_id
        store = self.peer_roles.store
        if store is None:
            return [PeerSource(id, address) for id, address in self._managers if id != own]
        return [
            PeerSource(node.id, node.address, node.description.hostname)
            for node in store.state.nodes.values()
            if node.id != own and node.status.state == "ready" and node.address
        ]

    async def _heard(self, session: Session) -> None:
        self._managers = tuple((m.node_id, m.address) for m in session.managers)
        self.peer_roles.managers = frozenset(m.node_id for m in session.managers)
        self.session.set()
        wanted = session.node.role
        if wanted == "manager" and self.record.role == "worker":
            self._role_wanted("manager")
        elif wanted == session.role == "worker" and self.record.role == "manager":
            # Not before the leader has taken this member out of the store's quorum: of two
            # managers, one that stops too early leaves the other without one.
            self._role_wanted("worker")

    async def tell(self, path: str) -> None:
        """Say something to any manager that answers, but not to the one on this node.

        Raises:
            SampanError: what the last one said.
        """
        refused: SampanError = Unavailable("no other manager is known")
        known = (*(address for _, address in self._managers), *self.record.managers)
        for address in dict.fromkeys(known):
            if address == self.record.advertise and self.record.role == "manager":
                continue
            try:
                await self.client.call(address, path, Nothing(), Nothing, timeout_s=5.0)
                return
            except SampanError as error:
                refused = error
        raise refused

    async def _other_roots(self, roots: str) -> None:
        if roots != self.tls.credentials.roots:
            self._renewer.renew_soon()

    async def _gone(self, reason: str) -> None:
        self._removed(reason)

    # -- certificates

    async def renew(self) -> Credentials:
        """The next certificate, as the role that the store says. A manager asks itself first."""
        own = self.record.advertise
        addresses = [address for address in self.agent.managers if address != own]
        if self.record.role == "manager":
            addresses.insert(0, own)
        etcd = (host_of(self.record.advertise),) if self.record.role == "manager" else ()
        return await self.certificates.renew(addresses, etcd_addresses=etcd)

    def renew_soon(self) -> None:
        """The certificate says another role than the store, or another root."""
        self._renewer.renew_soon()

    async def _renewed(self, credentials: Credentials) -> None:
        before = self.tls.credentials.roots
        self.tls.reload(credentials)
        await self.agent.describe_again()
        # A new root beside the old one is believed by its cross-signature; only what is not to be
        # believed any more must be forgotten.
        if self.manager is not None and len(credentials.roots) < len(before):
            self._tasks.spawn(self.manager.trust_again(), name="node/roots")

    async def _keep_certificate(self) -> None:
        try:
            await self._renewer.run()
        except NotMember as error:
            self._removed(str(error))
        except SampanError as error:
            log.error("the node's certificate cannot be renewed: %s", error)
