"""Deadlines of a client are on the clock that it was given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sampan.aio import Deadline, Tasks, deadline, outcome
from sampan.cluster.peer.client import PeerClient, fetch_pinned
from sampan.cluster.peer.contract import Unreachable
from sampan.cluster.peer.tls import blind
from sampan.testing.clock import FakeClock, settle


@pytest.fixture
async def mute() -> AsyncIterator[str]:
    """The address of somebody who takes connections and says nothing."""
    held: list[asyncio.StreamWriter] = []

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    yield f"{host}:{port}"
    for writer in held:
        writer.close()
    server.close()


async def test_nobody_waits_longer_than_the_clock_says(mute: str) -> None:
    clock, tasks = FakeClock(), Tasks()
    client = PeerClient(anonymous=blind(), clock=clock)

    async def stream() -> None:
        async with client.stream(mute, "GET", "/", timeout_s=5.0):
            raise AssertionError("it has answered")

    asking = [
        tasks.spawn(outcome(stream()), name="stream"),
        tasks.spawn(outcome(client.socket(mute, "/", timeout_s=5.0)), name="socket"),
        tasks.spawn(
            outcome(fetch_pinned(mute, "/", "00", timeout_s=5.0, clock=clock)), name="fetch"
        ),
    ]
    await settle()
    await clock.advance(4.99)
    assert not any(task.done() for task in asking)
    await clock.advance(0.01)
    for task in asking:
        error = (await task).error
        assert isinstance(error, Unreachable)
        assert "no answer within 5 s" in str(error)
    await client.close()
    await tasks.close()


async def test_a_deadline_that_is_met_leaves_no_timer() -> None:
    clock = FakeClock()
    async with deadline(clock, 3.0):
        await asyncio.sleep(0)
    await settle()
    assert clock.pauses == []
    await clock.advance(10)  # and nobody is cancelled


async def test_what_is_cancelled_from_outside_is_no_timeout() -> None:
    clock, tasks = FakeClock(), Tasks()

    async def wait() -> None:
        async with deadline(clock, 3.0):
            await asyncio.Event().wait()

    task = tasks.spawn(wait(), name="wait")
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert clock.pauses == []


async def test_the_clock_ends_a_block_and_leaves_it_uncancelled() -> None:
    clock, tasks, ended = FakeClock(), Tasks(), asyncio.Event()

    async def wait() -> int:
        with pytest.raises(TimeoutError):
            async with deadline(clock, 3.0):
                await asyncio.Event().wait()
        await ended.wait()  # the cancellation of the block is not still there
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    task = tasks.spawn(wait(), name="wait")
    await settle()
    await clock.advance(2.9)
    assert clock.pauses == [pytest.approx(0.1)]
    await clock.advance(0.1)
    assert clock.pauses == []
    ended.set()
    assert await task == 0


async def test_a_block_may_be_ended_before_its_time() -> None:
    clock = FakeClock()

    async def end_it() -> None:
        async with deadline(clock, 3.0) as limit:
            limit.expire()
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await end_it()
    await settle()
    assert clock.pauses == []


async def test_cancelled_from_outside_in_the_moment_its_time_is_over() -> None:
    """Whoever cancels is to see it, not an error that the task may go on after."""
    clock, tasks = FakeClock(), Tasks()

    async def wait() -> None:
        async with deadline(clock, 3.0) as limit:
            inside.append(limit)
            await asyncio.Event().wait()

    inside: list[Deadline] = []
    task = tasks.spawn(wait(), name="wait")
    await settle()
    inside[0].expire()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
