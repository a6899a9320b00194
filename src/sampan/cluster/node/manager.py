"""What a manager runs beside what every node runs.

    etcd ── store ──┬── CA, members, dispatcher      answered on the node's peer server
                    └── candidacy, upkeep            in the background

Coming up must not hold up the host: without a quorum a manager cannot serve, but its containers run
and its daemon answers. So ``begin`` only starts the store's process; the rest follows as soon as
there is a quorum, however long that takes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress

from sampan.aio import Clock, Tasks, in_thread
from sampan.cluster.ca.files import CertificateFiles
from sampan.cluster.ca.secretbox import SecretBox, load_box
from sampan.cluster.ca.server import CertificateServer
from sampan.cluster.contract import Draft, NoQuorum, Presence, StoreLagged
from sampan.cluster.control.events import publish
from sampan.cluster.dispatcher.dispatcher import Dispatcher
from sampan.cluster.dispatcher.logs import ServiceLogs
from sampan.cluster.etcd.client import EtcdClient
from sampan.cluster.etcd.membership import Members as StoreMembers
from sampan.cluster.etcd.process import EtcdProcess, EtcdRemoved
from sampan.cluster.etcd.settings import EtcdSettings, PeerFiles
from sampan.cluster.etcd.store import EtcdStore
from sampan.cluster.etcd.upkeep import Upkeep
from sampan.cluster.leader import STANDARD, Leader
from sampan.cluster.loop import Term
from sampan.cluster.manager_parts import ManagerParts
from sampan.cluster.node.addresses import etcd_port
from sampan.cluster.node.authority import StoreAuthority
from sampan.cluster.node.members import PROMOTE_PATH, Members, Nothing, PromoteMember
from sampan.cluster.node.roles import RoleKeeper, RootKeeper
from sampan.cluster.node.state_dir import NodeDirectory, NodeRecord
from sampan.cluster.peer.address import host_of, join_port
from sampan.cluster.peer.contract import Client, Server
from sampan.errors import Exhausted, SampanError, Unavailable
from sampan.store.events import EventBus

log = logging.getLogger(__name__)

_RETRY_S = 0.25
RESTART_APART_S = 5.0
"""Between two managers' restarts of their store."""


