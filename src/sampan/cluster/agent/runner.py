"""One task's life on its node: ``advance`` takes one step towards what is desired.

    (new) -> ACCEPTED -> PREPARING -> READY -> STARTING -> RUNNING -> COMPLETE | FAILED
                          fetch,     waits for  start,      wait
                          create     desired    ready
    not wanted: out of every table first (the managers do that, ``withdrawal.py`` waits for it),
                what has come is answered, stop -> SHUTDOWN
    no longer assigned, or desired REMOVE: the container goes, too

A step that fails is repeated (``Unavailable``), or ends the task: REJECTED if it never started,
else FAILED. What is observed never goes back; a daemon that comes back finds the container and
takes the task up where it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import msgspec

from sampan.aio import Clock, Tasks, first_of
from sampan.cluster.agent.contract import Executor, Exit, NoSuchTask, Supplies, TaskPlace
from sampan.cluster.backoff import backoff_s
from sampan.cluster.protocol.messages import Assignment
from sampan.cluster.records import TaskStatus
from sampan.cluster.states import TaskState
from sampan.errors import SampanError, Unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

LINGER_S = 0.1
"""Between leaving the last table and the stop signal: what has been sent on the way arrives."""
DRAIN_S = 0.3
"""Between the wish and the stop signal, at least: a request that was just read is answered."""
ATTEMPTS = 6
"""Of preparing; then another node may have more luck."""
FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 8.0
SAY_EVERY_S = 1.0


class Unwanted(Exception):
    """The task is to stop: what was under way was given up."""


class Runner:
    def __init__(
        self,
        task: Assignment,
        status: TaskStatus,
        *,
        executor: Executor,
        supplies: Supplies,
        clock: Clock,
        report: Callable[[str, TaskStatus], None],
        withdrawn: Callable[[Assignment], Awaitable[None]],
        restored: bool = False,
    ) -> None:
        self.task, self.status = task, status
        self.released = False
        """No longer assigned here."""
        self._restored = restored
        """Known from disk only: nothing new begins before a manager has spoken."""
        self._executor, self._supplies, self._clock = executor, supplies, clock
        self._report, self._withdrawn = report, withdrawn
        self._changed = asyncio.Event()
        self._tasks = Tasks()
        self._removed = False

    # -- what the worker says

    def update(self, task: Assignment) -> None:
        """A newer assignment. Desired states never go back."""
        if task.desired < self.task.desired:
            task = msgspec.structs.replace(task, desired=self.task.desired)
        self.task, self._restored = task, False
        self._changed.set()

    def desire(self, state: TaskState) -> None:
        self.update(msgspec.structs.replace(self.task, desired=max(state, self.task.desired)))

    def release(self) -> None:
        """Stop it, and take everything of it away; ``run`` returns after that."""
        self.released = True
        self._changed.set()

    @property
    def wanted(self) -> bool:
        return self.task.wanted and not self.released

    # -- life

    async def run(self) -> None:
        """Advance until the task is released and gone."""
        failures = 0
        try:
            while True:
                self._changed.clear()
                try:
                    moved = await self.advance()
                    failures = 0
                except Unwanted:
                    moved = True
                except Exception as error:  # noqa: BLE001 - judged and told to the managers
                    failures += 1
                    moved = self._failed(error, failures)
                    if not moved:
                        await self._pause(failures)
                        continue
                if moved:
                    continue
                if self.released and self._removed:
                    return
                await self._changed.wait()
        finally:
            await self._tasks.close()

    async def advance(self) -> bool:
        """Take one step. False: there is none to take until something changes."""
        state = self.status.state
        if state.ended:
            return await self._clear()
        if not self.wanted:
            await self._shut_down()
            return True
        match state:
            case TaskState.ACCEPTED:
                self._to(TaskState.PREPARING, "preparing")
            case TaskState.PREPARING:
                if self._restored:
                    return False
                image = await self._while_wanted(
                    lambda: self._executor.fetch(self.task, self._supplies, self._say)
                )
                place = await self._executor.create(self.task, image, self._supplies)
                self._to(TaskState.READY, "prepared", place)
            case TaskState.READY:
                if self.task.desired < TaskState.RUNNING:
                    return False
                self._to(TaskState.STARTING, "starting")
            case TaskState.STARTING:
                await self._start()
            case TaskState.RUNNING:
                self._exited(await self._while_wanted(lambda: self._executor.wait(self.task)))
            case _:
                if self._restored:
                    return False
                self._to(TaskState.ACCEPTED, "accepted")
        return True

    async def _start(self) -> None:
        place = await self._executor.start(self.task)
        ended = self._tasks.attempt(self._executor.wait(self.task), name="task exit")
        try:
            await self._while_wanted(lambda: self._executor.ready(self.task), ended)
        finally:
            if not ended.done():
                ended.cancel()
        if ended.done() and not ended.cancelled():
            end = ended.result().value()
            self._to(TaskState.RUNNING, "started", place)
            self._exited(end)
            return
        self._to(TaskState.RUNNING, "started", place)

    def _exited(self, end: Exit) -> None:
        if end.code == 0 and not end.error:
            self._to(TaskState.COMPLETE, "finished", exit_code=0)
            return
        why = f"task: non-zero exit ({end.code})"
        self._to(
            TaskState.FAILED,
            self.status.message,
            err=f"{why}: {end.error}" if end.error else why,
            exit_code=end.code,
        )

    async def _shut_down(self) -> None:
        if self.status.state is TaskState.RUNNING and self._visible:
            begin = self._clock.monotonic()
            await self._withdrawn(self.task)
            waited = self._clock.monotonic() - begin
            await self._clock.sleep(max(LINGER_S, DRAIN_S - waited))
            await self._executor.answered(self.task)
        end = await self._executor.stop(self.task.id)
        self._to(
            TaskState.SHUTDOWN,
            "shutdown",
            exit_code=end.code if end is not None else self.status.exit_code,
        )

    @property
    def _visible(self) -> bool:
        """Somebody may be sending it something."""
        return bool(self.task.attachments)

    async def _clear(self) -> bool:
        """The container of a task that has ended goes once nobody can ask for it."""
        if self._removed or not (self.released or self.task.desired is TaskState.REMOVE):
            return False
        await self._executor.stop(self.task.id)
        await self._executor.remove(self.task.id)
        self._removed = True
        return True

    # -- failures

    def _failed(self, error: Exception, failures: int) -> bool:
        """Whether the task has moved on (to its end); False: try again."""
        state = self.status.state
        if state.ended or not self.wanted:
            log.warning("task %s cannot be stopped yet: %s", self.task.name, error)
            return False
        text = str(error) or type(error).__name__
        if isinstance(error, OSError):  # of this host: a full disk, no more processes
            text = error.strerror or text
            log.warning("task %s: %s", self.task.name, error)
        elif not isinstance(error, SampanError):
            log.error("task %s: %s", self.task.name, error, exc_info=error)
        if isinstance(error, Unavailable) and state < TaskState.STARTING and failures < ATTEMPTS:
            self._to(state, self.status.message, err=text)
            return False
        end = TaskState.REJECTED if state < TaskState.STARTING else TaskState.FAILED
        code = getattr(error, "exit_code", 0)
        self._to(end, self.status.message, err=text, exit_code=code)
        return True

    async def _pause(self, failures: int) -> None:
        pause = backoff_s(failures, FIRST_RETRY_S, LONGEST_RETRY_S)
        await first_of(timer=self._clock.sleep(pause), changed=self._changed.wait())

    # -- small things

    async def _while_wanted(
        self, step: Callable[[], Coroutine[Any, Any, T]], *others: asyncio.Task[Any]
    ) -> T:
        """``step``, given up when the task is no longer wanted or one of ``others`` ends.

        Raises:
            Unwanted: it was given up for the first reason.
        """
        doing = self._tasks.attempt(step(), name=f"task {self.task.name}")
        try:
            while not doing.done() and not any(other.done() for other in others):
                if not self.wanted:
                    raise Unwanted
                self._changed.clear()
                waited = {f"other {at}": other for at, other in enumerate(others)}
                await first_of(doing=doing, changed=self._changed.wait(), **waited)
        finally:
            if not doing.done():
                doing.cancel()
                await asyncio.wait({doing})
        if doing.cancelled():  # one of ``others`` ended: its caller looks there
            return None  # type: ignore[return-value]
        return doing.result().value()

    def _say(self, message: str) -> None:
        """Progress of a fetch, for those who wonder what a task waits for. Now and then: each
        word of it is a write of the cluster's store."""
        late = self._clock.now() - self.status.timestamp >= SAY_EVERY_S
        if message and message != self.status.message and self.wanted and late:
            self._to(self.status.state, message)

    def _to(
        self,
        state: TaskState,
        message: str,
        place: TaskPlace | None = None,
        *,
        err: str = "",
        exit_code: int | None = None,
    ) -> None:
        before = self.status
        self.status = TaskStatus(
            state=state,
            timestamp=max(self._clock.now(), before.timestamp + 1e-6),
            message=message,
            err=err,
            container_id=place.container_id if place else before.container_id,
            pid=0 if state.ended else place.pid if place else before.pid,
            exit_code=before.exit_code if exit_code is None else exit_code,
            ports=place.ports if place else before.ports,
        )
        self._report(self.task.id, self.status)


