"""Fulfils ``Membership``: makes a cluster, joins one, leaves it, follows its role in it.

One change at a time: everything that starts or stops the member holds ``_changing``. ``node.json``
says ``joining`` until all is made, so a daemon that is killed on the way takes it apart at its next
start, as a failure does at once.

What stands on certificates is imported where it is used: a daemon in no cluster never loads the
library for them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from msgspec.structs import replace

from sampan.aio import Deadline, Tasks, deadline, in_thread, shielded
from sampan.cluster.ca.tokens import JoinToken
from sampan.cluster.contract import Draft
from sampan.cluster.control.networks import make_ingress
from sampan.cluster.manager_parts import ManagerParts
from sampan.cluster.node.addresses import ANY
from sampan.cluster.node.authority import availability_of
from sampan.cluster.node.contract import (
    AlreadyMember,
    InitRequest,
    JoinRequest,
    LocalState,
    MembershipInfo,
    NotInSwarm,
    NotManager,
    WorkerOnly,
)
from sampan.cluster.node.host import Host
from sampan.cluster.node.imports import load_parts
from sampan.cluster.node.join_rollback import TELL_S, take_back, undo_join
from sampan.cluster.node.members import LEAVE_PATH
from sampan.cluster.node.state_dir import NodeDirectory, NodeRecord
from sampan.cluster.node.status import describe_membership
from sampan.cluster.peer.address import host_of, join_port, split_port
from sampan.cluster.peer.contract import NodeRole
from sampan.cluster.records import Cluster, Node
from sampan.errors import InvalidArgument, SampanError, Unavailable
from sampan.network.overlay.contract import DataPlaneView

if TYPE_CHECKING:
    from sampan.cluster.node.member import Member

log = logging.getLogger(__name__)

ACTIVE_WITHIN_S = 30.0
"""From a certificate to the first session, and to serving as a manager."""
SILENT_S = 10.0
"""Without a session, which ends a few seconds after the last word of its manager."""
_RETRY_S = 1.0


@asynccontextmanager
async def open_membership(host: Host) -> AsyncIterator[HostMembership]:
    """Take up the membership that is on disk, if any. What needs other nodes does not hold up."""
    membership = HostMembership(host)
    try:
        await membership.start()
        yield membership
    finally:
        await membership.stop()


class HostMembership:
    def __init__(self, host: Host) -> None:
        self._host = host
        self._state_dir = NodeDirectory(host.directory)
        self._member: Member | None = None
        self._record: NodeRecord | None = None
        self._error = ""
        self._state: LocalState = "inactive"
        self._changing = asyncio.Lock()
        self._role: asyncio.Task[None] | None = None
        self._wanted: NodeRole = "worker"
        self._tasks = Tasks()

    # -- life of the daemon

    async def start(self) -> None:
        """Never fails for the cluster's sake: the host's own containers must come up."""
        record = await in_thread(self._state_dir.read)
        if record is None:
            await in_thread(self._state_dir.clear)
            return
        if record.phase == "joining":
            if record.role != "manager" or not record.initial:
                return await self._take_back(record)
            # Its store may have a vote by now, without which the others are no majority.
            log.warning("joining a swarm was cut short: going on as a manager")
            record = replace(record, phase="active")
            await in_thread(self._state_dir.write, record)
        self._record = record
        try:
            await self._begin(record)
            self._state = "active"
        except (SampanError, OSError) as error:
            self._failed(error)
            self._tasks.spawn(self._begin_at_last(), name="node/start")

    async def stop(self) -> None:
        """The daemon goes; tasks run on."""
        await self._tasks.close()
        if self._member is not None:
            await self._member.close()

    async def _begin(self, record: NodeRecord) -> None:
        member = self._make(record)
        await member.start()
        self._member = member

    async def _begin_at_last(self) -> None:
        while True:
            await self._host.clock.sleep(_RETRY_S)
            async with self._changing:
                if self._member is not None or self._record is None:
                    return
                try:
                    await self._begin(self._record)
                except (SampanError, OSError) as error:
                    self._failed(error)
                else:
                    self._state, self._error = "active", ""
                    return

    def _failed(self, error: Exception) -> None:
        if str(error) != self._error:
            log.error("this node cannot take part in its swarm: %s", error)
        self._state, self._error = "error", str(error)

    def _make(self, record: NodeRecord) -> Member:
        from sampan.cluster.node.member import Member

        return Member(
            self._host,
            self._state_dir,
            record,
            role_wanted=self._follow_role,
            removed=self._removed,
        )

    # -- what others ask

    @property
    def manager(self) -> ManagerParts:
        if self._record is None:
            raise NotManager
        if self._record.role != "manager":
            raise WorkerOnly
        if self._member is None or self._member.manager is None:
            raise Unavailable(self._error or "this manager is just starting: try again in a moment")
        return self._member.manager.parts

    @property
    def member(self) -> Member | None:
        """What runs, for the parts of the daemon that serve the cluster."""
        return self._member

    def info(self) -> MembershipInfo:
        return describe_membership(self._record, self._member, self._state, self._error)

    @property
    def view(self) -> DataPlaneView:
        """See the contract."""
        return self._member.agent.view if self._member is not None else DataPlaneView()

    async def unlock_key(self) -> str:
        """Managers are never locked."""
        _ = self.manager
        return ""

    # -- init

    async def init(self, request: InitRequest) -> str:
        if request.force_new_cluster and self._record is not None:
            return await self._alone()
        if self._record is not None or self._state == "pending":
            raise AlreadyMember
        async with self._changing:
            await load_parts()
            from sampan.cluster.node.membership_plan import plan_init

            record, cluster, node = await in_thread(plan_init, request, self._host.addresses)
            return await self._found(record, cluster, node)

    async def _found(self, record: NodeRecord, cluster: Cluster, node: Node) -> str:
        from sampan.cluster.ca.files import CertificateFiles
        from sampan.cluster.node.bootstrap import bootstrap_cluster

        files = CertificateFiles(
            self._state_dir.certificates, etcd=self._state_dir.etcd_certificates
        )
        self._state, self._error = "pending", ""
        async with AsyncExitStack() as undo:
            undo.push_async_callback(in_thread, self._state_dir.clear)
            undo.callback(self._reset)
            await in_thread(self._state_dir.write, record)
            founded = await in_thread(
                bootstrap_cluster,
                self._state_dir,
                files,
                cluster,
                node_id=record.node_id,
                etcd_address=host_of(record.advertise),
                now=self._host.clock.now(),
            )
            ingress = make_ingress()

            def found(draft: Draft) -> None:
                draft.put(founded.cluster)
                draft.put(node)
                draft.put(ingress)

            member = self._make(record)
            await member.start(found=found)
            undo.push_async_callback(member.close)
            try:
                async with deadline(self._host.clock, ACTIVE_WITHIN_S):
                    await member.session.wait()
            except TimeoutError as error:
                raise Unavailable(
                    f"this host's own manager did not take its node in within {ACTIVE_WITHIN_S:g} s"
                ) from error
            self._record = replace(record, phase="active")
            await in_thread(self._state_dir.write, self._record)
            self._member = member
            undo.pop_all()
        self._state = "active"
        log.info("this host is the first manager of swarm %s", record.cluster_id)
        return record.node_id

    def _reset(self) -> None:
        self._state, self._record, self._member = "inactive", None, None

    async def _alone(self) -> str:
        """``--force-new-cluster``: this manager goes on without the others."""
        from sampan.cluster.node.membership_plan import only_manager

        async with self._changing:
            record = self._record
            if record is None or record.role != "manager":
                raise WorkerOnly
            if self._member is not None:
                await self._member.close()
                self._member = None
            member = self._make(record)
            try:
                await member.start(alone=True)
            except (SampanError, OSError) as error:
                self._failed(error)
                self._tasks.spawn(self._begin_at_last(), name="node/start")
                raise
            self._member = member
            self._state, self._error = "active", ""
            await self.manager.store.update(lambda draft: only_manager(draft, record.node_id))
            return record.node_id

    # -- join

    async def join(self, request: JoinRequest) -> None:
        if self._record is not None or self._state == "pending":
            raise AlreadyMember
        JoinToken.parse(request.join_token)
        if not request.remote_addrs:
            raise InvalidArgument("at least one remote address is needed: HOST[:PORT] of a manager")
        availability_of(request.availability)
        async with self._changing:
            self._state, self._error = "pending", ""
            await load_parts()
            refused: SampanError = Unavailable("no manager answered")
            try:
                for remote in request.remote_addrs:
                    try:
                        return await self._join(request, remote)
                    except Unavailable as error:
                        refused = error
                raise refused
            finally:
                if self._member is None:
                    self._reset()

    async def _join(self, request: JoinRequest, remote: str) -> None:
        from sampan.cluster.ca.files import CertificateFiles
        from sampan.cluster.ca.join import join as get_certificate
        from sampan.cluster.node.membership_plan import plan_join
        from sampan.cluster.peer.sockets import listener

        host, port = split_port(remote)
        manager = join_port(host, port)
        record = await in_thread(plan_join, request, manager, self._host.addresses)
        # While nobody knows of this node: with a certificate it would be one of the cluster.
        address, port = split_port(record.listen)
        listener(address or ANY, port).close()
        files = CertificateFiles(
            self._state_dir.certificates, etcd=self._state_dir.etcd_certificates
        )
        async with AsyncExitStack() as undo:
            undo.push_async_callback(in_thread, self._state_dir.clear)
            await in_thread(self._state_dir.write, record)
            asked = {"availability": request.availability, "advertise": record.advertise}
            token, clock = request.join_token, self._host.clock
            identity = (await get_certificate(manager, token, files, clock=clock, **asked)).identity
            record = replace(record, node_id=identity.node_id, cluster_id=identity.cluster_id)
            await in_thread(self._state_dir.write, record)
            member = self._make(record)
            await member.start()
            undo.push_async_callback(self._undo_join)
            self._record, self._member = record, member
            try:
                async with deadline(clock, ACTIVE_WITHIN_S) as limit:
                    watching = self._tasks.spawn(self._give_up(limit), name="node/joining")
                    try:
                        await member.session.wait()
                        if identity.role == "manager":
                            await self._serve_as_manager()
                    finally:
                        watching.cancel()
            except TimeoutError as error:
                raise Unavailable(
                    f"this node could not join: no manager took it in within {ACTIVE_WITHIN_S:g} "
                    f"s, or none was heard of for {SILENT_S:g} s. Look whether {host} can be "
                    "reached and more than half of the managers are up, then try again"
                ) from error
            assert self._record is not None
            self._record = replace(self._record, phase="active")
            await in_thread(self._state_dir.write, self._record)
            undo.pop_all()
        # After it is on disk: from here on the managers do not forget a node that goes away.
        assert self._member is not None
        await self._member.agent.joined()
        self._state = "active"
        log.info("this host is node %s of swarm %s", record.node_id, record.cluster_id)

    async def _give_up(self, limit: Deadline) -> None:
        """End a join that no manager is heard of during, long before its time is over."""
        clock = self._host.clock
        heard = clock.monotonic()
        while clock.monotonic() - heard < SILENT_S:
            await clock.sleep(_RETRY_S / 2)
            if self._member is not None and self._member.agent.manager:
                heard = clock.monotonic()
        limit.expire()

    async def _serve_as_manager(self) -> None:
        """Become a manager and wait until it serves."""
        from sampan.cluster.etcd.process import EtcdRemoved

        while True:
            try:
                await self._become_manager()
                assert self._member is not None
                return await self._member.until_serving()
            except EtcdRemoved as error:
                # A manager that is just starting tells its members as they once were: a store that
                # asks it then who it is itself takes the name of an earlier one, which is removed.
                log.warning("%s: asking once more", error)
                await self._become_worker()
            except Unavailable as error:
                log.info("%s: asking again", error)  # the caller's deadline ends this
                await self._host.clock.sleep(_RETRY_S)

    async def _undo_join(self) -> None:
        """Whatever the managers know of this node goes, then what runs here."""
        member, self._member, self._record = self._member, None, None
        if member is not None:
            await undo_join(member, self._host.clock)

    async def _take_back(self, record: NodeRecord) -> None:
        """A join that a killed daemon has begun."""
        log.warning("joining a swarm was cut short: taking it back")
        if record.node_id and record.managers:
            member = self._make(replace(record, role="worker"))
            await take_back(member, self._host.overlay, self._host.clock)
        await in_thread(self._state_dir.clear)

    # -- role

    def _follow_role(self, role: NodeRole) -> None:
        """The managers want another role for this node."""
        self._wanted = role
        if self._role is None or self._role.done():
            self._role = self._tasks.spawn(self._change_role(), name="node/role")

    async def _change_role(self) -> None:
        while True:
            role = self._wanted
            try:
                async with self._changing:
                    record = self._record
                    if record is None or record.phase != "active":
                        return
                    if record.role != role:
                        await (
                            self._become_manager() if role == "manager" else self._become_worker()
                        )
                # What is said while this goes on is not said again.
                if self._wanted == role:
                    return
                continue
            except (SampanError, OSError, TimeoutError) as error:
                log.warning("this node cannot become a %s yet: %s", role, error)
            await self._host.clock.sleep(_RETRY_S)

    async def _become_manager(self) -> None:
        from sampan.cluster.node.promotion import ask_to_manage

        member, record = self._member, self._record
        assert member is not None
        assert record is not None
        # Not the member's own record: that one is of its start, when it was joining perhaps, and
        # who is joining follows no change of its role.
        changed = await ask_to_manage(member, record, self._state_dir)
        # It serves as soon as it can. Nobody waits for that with the lock held: it may be told to
        # stop being one, or to leave, before.
        await self._restart(changed)

    async def _become_worker(self) -> None:
        record = self._record
        assert record is not None
        assert self._member is not None
        managers = [a for _, a in self._member.managers if a != record.advertise]
        changed = replace(
            record,
            role="worker",
            etcd_url="",
            initial={},
            managers=tuple(managers) or record.managers,
        )
        await self._restart(changed)
        await in_thread(self._state_dir.forget_manager)
        member = self._member
        # The certificate still says manager; from here it says what the store says.
        member.renew_soon()

    async def _restart(self, record: NodeRecord) -> None:
        """Go on with ``record``; when that fails, as before."""
        assert self._member is not None
        before = self._record
        await self._member.close()
        self._member = None
        await in_thread(self._state_dir.write, record)
        self._record = record
        try:
            await self._begin(record)
        except BaseException:
            if before is not None:
                self._record = before
                await shielded(in_thread(self._state_dir.write, before))
                await shielded(self._begin(before))
            raise

    def _removed(self, reason: str) -> None:
        """The cluster has forgotten this node."""
        self._state = "error"
        self._error = (
            f"{reason or 'this node was removed from the swarm'}: leave it (swarm leave --force) "
            "to join one again"
        )

    # -- leave

    async def leave(self, *, force: bool) -> None:
        record = self._record
        if record is None:
            raise NotInSwarm
        if record.role == "manager" and not force:
            from sampan.cluster.node.leave_check import check_leaving

            check_leaving(record, self._member)
        async with self._changing:
            member = self._member
            if member is not None:
                if record.role == "manager":
                    try:
                        async with deadline(self._host.clock, TELL_S):
                            await member.tell(LEAVE_PATH)
                    except (SampanError, TimeoutError) as error:
                        log.warning("the managers could not be told that one leaves: %s", error)
                await member.leave()
                await member.close()
            else:
                await self._host.overlay.leave()
            self._member = None
            await in_thread(self._state_dir.clear)
            self._reset()
            self._error = ""
        log.info("this host has left its swarm")
