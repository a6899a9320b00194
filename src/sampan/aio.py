"""The few asyncio habits that everything here shares: named tasks, shielded cleanup, a clock.

``asyncio.create_task`` and ``ensure_future`` are banned by lint everywhere else: the loop keeps
only a weak reference to a task, so a fire-and-forget one can vanish in mid-flight, and an
exception that nobody awaits is only reported when the garbage collector comes by.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

CLEANUP_DEADLINE_S = 10.0


class Clock(Protocol):
    """Time as an argument: pass it to whatever waits, expires, backs off or stamps."""

    def now(self) -> float:
        """Seconds since the epoch: for stamps that users see and that outlive the process."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps: for intervals."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait ``seconds`` (>= 0)."""
        ...


class SystemClock:
    """The real clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """How a piece of work ended: with a value, or with an error that belongs to those who wait."""

    result: T | None = None
    error: Exception | None = None

    def value(self) -> T:
        """The value; raises the error if there is one."""
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]  # without an error there is a value


async def outcome(work: Awaitable[T]) -> Outcome[T]:
    """Await ``work`` and return how it ended. Only cancellation is raised.

    For work in a task of its own whose error somebody takes with ``value``: a task that raises is
    one that nobody waits for, and is logged as such.
    """
    try:
        return Outcome(result=await work)
    except Exception as error:  # noqa: BLE001
        return Outcome(error=error)


class Tasks:
    """A set of named background tasks with one owner.

    A task that dies of anything but cancellation is logged with its traceback at once. ``close``
    cancels what is left and waits for it.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, coro: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Start ``coro`` as a task called ``name`` and keep a reference until it ends."""
        task = asyncio.create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def attempt(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[Outcome[T]]:
        """Start ``work`` as a task that ends with its outcome: its error is for those who wait."""
        task = self.spawn(outcome(work), name=name)
        # Of a task that is cancelled before its first step, nothing runs that would await it.
        task.add_done_callback(lambda _: work.close())
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task %s died", task.get_name(), exc_info=error)

    async def close(self) -> None:
        """Cancel every task still running and wait until all have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ended(future: asyncio.Future[Any]) -> None:
    """Cancel ``future`` and wait until it has ended. How it ends interests nobody, and is looked at
    so that the loop does not log it as an error that nobody has seen."""
    future.cancel()
    await asyncio.gather(future, return_exceptions=True)


async def in_task(work: Coroutine[Any, Any, T], *, name: str) -> T:
    """Await ``work`` in a task of its own, so that the caller's cancellation cannot get lost in it.

    A TaskGroup whose tasks fail in the moment of its cancellation raises their errors and nothing
    else: a loop that handles these around the group would go on for ever.
    """
    task = asyncio.create_task(work, name=name)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        await _ended(task)
        raise
    return task.result()


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, T], *, name: str) -> AsyncIterator[asyncio.Task[T]]:
    """``work`` in a task of its own beside the block, which may await it. Behind the block it is
    cancelled, and has ended."""
    task = asyncio.create_task(work, name=name)
    try:
        yield task
    finally:
        await _ended(task)


async def breathe() -> None:
    """Let everything else that is ready have its turn of the loop: in long work, now and then."""
    await asyncio.sleep(0)


class KeyedLocks:
    """One lock a key, kept only while someone holds or awaits it."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @property
    def idle(self) -> bool:
        """Nobody holds or awaits any."""
        return not self._locks

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Wait for the lock of ``key`` and hold it; first come, first served."""
        lock, users = self._locks.get(key) or (asyncio.Lock(), 0)
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, users - 1)


async def in_thread(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking ``fn`` in the thread pool. Never for anything that touches the store."""
    return await asyncio.to_thread(fn, *args, **kwargs)


async def first_of(**jobs: Awaitable[Any]) -> tuple[str, Any]:
    """Await ``jobs`` side by side until the first of them ends.

    Returns its name and its result. Of several that end in one turn the one that is named first
    counts. Coroutines that have not ended by then are cancelled and awaited; a task or a future
    that was passed in goes on, as it belongs to the caller.

    Raises:
        What the job that ended first raises.
    """
    futures = {name: asyncio.ensure_future(job) for name, job in jobs.items()}
    own = [future for name, future in futures.items() if future is not jobs[name]]
    try:
        await asyncio.wait(futures.values(), return_when=asyncio.FIRST_COMPLETED)
        name, ended = next((name, each) for name, each in futures.items() if each.done())
        return name, ended.result()
    finally:
        for future in own:
            future.cancel()
        await asyncio.gather(*own, return_exceptions=True)


async def within(clock: Clock, seconds: float, doing: Awaitable[T]) -> T:
    """Await ``doing`` for at most ``seconds`` of ``clock``, then cancel it.

    Raises:
        TimeoutError: it took longer.
    """
    work = asyncio.ensure_future(doing)
    try:
        name, result = await first_of(work=work, timer=clock.sleep(seconds))
    finally:
        await _ended(work)
    if name == "timer":
        raise TimeoutError
    value: T = result
    return value


class Deadline:
    """Of a block; see ``deadline``."""

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self._timeout = timeout

    def expire(self) -> None:
        """The time of the block is over now. Only while it runs."""
        self._timeout.reschedule(asyncio.get_running_loop().time())


@asynccontextmanager
async def deadline(clock: Clock, seconds: float) -> AsyncIterator[Deadline]:
    """``asyncio.timeout`` on ``clock``: what is in the block has ``seconds``, or until ``expire``.

    Raises:
        TimeoutError: it took longer, and was cancelled.
    """
    async with asyncio.timeout(None) as timeout:
        limit = Deadline(timeout)
        timer = asyncio.create_task(_expire(clock, seconds, limit), name="deadline")
        try:
            yield limit
        finally:
            # Not awaited: what the block has done in time must not be lost to it meanwhile.
            timer.cancel()


async def _expire(clock: Clock, seconds: float, limit: Deadline) -> None:
    await clock.sleep(seconds)
    limit.expire()


async def shielded(cleanup: Awaitable[T], *, deadline_s: float = CLEANUP_DEADLINE_S) -> T:
    """Await ``cleanup`` to its end even when the caller is cancelled, for at most ``deadline_s``.

    The cancellation is not lost: it is raised once the cleanup is through.

    Raises:
        TimeoutError: the cleanup took longer than ``deadline_s``.
    """
    task = asyncio.ensure_future(asyncio.wait_for(cleanup, deadline_s))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("cleanup failed while the caller was cancelled", exc_info=error)
        raise