def status_on_return(
    task: Assignment, saved: TaskStatus | None, place: TaskPlace | None, now: float
) -> TaskStatus:
    """Where a task is taken up by an agent that finds it: from what the disk and the manager knew
    of it, and from its container. Pure."""
    known = saved or TaskStatus(state=task.observed)
    if known.state.ended:
        return known
    if task.observed.ended:
        return TaskStatus(state=task.observed, timestamp=now)
    if place is None:
        if known.state < TaskState.STARTING:
            return TaskStatus(state=TaskState.ASSIGNED, timestamp=known.timestamp)
        missing = NoSuchTask(task.id)
        if not task.wanted:
            return TaskStatus(state=TaskState.SHUTDOWN, timestamp=now, message="shutdown")
        return TaskStatus(
            state=TaskState.FAILED, timestamp=now, message="started", err=str(missing)
        )
    state = TaskState.READY
    if place.phase == "ended" or (
        place.phase == "running" and max(known.state, task.observed) >= TaskState.RUNNING
    ):
        state = TaskState.RUNNING
    elif place.phase == "running":
        state = TaskState.STARTING
    return TaskStatus(
        state=state,
        timestamp=known.timestamp,
        message=known.message or {TaskState.RUNNING: "started"}.get(state, "preparing"),
        container_id=place.container_id,
        pid=place.pid,
        ports=place.ports,
    )
