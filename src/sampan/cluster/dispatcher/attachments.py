"""What a manager answers to a node that has a container for one of the cluster's networks.

    POST /networks/find     which network is that, and may containers be attached to it by hand?
    POST /networks/attach   a task that stands for the container, bound to the node; answered when
                            the allocator has given it its address

The node chose the task's id: asking again, also of another manager, finds the same task. Nobody
else is told to wait for it: when the answer gets lost, the node ends the task by its session.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from sampan.aio import Clock, within
from sampan.cluster.contract import REFERENCES, ClusterStore, Draft, Feed, NoSuchObject
from sampan.cluster.find import find
from sampan.cluster.peer.contract import Allow, PeerRequest, Server
from sampan.cluster.protocol.messages import (
    ATTACH_PATH,
    FIND_PATH,
    Attach,
    Attached,
    FindNetwork,
    FoundNetwork,
)
from sampan.cluster.records import ID_LENGTH, ClusterNetwork, Task, TaskStatus
from sampan.cluster.spec import NetworkAttachmentConfig, NetworkAttachmentSpec, TaskSpec
from sampan.cluster.states import TaskState
from sampan.engine.cluster_networks import NotAttachable
from sampan.errors import Conflict, Exhausted, Forbidden, InvalidArgument, Unavailable
from sampan.network.contract import BadAddress

GIVEN_WITHIN_S = 3.5
"""The leader's allocator takes milliseconds; more only if nobody leads."""
RUNTIME = "attachment"


class AttachmentServer:
    def __init__(self, store: ClusterStore, clock: Clock, serving: Callable[[], bool]) -> None:
        self._store, self._clock, self._serving = store, clock, serving

    def register(self, server: Server) -> None:
        """Answer on ``server`` (before it starts)."""
        server.call(FIND_PATH, FindNetwork, self._find, allow=Allow.NODES)
        server.call(ATTACH_PATH, Attach, self._attach, allow=Allow.NODES)

    async def _find(self, request: PeerRequest, body: FindNetwork) -> FoundNetwork:
        return FoundNetwork(network=await self._network(body.ref))

    async def _network(self, ref: str) -> ClusterNetwork:
        """Raises: NoSuchObject, Ambiguous, NotAttachable, Unavailable."""
        if not self._serving():
            raise Unavailable("this manager does not serve nodes now")
        try:
            network = find(self._store.state, ClusterNetwork, ref)
        except NoSuchObject:
            await self._store.barrier()  # another manager may have made it just now
            network = find(self._store.state, ClusterNetwork, ref)
        if not network.spec.attachable:
            raise NotAttachable(network.name)
        return network

    async def _attach(self, request: PeerRequest, body: Attach) -> Attached:
        node_id = request.caller.node_id
        if len(body.task_id) != ID_LENGTH:
            raise InvalidArgument(f"{body.task_id!r} is not the id of a task")
        network = await self._network(body.network_id)
        if body.address:
            _check_address(body.address, network)
        with self._store.feed("task") as feed:
            await self._store.update(lambda draft: _write(draft, body, node_id))
            try:
                return await within(self._clock, GIVEN_WITHIN_S, self._given(feed, body.task_id))
            except TimeoutError:
                why = await self._store.update(lambda draft: _give_up(draft, body.task_id))
                raise Unavailable(
                    f"network {network.name} has no address yet: "
                    f"{why or 'no manager leads at the moment'}"
                ) from None

    async def _given(self, feed: Feed, task_id: str) -> Attached:
        if (task := self._store.state.tasks.get(task_id)) and (found := _answer(task)):
            return found
        async for batch in feed:
            for change in batch.changes:
                if change.id != task_id:
                    continue
                if change.after is None:
                    raise Unavailable("the attachment was taken back")
                if found := _answer(change.after):
                    return found
        raise Unavailable("this manager stops serving")


def _write(draft: Draft, body: Attach, node_id: str) -> None:
    network = draft.get(ClusterNetwork, body.network_id)
    if network is None:
        raise NoSuchObject("network", body.network_id)
    if node_id not in draft.state.nodes:
        raise Forbidden(f"node {node_id} is no longer part of this swarm")
    # Against the removal of the network at the same time.
    draft.serialize(REFERENCES)
    known = draft.get(Task, body.task_id)
    if known is not None:
        if known.node_id != node_id or known.spec.network_attachment_spec is None:
            raise Forbidden(f"task {body.task_id} is another's")
        return
    draft.put(
        Task(
            id=body.task_id,
            node_id=node_id,
            spec=TaskSpec(
                network_attachment_spec=NetworkAttachmentSpec(container_id=body.container_id),
                networks=(
                    NetworkAttachmentConfig(
                        target=network.id, aliases=body.names, driver_opts=body.driver_opts
                    ),
                ),
                runtime=RUNTIME,
            ),
            desired=TaskState.RUNNING,
            status=TaskStatus(message="created"),
            address_wanted=body.address,
        )
    )


def _give_up(draft: Draft, task_id: str) -> str:
    """Returns what the allocator said."""
    task = draft.get(Task, task_id)
    if task is None:
        return ""
    draft.delete(task)
    return task.status.err


def _answer(task: Task) -> Attached | None:
    """None: the allocator has not been there.

    Raises:
        Conflict, Exhausted: it has no address for it.
    """
    status = task.status
    if status.state.ended:
        why = status.err or "the attachment was ended"
        raise Conflict(why) if task.address_wanted else Exhausted(why)
    if status.state < TaskState.ASSIGNED or not task.attachments:
        return None
    return Attached(address=task.attachments[0].ipv4)


def _check_address(address: str, network: ClusterNetwork) -> None:
    """Raises: BadAddress."""
    try:
        wanted = ipaddress.IPv4Address(address)
    except ValueError as error:
        raise BadAddress(f"invalid IPv4 address: {address}") from error
    if network.subnet and wanted not in ipaddress.IPv4Network(network.subnet, strict=False):
        raise BadAddress(
            f"invalid address {address}: it does not belong to any of the subnets of network "
            f"{network.name} ({network.subnet})"
        )
