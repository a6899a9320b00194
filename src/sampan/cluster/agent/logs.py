"""Answers what a manager asks of a task's log (``protocol/logs.py``), from the log file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from sampan.aio import Clock
from sampan.cluster.agent.contract import Executor, NoSuchTask
from sampan.cluster.peer.contract import Allow, PeerRequest, Reply, Server
from sampan.cluster.protocol.logs import LOGS_PATH, frame, frames, request_of
from sampan.cluster.protocol.messages import Assignment
from sampan.cluster.records import TaskStatus
from sampan.engine.contract import LogRequest
from sampan.runtime.contract import LogEntry

_LOOK_AGAIN_S = 0.1


class TaskLookup(Protocol):
    """Which tasks are here."""

    def task(self, task_id: str) -> Assignment | None: ...
    @property
    def statuses(self) -> dict[str, TaskStatus]: ...


class LogRoute:
    def __init__(self, executor: Executor, tasks: TaskLookup, clock: Clock) -> None:
        self._executor, self._tasks, self._clock = executor, tasks, clock

    def mount(self, server: Server) -> None:
        server.route("GET", LOGS_PATH, self.answer, allow=Allow.MANAGERS)

    async def answer(self, request: PeerRequest) -> Reply:
        """Handler of ``LOGS_PATH``.

        Raises:
            NoSuchTask: it never was here, or it is gone.
        """
        task_id = request.match["id"]
        wanted = request_of(request.query)
        batches: AsyncIterator[list[LogEntry]] | None = None
        try:
            batches = self._executor.logs(task_id, wanted)
        except NoSuchTask:
            if self._tasks.task(task_id) is None:
                raise
        return Reply(body=self._frames(task_id, wanted, batches))

    async def _frames(
        self, task_id: str, wanted: LogRequest, batches: AsyncIterator[list[LogEntry]] | None
    ) -> AsyncIterator[bytes]:
        # A first frame at once: the manager then knows that this node answers.
        yield frame([])
        while batches is None:
            status = self._tasks.statuses.get(task_id)
            task = self._tasks.task(task_id)
            if not wanted.follow or task is None or (status is not None and status.state.ended):
                return
            await self._clock.sleep(_LOOK_AGAIN_S)
            try:
                batches = self._executor.logs(task_id, wanted)
            except NoSuchTask:
                continue
        try:
            async for batch in batches:
                for part in frames(batch):
                    yield part
        finally:
            # The reader has gone, as a rule: what watches the file must not wait for the collector.
            if (close := getattr(batches, "aclose", None)) is not None:
                await close()
