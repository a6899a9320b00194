"""What the API asks of the tasks' logs. ``cluster.dispatcher.logs`` fulfils it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from sampan.engine.contract import LogRequest
from sampan.runtime.contract import Stream


class TaskLogEntry(Protocol):
    """A line (or a part of one) that a task wrote."""

    @property
    def task_id(self) -> str:
        """Empty: a notice to the user, such as that a node's part is missing."""
        ...

    @property
    def node_id(self) -> str: ...
    @property
    def time_ns(self) -> int: ...
    @property
    def stream(self) -> Stream: ...
    @property
    def line(self) -> bytes: ...


class TaskLogs(Protocol):
    def read(
        self, task_ids: Sequence[str], request: LogRequest, *, service_id: str = ""
    ) -> AsyncIterator[Sequence[TaskLogEntry]]:
        """The logs of these tasks, merged in the order of time, in batches. ``tail`` counts for
        each task. With ``follow`` and a ``service_id``, tasks that this service gets later are
        read, too."""
        ...
