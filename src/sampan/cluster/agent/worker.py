"""The tasks of one node: a runner each, made and released as the managers say."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from sampan.aio import Clock, Tasks
from sampan.cluster.agent.attachments import ClusterAttachments
from sampan.cluster.agent.contract import Executor, Supplies
from sampan.cluster.agent.files import AgentFiles, Memory
from sampan.cluster.agent.reports import Reports
from sampan.cluster.agent.runner import Runner, status_on_return
from sampan.cluster.images.contract import PeerSource
from sampan.cluster.protocol.messages import Assignment, Assignments, NodeAddress
from sampan.cluster.records import TaskStatus
from sampan.cluster.states import TaskState
from sampan.errors import SampanError

log = logging.getLogger(__name__)

SAVE_PAUSE_S = 0.2


class TaskWorker:
    """``begin`` takes up what the last daemon left; ``apply`` follows a manager."""

    def __init__(
        self,
        node_id: str,
        executor: Executor,
        files: AgentFiles,
        reports: Reports,
        clock: Clock,
        attachments: ClusterAttachments,
        withdrawn: Callable[[Assignment], Awaitable[None]],
    ) -> None:
        """``withdrawn``: waits until no node leads anything to a task that is to stop."""
        self._withdrawn = withdrawn
        self._node_id = node_id
        self._attachments = attachments
        self.supplies = Supplies()
        self.managers: tuple[NodeAddress, ...] = ()
        self._executor, self._files, self._reports, self._clock = executor, files, reports, clock
        self._runners: dict[str, Runner] = {}
        self._tasks = Tasks()
        self._dirty = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    # -- life

    async def begin(self) -> None:
        """Containers of known tasks are taken up; nothing is stopped and nothing new begins until
        a manager has said what is wanted."""
        memory = await self._files.load()
        self.managers = memory.managers
        self.supplies.networks.update((network.id, network) for network in memory.networks)
        places = await self._executor.found()
        for task in memory.tasks:
            status = status_on_return(
                task, memory.statuses.get(task.id), places.get(task.id), self._clock.now()
            )
            self._add(task, status, restored=True)
        self._tasks.spawn(self._save(), name="agent memory")

    async def close(self) -> None:
        """Containers run on."""
        await self._tasks.close()

    async def leave(self) -> None:
        """Every task stops and goes, with its networks; returns when they are gone."""
        for runner in list(self._runners.values()):
            runner.release()
        await self._idle.wait()
        for task_id in await self._executor.found():
            await self._sweep(task_id)
        self.supplies = Supplies()
        await self._executor.tidy(self.supplies)
        await self._tasks.close()
        await self._files.forget()

    # -- what is known

    @property
    def statuses(self) -> dict[str, TaskStatus]:
        return self._attachments.statuses | {
            id: runner.status
            for id, runner in self._runners.items()
            if runner.status.state >= TaskState.ACCEPTED
        }

    def task(self, task_id: str) -> Assignment | None:
        runner = self._runners.get(task_id)
        return runner.task if runner is not None else None

    @property
    def count(self) -> int:
        return len(self._runners)

    def remember_managers(self, managers: tuple[NodeAddress, ...]) -> None:
        if managers and managers != self.managers:
            self.managers = managers
            self._dirty.set()

    def remember_nodes(self, nodes: tuple[NodeAddress, ...]) -> None:
        """Who else there is in the cluster."""
        self.supplies.sources = tuple(
            PeerSource(n.node_id, n.address, n.name) for n in nodes if n.node_id != self._node_id
        )

    # -- a manager speaks

    async def apply(self, message: Assignments) -> None:
        """Make these the node's tasks, or change them by what has changed."""
        self._supply(message)
        by_hand = tuple(t for t in message.tasks if t.spec.network_attachment_spec is not None)
        self._attachments.apply(msgspec.structs.replace(message, tasks=by_hand))
        if by_hand:
            mine = tuple(t for t in message.tasks if t.spec.network_attachment_spec is None)
            message = msgspec.structs.replace(message, tasks=mine)
        if message.full:
            await self._compare(message)
        else:
            for task in message.tasks:
                self._assign(task)
        for id, state in message.desired.items():
            if (runner := self._runners.get(id)) is not None:
                runner.desire(state)
        for id in message.gone:
            if (runner := self._runners.get(id)) is not None:
                runner.release()
        if message.networks_gone:
            self._tasks.spawn(self._tidy(), name="agent networks")
        self._dirty.set()

    def _supply(self, message: Assignments) -> None:
        supplies = self.supplies
        if message.full:
            supplies.networks.clear()
            supplies.secrets.clear()
            supplies.configs.clear()
        supplies.networks.update((network.id, network) for network in message.networks)
        supplies.secrets.update((secret.id, secret) for secret in message.secrets)
        supplies.configs.update((config.id, config) for config in message.configs)
        for table, gone in (
            (supplies.networks, message.networks_gone),
            (supplies.secrets, message.secrets_gone),
            (supplies.configs, message.configs_gone),
        ):
            for id in gone:
                table.pop(id, None)

    async def _compare(self, message: Assignments) -> None:
        """A full set: what is not in it is no longer ours, even if another manager made it."""
        wanted = {task.id for task in message.tasks}
        for id, runner in self._runners.items():
            if id not in wanted:
                runner.release()
        places = await self._executor.found()
        for task in message.tasks:
            if task.id in self._runners:
                self._assign(task)
            else:
                status = status_on_return(task, None, places.get(task.id), self._clock.now())
                self._add(task, status)
        for id in places:
            if id not in wanted and id not in self._runners:
                log.warning(
                    "removing the container of task %s, which is no longer assigned to this node",
                    id,
                )
                self._tasks.spawn(self._sweep(id), name=f"sweep {id}")
        self._tasks.spawn(self._tidy(), name="agent networks")

    def _assign(self, task: Assignment) -> None:
        runner = self._runners.get(task.id)
        if runner is not None:
            runner.update(task)
        else:
            observed = TaskStatus(state=task.observed)
            self._add(task, observed if observed.state.ended else TaskStatus())

    def _add(self, task: Assignment, status: TaskStatus, *, restored: bool = False) -> None:
        runner = Runner(
            task,
            status,
            executor=self._executor,
            supplies=self.supplies,
            clock=self._clock,
            report=self._report,
            withdrawn=self._withdrawn,
            restored=restored,
        )
        self._runners[task.id] = runner
        self._idle.clear()
        if status.state >= TaskState.ACCEPTED:
            self._reports.put(task.id, status)
        self._tasks.spawn(self._drive(runner), name=f"task {task.name}")

    async def _drive(self, runner: Runner) -> None:
        await runner.run()
        if self._runners.get(runner.task.id) is runner:
            del self._runners[runner.task.id]
        if not self._runners:
            self._idle.set()
        self._dirty.set()
        if runner.task.attachments:
            await self._tidy()

    def _report(self, task_id: str, status: TaskStatus) -> None:
        self._reports.put(task_id, status)
        if status.state >= TaskState.RUNNING:
            self._dirty.set()

    # -- sweeping

    async def _sweep(self, task_id: str) -> None:
        try:
            await self._executor.stop(task_id)
            await self._executor.remove(task_id)
        except SampanError as error:
            log.error("the container of task %s stays: %s", task_id, error)

    async def _tidy(self) -> None:
        try:
            await self._executor.tidy(self.supplies)
        except SampanError as error:
            log.warning("a network without tasks stays for now: %s", error)

    # -- memory

    async def _save(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            memory = Memory(
                managers=self.managers,
                tasks=tuple(
                    msgspec.structs.replace(runner.task, auth="")
                    for runner in self._runners.values()
                    if not runner.released
                ),
                statuses={
                    id: runner.status
                    for id, runner in self._runners.items()
                    if runner.status.state >= TaskState.RUNNING and not runner.released
                },
                networks=tuple(self.supplies.networks.values()),
            )
            try:
                await self._files.save(memory)
            except OSError as error:
                log.error("the agent's tasks cannot be written down: %s", error)
                self._dirty.set()
            await self._clock.sleep(SAVE_PAUSE_S)
