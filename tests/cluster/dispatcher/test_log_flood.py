"""Tasks that never stop talking are held back by whoever reads slowly, in bounded memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from sampan.cluster.dispatcher.logs import QUEUE, WAITING, WAITING_BYTES, ServiceLogs
from sampan.cluster.peer.contract import Client
from sampan.cluster.protocol.logs import FRAME_BYTES, FRAME_ENTRIES, entries, frame, frames
from sampan.cluster.records import Task, TaskStatus
from sampan.cluster.states import TaskState
from sampan.engine.contract import LogRequest
from sampan.runtime.contract import LogEntry
from sampan.testing.agents import AgentWorld
from sampan.testing.clock import settle

TASKS = 10


class Flood:
    """Nodes whose tasks say as much as anybody takes. It is a ``Client`` as far as logs go."""

    def __init__(self, now: Callable[[], float], line: bytes) -> None:
        self._now, self._line = now, line
        self.sent = 0
        """Frames."""
        self.per_frame = min(FRAME_ENTRIES, max(1, FRAME_BYTES // len(line)))

    @asynccontextmanager
    async def stream(self, *_: object, **__: object) -> AsyncIterator[Flood]:
        yield self

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            self.sent += 1
            at = int(self._now() * 1e9) + 1
            yield frame([LogEntry(at, "stdout", self._line)] * self.per_frame)


async def read_a_little(world: AgentWorld, flood: Flood, request: LogRequest) -> None:
    """One batch, and then nothing for a while."""
    await world.manager("m1")
    await world.node("w1")
    names = [f"t{number}" for number in range(TASKS)]
    status = TaskStatus(state=TaskState.RUNNING)
    await world.put(*(Task(id=n, service_id="s", node_id="w1", status=status) for n in names))
    reader = ServiceLogs(world.store, cast("Client", flood), world.clock)
    batches: Any = reader.read(names, request)
    if request.follow:
        waiting = world.hub.tasks.spawn(anext(batches), name="read")
        await world.until(waiting.done)
    else:
        await anext(batches)
    for _ in range(50):
        await settle()
        await world.clock.advance(0.05)
    await batches.aclose()


async def test_what_is_there_is_read_ahead_a_little() -> None:
    async with AgentWorld() as world:
        flood = Flood(world.clock.now, b"short\n")
        await read_a_little(world, flood, LogRequest())
        # of each task: what waits, what is merged, what is on its way into the queue, and asked for
        assert flood.sent <= TASKS * (QUEUE + 3)


@pytest.mark.parametrize("line", [b"short\n", b"x" * 16 * 1024])
async def test_what_comes_waits_in_a_window_of_bounded_size(line: bytes) -> None:
    async with AgentWorld() as world:
        flood = Flood(world.clock.now, line)
        await read_a_little(world, flood, LogRequest(follow=True))
        # the window was filled once for the batch that was read, and once more after it; each task
        # holds a frame that waits for room, and what it has begun to send
        lines = flood.sent * flood.per_frame
        assert lines <= 2 * (WAITING + TASKS * FRAME_ENTRIES) + 4 * TASKS * FRAME_ENTRIES
        in_bytes = lines * len(line)
        assert in_bytes <= 2 * (WAITING_BYTES + TASKS * FRAME_BYTES) + 4 * TASKS * FRAME_BYTES


async def test_a_large_batch_is_cut_into_frames() -> None:
    said = [LogEntry(n, "stdout", b"x" * (n % 7) * 1000) for n in range(5000)]
    said += [LogEntry(n, "stderr", b"y" * 200_000) for n in range(3)]
    said += [LogEntry(n, "stderr", b"z\n") for n in range(2000)]

    async def chunks() -> AsyncIterator[bytes]:
        for each in frames(said):
            yield each

    found = [batch async for batch in entries(chunks())]
    assert [entry for batch in found for entry in batch] == said
    assert all(len(batch) <= FRAME_ENTRIES for batch in found)
    assert all(len(batch) == 1 or sum(len(e.line) for e in batch) <= FRAME_BYTES for batch in found)
    assert [batch async for batch in entries(only(b"".join(frames([]))))] == [[]]


async def only(data: bytes) -> AsyncIterator[bytes]:
    yield data
