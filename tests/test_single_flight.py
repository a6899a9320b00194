"""Work that several wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from sampan.aio import Tasks, outcome
from sampan.single_flight import SingleFlight


class Work:
    """Counts how often it is begun; goes on until ``go``."""

    def __init__(self) -> None:
        self.begun = self.given_up = 0
        self.go = asyncio.Event()
        self.tell: Callable[[str], None] = lambda _: None

    async def __call__(self, tell: Callable[[str], None]) -> int:
        self.begun += 1
        self.tell = tell
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        if self.begun > 1:
            raise LookupError("the second time it fails")
        return self.begun


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_two_who_want_the_same_wait_for_one() -> None:
    flights, work, tasks = SingleFlight[int, str]("test"), Work(), Tasks()
    heard: list[tuple[int, str]] = []
    one = tasks.spawn(flights.join("k", work, lambda news: heard.append((1, news))), name="one")
    await settled()
    work.tell("begun")
    two = tasks.spawn(flights.join("k", work, lambda news: heard.append((2, news))), name="two")
    await settled()
    work.go.set()
    assert [await one, await two] == [1, 1]
    assert work.begun == 1
    assert heard == [(1, "begun"), (2, "begun")]


async def test_the_work_goes_on_until_the_last_one_has_gone() -> None:
    flights, work, tasks = SingleFlight[int, str]("test"), Work(), Tasks()
    waiting = [
        tasks.spawn(flights.join("k", work, lambda _: None), name=f"waits {n}") for n in range(2)
    ]
    await settled()
    waiting[0].cancel()
    await settled()
    assert work.given_up == 0
    waiting[1].cancel()
    await asyncio.wait(waiting)
    assert work.given_up == 1


async def test_who_comes_after_a_failure_begins_anew() -> None:
    flights, work, tasks = SingleFlight[int, str]("test"), Work(), Tasks()
    work.go.set()
    assert await flights.join("k", work, lambda _: None) == 1
    ended = await tasks.spawn(outcome(flights.join("k", work, lambda _: None)), name="the second")
    with pytest.raises(LookupError):
        ended.value()
    assert work.begun == 2
