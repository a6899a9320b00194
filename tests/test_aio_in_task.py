"""A cancellation that comes together with a failure is not lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from sampan.aio import Tasks, in_task


async def fail_when(event: asyncio.Event) -> None:
    await event.wait()
    raise LookupError


async def attempt(event: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(fail_when(event))
        group.create_task(asyncio.Event().wait())


async def again_and_again(event: asyncio.Event) -> None:
    while True:
        with suppress(ExceptionGroup):
            await in_task(attempt(event), name="attempt")
        await asyncio.Event().wait()


@pytest.mark.parametrize("turns", range(5))
async def test_a_loop_around_a_group_ends_when_it_is_cancelled(turns: int) -> None:
    event = asyncio.Event()
    tasks = Tasks()
    loop = tasks.spawn(again_and_again(event), name="loop")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    event.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await tasks.close()
    assert loop.cancelled()


async def test_results_and_errors_come_through() -> None:
    async def two() -> int:
        return 2

    assert await in_task(two(), name="two") == 2
    event = asyncio.Event()
    event.set()
    with pytest.raises(LookupError):
        await in_task(fail_when(event), name="fails")
