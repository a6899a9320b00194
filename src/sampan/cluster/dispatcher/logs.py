"""The logs of many tasks as one, in the order of time.

    ServiceLogs(store, client, clock).read(task_ids, request, service_id="") -> batches of TaskLog

What is there already is merged exactly: each node's part is in order, so the smallest head is
next. What is still to come cannot be: a line may be on its way while a later one from elsewhere is
here. So the two are asked for one after the other, split at one moment, and the second part goes
through a short window in which late lines find their place.

A node that does not answer costs its part, and a notice instead (an entry without a task): the
others' logs are worth having. While following it is asked again and again for what comes after the
last line that was read: daemons start again, and tasks outlive them.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

import msgspec

from sampan.aio import Clock, Tasks
from sampan.cluster.backoff import backoff_s
from sampan.cluster.contract import ClusterStore, Feed, StoreLagged
from sampan.cluster.peer.contract import Client
from sampan.cluster.protocol.logs import LOGS_PATH, entries, query_of
from sampan.cluster.records import Task
from sampan.cluster.states import TaskState
from sampan.engine.contract import LogRequest
from sampan.errors import NotFound, SampanError, Unavailable
from sampan.runtime.contract import LogEntry, Stream

log = logging.getLogger(__name__)

WINDOW_S = 0.1
QUEUE = 4
"""Batches (frames) of one task that wait to be merged: then its node is held back."""
BATCH = 512
WAITING = 8192
"""Entries that wait in the window before the nodes are held back,"""
WAITING_BYTES = 4 * 1024 * 1024
"""or so many bytes of them."""
AGAIN_S = 0.25
LONGEST_AGAIN_S = 4.0
TOLD_AFTER_S = 4.0
"""A daemon that only starts again is back before the user is told of it."""


class TaskLog(msgspec.Struct, frozen=True, gc=False):
    """A line (or a part of one) of a task. ``task_id`` empty: a notice to the user."""

    task_id: str
    node_id: str
    time_ns: int
    stream: Stream
    line: bytes
    partial: bool = False


class ServiceLogs:
    def __init__(self, store: ClusterStore, client: Client, clock: Clock) -> None:
        self._store, self._client, self._clock = store, client, clock

    async def read(
        self, task_ids: Sequence[str], request: LogRequest, *, service_id: str = ""
    ) -> AsyncIterator[Sequence[TaskLog]]:
        """The logs of these tasks. ``tail`` counts for each task. With ``follow`` and a
        ``service_id``, tasks that this service gets later are read, too."""
        state = self._store.state
        tasks = [task for id in task_ids if (task := state.tasks.get(id)) is not None]
        if not request.follow:
            async with aclosing(self._merged(tasks, request)) as batches:
                async for batch in batches:
                    yield batch
            return
        # From here on nothing of the service is missed, whatever the backlog takes.
        with self._store.feed("task", "service") as feed:
            split = int(self._clock.now() * 1e9)
            until = min(split, request.until_ns or split)
            backlog = replace(request, follow=False, until_ns=until)
            async with aclosing(self._merged(tasks, backlog)) as batches:
                async for batch in batches:
                    yield batch
            if request.until_ns and request.until_ns <= split:
                return
            live = replace(request, tail=None, since_ns=max(request.since_ns, split + 1))
            # A later task is read from its beginning.
            later = replace(request, tail=None)
            async with aclosing(self._live(tasks, live, later, feed, service_id)) as batches:
                async for batch in batches:
                    yield batch

    # -- what is there

    async def _merged(
        self, tasks: Sequence[Task], request: LogRequest
    ) -> AsyncGenerator[Sequence[TaskLog], None]:
        background = Tasks()
        order = itertools.count()
        try:
            sources = [_Source(self._one(task, request), background, task.id) for task in tasks]
            heap: list[tuple[int, int, TaskLog, _Source]] = []
            for source in sources:
                if (head := await source.next()) is not None:
                    heap.append((head.time_ns, next(order), head, source))
            heapq.heapify(heap)
            batch: list[TaskLog] = []
            while heap:
                _, _, entry, source = heap[0]
                batch.append(entry)
                head = source.ready() or await source.next()
                if head is None:
                    heapq.heappop(heap)
                else:
                    heapq.heapreplace(heap, (head.time_ns, next(order), head, source))
                if len(batch) >= BATCH:
                    yield batch
                    batch = []
            if batch:
                yield batch
        finally:
            await background.close()

    # -- what comes

    async def _live(
        self,
        tasks: Sequence[Task],
        request: LogRequest,
        later: LogRequest,
        feed: Feed,
        service_id: str,
    ) -> AsyncGenerator[Sequence[TaskLog], None]:
        window = _Window(self._clock)
        background = Tasks()
        reading: set[str] = set()

        def begin(task: Task, wanted: LogRequest) -> None:
            reading.add(task.id)
            window.sources += 1
            background.spawn(self._pump(task, wanted, window), name=f"log {task.id}")

        try:
            for task in tasks:
                begin(task, request)
            if service_id:
                window.sources += 1  # as long as the service is there, there may be more tasks

                async def newcomers() -> None:
                    try:
                        await self._newcomers(feed, service_id, reading, lambda t: begin(t, later))
                    finally:
                        window.done()

                background.spawn(newcomers(), name=f"log of service {service_id}")
            async for batch in window.batches():
                yield batch
        finally:
            await background.close()

    async def _newcomers(
        self,
        feed: Feed,
        service_id: str,
        reading: set[str],
        begin: Callable[[Task], None],
    ) -> None:
        def look() -> None:
            for task in list(self._store.state.tasks_of(service_id).values()):
                if task.id not in reading and task.node_id and _has_begun(task):
                    begin(task)

        services = self._store.state.services
        there = service_id in services
        look()
        try:
            async for batch in feed:
                if there and service_id not in services:
                    return  # removed: the end of its last task is the end of its log
                if any(
                    change.kind == "task"
                    and change.after is not None
                    and change.after.service_id == service_id
                    for change in batch.changes
                ):
                    look()
        except StoreLagged:
            log.warning("logs of service %s: later tasks are not followed", service_id)

    async def _pump(self, task: Task, request: LogRequest, window: _Window) -> None:
        try:
            async with aclosing(self._to_its_end(task.id, request)) as batches:
                async for batch in batches:
                    await window.put(batch)
        finally:
            window.done()

    # -- one task

    async def _to_its_end(
        self, task_id: str, request: LogRequest
    ) -> AsyncGenerator[list[TaskLog], None]:
        """A task's log for as long as it runs: also past the end of a daemon that it outlives, and
        of a node that is away for a while."""
        place = _Place(request.since_ns)
        failures = 0
        away: float | None = None
        """Since when its node does not answer; infinity: and the user knows."""
        while True:
            # Before it is asked for: of a task that has ended by now, what comes is all.
            task = self._store.state.tasks.get(task_id)
            over = task is None or task.status.state.ended
            why = ""
            try:
                if task is not None:
                    wanted = replace(request, since_ns=place.begin())
                    async for batch in self._asked(task, wanted):
                        failures, away = 0, None
                        if news := place.news(batch):
                            yield news
                away = None
            except NotFound:
                # No container yet, or it is gone; or a daemon that is just taking its tasks up.
                log.debug("task %s has no log yet", task_id)
            except (SampanError, msgspec.DecodeError) as error:
                why = str(error)
            if over or (request.until_ns and request.until_ns <= self._clock.now() * 1e9):
                if task is not None and why and away is not None and away < math.inf:
                    yield [self._notice(task, why)]
                return
            if task is not None and why:
                now = self._clock.monotonic()
                away = now if away is None else away
                if now - away >= TOLD_AFTER_S:
                    away = math.inf
                    yield [self._notice(task, why)]
            failures += 1
            await self._clock.sleep(backoff_s(failures, AGAIN_S, LONGEST_AGAIN_S))

    async def _one(self, task: Task, request: LogRequest) -> AsyncIterator[list[TaskLog]]:
        """A task's log as far as it goes now; a notice in its place if its node does not answer."""
        try:
            async for batch in self._asked(task, request):
                yield batch
        except NotFound:
            # It never had a container, or that is gone: nothing was said, or nothing is left.
            log.debug("task %s has no log on node %s", task.id, task.node_id)
        except (SampanError, msgspec.DecodeError) as error:
            yield [self._notice(task, str(error))]

    async def _asked(self, task: Task, request: LogRequest) -> AsyncIterator[list[TaskLog]]:
        """A task's log, from its node.

        Raises:
            SampanError, msgspec.DecodeError: what has come is not all.
        """
        if not task.node_id:
            return
        node = self._store.state.nodes.get(task.node_id)
        if node is None or not node.address:
            raise Unavailable(f"node {task.node_id} is no longer in the swarm")
        try:
            async with self._client.stream(
                node.address,
                "GET",
                LOGS_PATH.format(id=task.id),
                query=query_of(request),
                role=None,
                node_id=node.id,
            ) as reply:
                async for batch in entries(reply.chunks()):
                    if batch:
                        yield [_said(task, entry) for entry in batch]
        except Unavailable as error:
            raise Unavailable(f"{node.description.hostname or node.id}: {error}") from error

    def _notice(self, task: Task, why: str) -> TaskLog:
        text = f"warning: incomplete log stream. some logs could not be retrieved: {why}\n"
        return TaskLog(
            task_id="",
            node_id=task.node_id,
            time_ns=int(self._clock.now() * 1e9),
            stream="stderr",
            line=text.encode(),
        )


