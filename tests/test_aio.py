"""Races, outcomes and deadlines."""

from __future__ import annotations

import asyncio
import gc

import pytest

from sampan.aio import Tasks, first_of, outcome, within
from sampan.testing.clock import FakeClock, settle


async def forever(ended: list[str], name: str) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append(name)


async def value(what: str) -> str:
    return what


async def failing() -> str:
    raise LookupError("no")


async def test_the_first_to_end_is_named_and_the_rest_is_gone() -> None:
    ended: list[str] = []
    assert await first_of(slow=forever(ended, "slow"), quick=value("x")) == ("quick", "x")
    assert ended == ["slow"]


async def test_of_two_that_end_together_the_one_named_first_counts() -> None:
    assert (await first_of(one=value("1"), two=value("2")))[0] == "one"


async def test_the_first_one_s_error_is_raised() -> None:
    ended: list[str] = []
    with pytest.raises(LookupError):
        await first_of(bad=failing(), slow=forever(ended, "slow"))
    assert ended == ["slow"]


async def test_a_task_of_the_caller_s_goes_on() -> None:
    tasks, ended = Tasks(), list[str]()
    task = tasks.spawn(forever(ended, "mine"), name="mine")
    assert await first_of(mine=task, other=value("x")) == ("other", "x")
    assert not task.done()
    await tasks.close()
    assert ended == ["mine"]


async def test_cancelling_a_race_ends_all_of_it() -> None:
    tasks, ended = Tasks(), list[str]()
    race = tasks.spawn(first_of(a=forever(ended, "a"), b=forever(ended, "b")), name="race")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    race.cancel()
    await asyncio.wait({race})
    assert race.cancelled()
    assert sorted(ended) == ["a", "b"]


async def test_an_outcome_keeps_the_error_for_who_asks() -> None:
    assert (await outcome(value("x"))).value() == "x"
    ended = await outcome(failing())
    with pytest.raises(LookupError, match="no"):
        ended.value()


async def test_an_attempt_that_ends_before_it_began_leaves_no_work_behind() -> None:
    tasks = Tasks()
    attempt = tasks.attempt(value("x"), name="attempt")
    attempt.cancel()
    await asyncio.wait({attempt})
    assert attempt.cancelled()
    gc.collect()  # what was never awaited fails the test


async def test_work_that_takes_too_long_is_ended() -> None:
    clock, ended = FakeClock(), list[str]()
    tasks = Tasks()
    late = tasks.spawn(outcome(within(clock, 5.0, forever(ended, "work"))), name="late")
    await settle()
    await clock.advance(5.0)
    await asyncio.wait({late})
    assert isinstance(late.result().error, TimeoutError)
    assert ended == ["work"]