class Manager:
    """Open it with ``begin``; ``serve`` once or in the background; ``close``."""

    def __init__(
        self,
        *,
        state_dir: NodeDirectory,
        record: NodeRecord,
        files: CertificateFiles,
        server: Server,
        peers: Client,
        events: EventBus,
        clock: Clock,
    ) -> None:
        self._state_dir, self._record, self._files = state_dir, record, files
        self._server, self._peers, self._clock = server, peers, clock
        self._events = events
        self._stack = AsyncExitStack()
        self._parts: ManagerParts | None = None
        self.error = ""
        """Why it does not serve yet."""

    @property
    def parts(self) -> ManagerParts:
        """Raises: NoQuorum (it does not serve yet), Exhausted (its disk is full)."""
        if self.process.disk_is_full:
            raise Exhausted(
                f"no space left on the disk of {self._state_dir.directory}, where this manager "
                "keeps the swarm's state: free some and try again"
            )
        if self._parts is None:
            raise NoQuorum
        return self._parts

    async def begin(self, *, alone: bool = False) -> None:
        """Make the store's client and register what the peer server answers.

        Args:
            alone: make this member the only one (``--force-new-cluster``).
        """
        box: SecretBox = await in_thread(load_box, self._state_dir.key)
        record, files = self._record, self._files.etcd
        listen = host_of(record.listen)
        settings = EtcdSettings(
            directory=self._state_dir.etcd,
            name=record.node_id,
            peer_url=record.etcd_url,
            listen_peer_url=f"https://{join_port(listen, etcd_port(record.etcd_url))}",
            peer_files=PeerFiles(certificate=files.pair, key=files.pair, roots=files.roots),
            initial=record.initial or None,
            state="existing" if record.initial else "new",
            token=record.cluster_id,
            force_new_cluster=alone,
        )
        await in_thread(settings.directory.mkdir, parents=True, exist_ok=True, mode=0o700)
        self.process = EtcdProcess(settings, self._clock)
        self._stack.push_async_callback(self.process.stop)
        self.etcd = EtcdClient(settings.socket)
        self._stack.push_async_callback(self.etcd.close)
        self.store = EtcdStore(self.etcd, self._clock)
        self._stack.push_async_callback(self.store.close)
        authority = StoreAuthority(self.store, box)
        self._store_members = StoreMembers(self.etcd, self._clock)
        self.members = Members(self.store, self.etcd, self._store_members, self._peers)
        self._box = box
        node_id = self._record.node_id
        self._dispatcher = Dispatcher(self.store, self._server, box, self._clock, node_id)
        CertificateServer(authority, self._clock).register(self._server)
        self.members.register(self._server)

    async def serve(
        self, *, found: Callable[[Draft], None] | None = None, managers: Sequence[str] = ()
    ) -> None:
        """Wait for a quorum, then lead and serve. Returns when it does.

        Args:
            found: writes the cluster's first records.
            managers: whom a learner asks for its vote.
        """
        if self.process.starts == 0:
            await self.process.start()
        if found is None:
            await self._get_vote(managers)
        await self.store.open()
        if found is not None:
            await self.store.update(found)
        node_id = self._record.node_id
        await self.store.announce(Presence(node_id=node_id, address=self._record.advertise))
        self._dispatcher.start()
        self._stack.push_async_callback(self._dispatcher.close)

        def roles(term: Term) -> RoleKeeper:
            return RoleKeeper(term, self.members, node_id)

        def root(term: Term) -> RootKeeper:
            return RootKeeper(term, self._box)

        leader = Leader(self.store, self._clock, node_id, (*STANDARD, roles, root))
        upkeep = Upkeep(self.etcd, self._state_dir.snapshots, self._clock)
        running = Tasks()
        running.spawn(leader.run(), name="manager/leader")
        running.spawn(upkeep.run(), name="manager/upkeep")
        running.spawn(self._show_out(), name="manager/standing")
        running.spawn(publish(self.store, self._events), name="manager/events")
        self._stack.push_async_callback(running.close)
        self._parts = ManagerParts(
            node_id=node_id,
            store=self.store,
            sealing=self._box,
            logs=ServiceLogs(self.store, self._peers, self._clock),
        )
        self.error = ""
        log.info("this node serves as a manager")

    async def serve_at_last(self, managers: Callable[[], Sequence[str]]) -> None:
        """``serve``, as often as it takes.

        Raises:
            EtcdRemoved: the others have removed this manager.
        """
        while True:
            try:
                return await self.serve(managers=managers())
            except EtcdRemoved:
                raise
            except SampanError as error:
                if str(error) != self.error:
                    log.warning("this manager cannot serve yet: %s", error)
                self.error = str(error)
                if self.process.removed.is_set():
                    raise EtcdRemoved(str(error)) from error
                await self._clock.sleep(_RETRY_S)

    async def _get_vote(self, managers: Sequence[str]) -> None:
        """A member that was added as a learner cannot serve before it has its vote."""
        status = await self.etcd.status()
        if not status.isLearner:
            return
        request = PromoteMember(
            member_id=f"{status.header.member_id:x}",
            address=self._record.advertise,
            etcd_url=self._record.etcd_url,
        )
        refused: SampanError = Unavailable("no other manager is known to ask for a vote")
        for address in managers:
            if address == self._record.advertise:
                continue
            try:
                await self._peers.call(address, PROMOTE_PATH, request, Nothing, timeout_s=40.0)
                return
            except SampanError as error:
                refused = error
        raise refused

    async def _show_out(self) -> None:
        """Who is removed or demoted loses the connections that it had as what it was."""
        while True:
            with self.store.feed("node") as feed, suppress(StoreLagged):
                async for batch in feed:
                    for change in batch.changes:
                        before, after = change.before, change.after
                        if before is not None and (
                            after is None or (before.role, after.role) == ("manager", "worker")
                        ):
                            await self._server.disconnect(change.id)
                return  # the store is closed

    async def trust_again(self) -> None:
        """The cluster's roots have changed, and etcd reads its own once: start it again. The
        managers do it one after the other, each only while there is a quorum to lose it to."""
        state = self.store.state
        managers = sorted(node.id for node in state.nodes.values() if node.role == "manager")
        turn = managers.index(self._record.node_id) if self._record.node_id in managers else 0
        await self._clock.sleep((turn + 1) * RESTART_APART_S)
        while True:
            try:
                await self.store.barrier()
                break
            except NoQuorum:
                await self._clock.sleep(RESTART_APART_S)
        await self._store_members.step_aside()
        log.info("starting the store's process again, to trust the cluster's new root")
        self.process.kill()

    async def close(self) -> None:
        """Stop serving and leading; the store's process ends."""
        try:
            if self._parts is not None and not self.process.removed.is_set():
                await self._store_members.step_aside()
        except SampanError as error:  # its etcd may be on its way out already
            log.info("leadership of the store was not handed on: %s", error)
        finally:
            self._parts = None
            await self._stack.aclose()