class _Place:
    """How far a task's log has been read, so that it can be read on from there."""

    def __init__(self, since_ns: int) -> None:
        self.since_ns = since_ns
        """The time of what was read last: others of the same time may follow."""
        self._read = 0
        """How many of that time were read."""
        self._known = 0
        """How many of those will come again."""

    def begin(self) -> int:
        """Since when to ask (once more)."""
        self._known = self._read
        return self.since_ns

    def news(self, batch: list[TaskLog]) -> list[TaskLog]:
        """Those that have not been read before, of what came next."""
        found = []
        for entry in batch:
            if entry.time_ns == self.since_ns:
                if self._known:
                    self._known -= 1
                    continue
                self._read += 1
            elif entry.time_ns > self.since_ns:
                self.since_ns, self._read, self._known = entry.time_ns, 1, 0
            found.append(entry)
        return found


class _Source:
    """One task's entries, read ahead a little."""

    def __init__(self, batches: AsyncIterator[list[TaskLog]], tasks: Tasks, task_id: str) -> None:
        self._batches = batches
        self._queue: asyncio.Queue[list[TaskLog] | None] = asyncio.Queue(QUEUE)
        self._batch: list[TaskLog] = []
        self._at = 0
        tasks.spawn(self._fill(), name=f"log {task_id}")

    async def _fill(self) -> None:
        try:
            async for batch in self._batches:
                await self._queue.put(batch)
        except Exception:
            log.exception("a task's log cannot be read to its end")
        await self._queue.put(None)

    def ready(self) -> TaskLog | None:
        """The next entry, if it is here."""
        if self._at < len(self._batch):
            self._at += 1
            return self._batch[self._at - 1]
        return None

    async def next(self) -> TaskLog | None:
        """The next entry; None at the end."""
        while (entry := self.ready()) is None:
            batch = await self._queue.get()
            if batch is None:
                await self._queue.put(None)
                return None
            self._batch, self._at = batch, 0
        return entry


