"""What holds up the loop is told with its stack; what only waits is not."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvloop

from sampan.watchdog import Report, Watchdog, watching

LIMIT_S = 0.02
GIVE_UP = 100
"""How often something is done until it is seen. Not for how long: on a virtual machine that stood
still for a while, clocks tell of time in which nothing was done."""


@pytest.fixture(autouse=True)
def no_collection() -> Iterator[None]:
    """After thousands of other tests a collection takes long, and it is nobody's callback here."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(params=["uvloop", "asyncio"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        yield runner


def told(runner: asyncio.Runner, callback: Callable[[list[Report]], None]) -> list[Report]:
    """What is reported of ``callback``, which runs on a watched loop and is given the reports."""
    reports: list[Report] = []

    async def main() -> None:
        with watching(LIMIT_S, reports.append):
            done = asyncio.Event()

            def call() -> None:
                try:
                    callback(reports)
                finally:
                    done.set()

            asyncio.get_running_loop().call_soon(call)
            await done.wait()

    runner.run(main())
    return reports


def waits_in_the_kernel(reports: list[Report]) -> None:
    for _ in range(GIVE_UP):
        if not reports:
            time.sleep(0.5)


def uses(cpu_s: float) -> None:
    begin = time.thread_time()
    while time.thread_time() - begin < cpu_s:
        pass


def computes(reports: list[Report]) -> None:
    for _ in range(10 * GIVE_UP):
        if not reports:
            uses(2 * LIMIT_S)


def waits_for_a_lock(reports: list[Report]) -> None:
    taken = threading.Lock()
    taken.acquire()
    timer = threading.Timer(0.5, taken.release)
    timer.start()
    taken.acquire()
    timer.join()


def keeps_the_interpreter(reports: list[Report]) -> None:
    matching = Matching()
    for _ in range(10 * GIVE_UP):
        if not reports:
            matching.matches_for_long()


class Matching:
    """For more than two limits, and soon less than five, in a call that gives nobody the
    interpreter's lock."""

    letters = 16

    def matches_for_long(self) -> None:
        begin = time.thread_time()
        re.match(r"(a+)+$", "a" * self.letters + "b")  # one more letter, twice the time
        if time.thread_time() - begin < 2 * LIMIT_S:
            self.letters += 1


@pytest.mark.parametrize(
    "callback", [waits_in_the_kernel, computes, waits_for_a_lock, keeps_the_interpreter]
)
def test_what_holds_up_the_loop_is_named(
    runner: asyncio.Runner, callback: Callable[[list[Report]], None]
) -> None:
    report, *_ = told(runner, callback)
    assert callback.__name__ in report.stack
    assert report.cpu_s + report.blocked_s > LIMIT_S
    if callback is computes:
        assert report.cpu_s > report.blocked_s
    if callback is waits_in_the_kernel:
        assert report.blocked_s > report.cpu_s


def test_one_report_a_callback(runner: asyncio.Runner) -> None:
    def callback(reports: list[Report]) -> None:
        computes(reports)
        uses(10 * LIMIT_S)

    assert len(told(runner, callback)) == 1


@pytest.mark.timeout(300)
def test_what_keeps_the_interpreter_again_and_again_is_named(runner: asyncio.Runner) -> None:
    reports: list[Report] = []

    async def main() -> None:
        with watching(LIMIT_S, reports.append):
            matching = Matching()
            for _ in range(10 * GIVE_UP):
                if not reports:
                    await asyncio.sleep(2 * LIMIT_S)
                    matching.matches_for_long()

    runner.run(main())
    assert Matching.matches_for_long.__name__ in reports[0].stack


async def many_short_callbacks() -> None:
    async def short() -> None:
        for _ in range(200):
            uses(LIMIT_S / 10)
            await asyncio.sleep(0)

    await asyncio.gather(short(), short())


def test_many_short_callbacks_hold_up_nothing(runner: asyncio.Runner) -> None:
    reports: list[Report] = []

    async def main() -> None:
        with watching(LIMIT_S, reports.append):
            await many_short_callbacks()

    runner.run(main())
    assert not [str(report) for report in reports]


def test_a_watchdog_that_is_late_blames_nobody(runner: asyncio.Runner) -> None:
    # As when its timer is late, or its processor is taken from the virtual machine.
    reports: list[Report] = []
    waited = 0

    def sleep(seconds: float) -> None:
        nonlocal waited
        waited += 1
        time.sleep(10 * LIMIT_S)

    async def main() -> None:
        watchdog = Watchdog(asyncio.get_running_loop(), LIMIT_S, reports.append, sleep)
        watchdog.start()
        try:
            while waited < GIVE_UP / 10:
                await asyncio.sleep(LIMIT_S)
                await many_short_callbacks()
        finally:
            watchdog.stop()

    runner.run(main())
    assert not [str(report) for report in reports]


def test_neither_busy_processors_nor_busy_threads_are_a_callbacks_fault(
    runner: asyncio.Runner,
) -> None:
    reports: list[Report] = []
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            pass

    async def main() -> None:
        with watching(LIMIT_S, reports.append):
            for _ in range(300):
                sum(range(1000))
                await asyncio.sleep(0.001)

    children = []
    for _ in range(2 * (os.cpu_count() or 1)):
        child = os.posix_spawn("/bin/sh", ["sh", "-c", "while :; do :; done"], os.environ)
        children.append(child)
    threads = [threading.Thread(target=busy) for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
        runner.run(main())
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)
    assert not [str(report) for report in reports]


def test_an_idle_loop_is_not_woken(runner: asyncio.Runner) -> None:
    reports: list[Report] = []

    async def main() -> float:
        with watching(LIMIT_S, reports.append):
            begin = time.thread_time()
            await asyncio.sleep(0.5)
            return time.thread_time() - begin

    assert runner.run(main()) < 0.1
    assert not reports
