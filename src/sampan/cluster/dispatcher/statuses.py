"""Observed states on their way into the store: many in one transaction.

The first one after a quiet moment is written at once; those that come while it is being written
go together in the next. What could not be written is tried again until it is, whether or not the
agent is still there: it was true when it was said.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

import msgspec

from sampan.aio import Clock
from sampan.cluster.contract import ClusterStore, Draft
from sampan.cluster.records import Task, TaskStatus
from sampan.cluster.states import TaskState
from sampan.errors import SampanError

log = logging.getLogger(__name__)

PAUSE_S = 0.01
"""Between two transactions at least."""
BATCH = 1000
RETRY_S = 0.5


class StatusWriter:
    def __init__(self, store: ClusterStore, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._pending: dict[str, tuple[str, TaskStatus]] = {}
        """Task id -> (node that says so, status)."""
        self._ready = asyncio.Event()

    def put(self, node_id: str, statuses: dict[str, TaskStatus]) -> None:
        for id, status in statuses.items():
            task = self._store.state.tasks.get(id)
            if task is not None and _news(task, node_id, status):
                self._pending[id] = (node_id, status)
        if self._pending:
            self._ready.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._ready.wait()
            batch = dict(list(self._pending.items())[:BATCH])
            try:
                await self._store.update(partial(_write, batch))
            except SampanError as error:
                log.warning("%d task states wait for the store: %s", len(self._pending), error)
                await self._clock.sleep(RETRY_S)
                continue
            for id, said in batch.items():
                if self._pending.get(id) is said:
                    del self._pending[id]
            if not self._pending:
                self._ready.clear()
            await self._clock.sleep(PAUSE_S)


def _write(batch: dict[str, tuple[str, TaskStatus]], draft: Draft) -> None:
    for id, (node_id, status) in batch.items():
        task = draft.get(Task, id)
        if task is not None and _news(task, node_id, status):
            since = task.status.started_at
            if not since and status.state == TaskState.RUNNING:
                since = status.timestamp
            status = msgspec.structs.replace(status, started_at=since)
            draft.put(msgspec.structs.replace(task, status=status))


def _news(task: Task, node_id: str, status: TaskStatus) -> bool:
    """Whether the node may say this of the task: it is its own, and states never go back. Of the
    same state something newer may be told (a message, a port)."""
    known = task.status
    if task.node_id != node_id or status.state < known.state:
        return False
    if status.state == known.state:
        return not known.state.ended and status.timestamp > known.timestamp and status != known
    return True
