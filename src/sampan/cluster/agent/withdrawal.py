"""Before a task is stopped, no host may send anything to it any more.

A task that is to stop is taken out of every table by the managers. That is an announcement: a node
that is busy, or between two managers, hears of it late, and its kernel goes on leading connections
to the task meanwhile. So the node that is to stop the task asks the others, those that are on its
networks, whether their kernels have let go of it.

    this node ── AwaitWithdrawal (tasks) ──> every ready node on the networks of the tasks
              <─ Withdrawn (those that it still leads to) ── when there are none, or in a second

*Naive: a fixed time.* However long it is, some machine is busier. *Naive: the managers collect who
has applied what.* They do not know it of a node that is on its way from one of them to another, and
a rollout would stand still with them. What a node leads to is known there, and nowhere better.

Who does not answer is asked again until the managers call it down, and for ``LIMIT_S`` at most:
after that its visitors are refused, which is better than a task that cannot be stopped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from sampan.aio import Clock, Tasks, within
from sampan.cluster.agent.dataplane import DataPlane
from sampan.cluster.images.contract import PeerSource
from sampan.cluster.peer.contract import Allow, Client, PeerRequest, Server, Unreachable
from sampan.cluster.protocol.messages import (
    WITHDRAWN_PATH,
    Assignment,
    AwaitWithdrawal,
    Withdrawn,
)
from sampan.errors import SampanError

log = logging.getLogger(__name__)

LIMIT_S = 10.0
LEAVING_LIMIT_S = 1.0
"""Where this node leaves the cluster: the others may be leaving as well."""
ASK_S = 1.0
"""A question stands so long; then it is asked again, of who is still ready."""
AGAIN_S = 0.2


class Withdrawal:
    def __init__(
        self,
        node_id: str,
        dataplane: DataPlane,
        client: Client,
        clock: Clock,
        ready: Callable[[], Sequence[PeerSource]],
    ) -> None:
        """``ready``: the other nodes that are up, as the managers last said."""
        self._node_id, self._dataplane, self._client = node_id, dataplane, client
        self._clock, self._ready = clock, ready
        self._limit_s = LIMIT_S
        self._tasks = Tasks()
        self._peers: dict[str, _Peer] = {}
        """By node id."""

    def register(self, server: Server) -> None:
        server.call(WITHDRAWN_PATH, AwaitWithdrawal, self._answer, allow=Allow.NODES)

    def leave(self) -> None:
        """This node leaves: its own kernel leads nowhere here any more, and nobody is waited for
        longer than a moment."""
        self._limit_s = LEAVING_LIMIT_S
        self._dataplane.withdraw_own()

    async def close(self) -> None:
        await self._tasks.close()

    async def everywhere(self, task: Assignment) -> None:
        """Return when no node that can be asked leads anything to ``task``."""
        networks = {attachment.network_id for attachment in task.attachments}
        try:
            await within(self._clock, self._limit_s, self._everywhere(task.id, networks))
        except TimeoutError:
            log.warning(
                "task %s is stopped although not every node is known to have heard of it", task.name
            )

    async def _everywhere(self, task_id: str, networks: set[str]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._dataplane.withdrawn((task_id,)), name="withdrawn/here")
            for node_id in self._dataplane.nodes_on(networks) - {self._node_id}:
                group.create_task(self._peer(node_id).withdrawn(task_id), name="withdrawn/peer")

    def _peer(self, node_id: str) -> _Peer:
        peer = self._peers.get(node_id)
        if peer is None:
            peer = self._peers[node_id] = _Peer(self._clock, self._tasks, self._ask, node_id)
        return peer

    async def _ask(self, node_id: str, tasks: tuple[str, ...]) -> tuple[str, ...]:
        """Those of ``tasks`` that the node may still lead something to."""
        address = next((peer.address for peer in self._ready() if peer.node_id == node_id), "")
        if not address:
            return ()  # down, or gone
        try:
            reply = await self._client.call(
                address,
                WITHDRAWN_PATH,
                AwaitWithdrawal(tasks=tasks),
                Withdrawn,
                role=None,
                node_id=node_id,
                timeout_s=2 * ASK_S,
            )
        except Unreachable as error:
            log.info("whether it leads anything to tasks of this node: %s", error)
            await self._clock.sleep(AGAIN_S)
            return tasks
        except SampanError as error:
            # of a version before this question, or it does not take us for a member any more
            log.info("node %s does not say what it leads to: %s", node_id, error)
            return ()
        return reply.pending

    async def _answer(self, request: PeerRequest, asked: AwaitWithdrawal) -> Withdrawn:
        with suppress(TimeoutError):
            await within(self._clock, ASK_S, self._dataplane.withdrawn(asked.tasks))
        return Withdrawn(pending=tuple(self._dataplane.led_to(asked.tasks)))


class _Peer:
    """One other node: what is asked of it at the same time is one question."""

    def __init__(
        self,
        clock: Clock,
        tasks: Tasks,
        ask: Callable[[str, tuple[str, ...]], Awaitable[tuple[str, ...]]],
        node_id: str,
    ) -> None:
        self._clock, self._tasks, self._ask, self._node_id = clock, tasks, ask, node_id
        self._waiting: dict[str, asyncio.Event] = {}
        """By task id."""
        self._asking = False

    async def withdrawn(self, task_id: str) -> None:
        withdrawn = self._waiting.setdefault(task_id, asyncio.Event())
        if not self._asking:
            self._asking = True
            self._tasks.spawn(self._work(), name=f"withdrawn/{self._node_id}")
        try:
            await withdrawn.wait()
        finally:
            self._waiting.pop(task_id, None)

    async def _work(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(0)  # what is stopped in the same turn goes along
                asked = tuple(self._waiting)
                pending = await self._ask(self._node_id, asked)
                for task_id in set(asked) - set(pending):
                    if (withdrawn := self._waiting.pop(task_id, None)) is not None:
                        withdrawn.set()
        finally:
            self._asking = False