class _Window:
    """Entries wait ``WINDOW_S`` for earlier ones that are still on their way."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[int, int, TaskLog]] = []
        self._arrivals: list[tuple[float, int]] = []
        """(when it came, how many came before it and with it), in order."""
        self._order = itertools.count()
        self._came = 0
        self._left = 0
        self._bytes = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.sources = 0

    async def put(self, batch: list[TaskLog]) -> None:
        await self._room.wait()
        for entry in batch:
            heapq.heappush(self._heap, (entry.time_ns, next(self._order), entry))
            self._bytes += len(entry.line)
        self._came += len(batch)
        self._arrivals.append((self._clock.monotonic(), self._came))
        if not self._has_room:
            self._room.clear()
        self._news.set()

    @property
    def _has_room(self) -> bool:
        return len(self._heap) <= WAITING and self._bytes <= WAITING_BYTES

    def done(self) -> None:
        self.sources -= 1
        self._news.set()

    async def batches(self) -> AsyncIterator[list[TaskLog]]:
        """Until every source has ended."""
        while True:
            while not self._arrivals:
                if not self.sources:
                    return
                self._news.clear()
                await self._news.wait()
            due = self._arrivals[0][0] + WINDOW_S - self._clock.monotonic()
            if due > 0 and self.sources:
                await self._clock.sleep(due)
            now = self._clock.monotonic()
            ripe = self._left
            while self._arrivals and (
                not self.sources or self._arrivals[0][0] + WINDOW_S <= now + 1e-9
            ):
                ripe = self._arrivals.pop(0)[1]
            # As many as are old enough leave, the earliest first: not always the same ones, but
            # none that is older than what has left.
            batch = [heapq.heappop(self._heap)[2] for _ in range(ripe - self._left)]
            self._left = ripe
            self._bytes -= sum(len(entry.line) for entry in batch)
            if self._has_room:
                self._room.set()
            if batch:
                yield batch


def _said(task: Task, entry: LogEntry) -> TaskLog:
    return TaskLog(task.id, task.node_id, entry.time_ns, entry.stream, entry.line, entry.partial)


def _has_begun(task: Task) -> bool:
    return task.status.state >= TaskState.STARTING
