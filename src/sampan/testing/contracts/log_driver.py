"""What every log driver does. Subclass, and provide the fixture ``driver``.

A driver that forwards is asked for what its sink has taken by ``received``. A plugin knows its
options better than we do: ``refuses_unknown`` False.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sampan.errors import InvalidArgument
from sampan.runtime.contract import LogEntry
from sampan.runtime.log_drivers.contract import (
    LogDriver,
    LoggedContainer,
    LogQuery,
    UnknownLogOption,
)

CONTAINER = LoggedContainer(
    id="c" * 64,
    name="boat",
    image_id="sha256:" + "1" * 64,
    image_name="busybox",
    entrypoint="sh",
    args=("-c", "echo hi"),
    created_at=1_795_236_000.0,
    env=("A=b",),
    labels={"l": "v"},
)


def entries(first: int, count: int) -> list[LogEntry]:
    return [
        LogEntry(
            1_795_236_000_000_000_000 + n, "stderr" if n % 3 == 2 else "stdout", b"line %d\n" % n
        )
        for n in range(first, first + count)
    ]


class LogDriverContract:
    """The suite of a driver that leaves the container's file to the engine, or wants none."""

    refuses_unknown = True
    has_sink = False

    def test_capabilities_make_sense(self, driver: LogDriver) -> None:
        able = driver.capabilities
        assert able.forwards == self.has_sink, "who has a sink passes its suite"
        assert able.keeps or not able.forwards, "a sink is fed from the file"
        assert able.forwards or not able.reads, "the engine reads a file itself"

    def test_no_options_are_fine(self, driver: LogDriver) -> None:
        driver.validate({})
        rule = driver.file_rule({})
        assert rule.max_bytes >= 0
        assert rule.max_files >= 1
        if driver.capabilities.forwards:
            assert rule.max_bytes > 0, "a cache has bounds"

    def test_an_unknown_option_is_refused_by_its_name(self, driver: LogDriver) -> None:
        if not self.refuses_unknown:
            driver.validate({"no-such-option": "1"})
            return
        with pytest.raises(UnknownLogOption, match="unknown log opt 'no-such-option'"):
            driver.validate({"no-such-option": "1"})

    def test_every_driver_takes_a_mode(self, driver: LogDriver) -> None:
        driver.validate({"mode": "blocking"})
        driver.validate({"mode": "non-blocking", "max-buffer-size": "4m"})
        if self.refuses_unknown:
            with pytest.raises(InvalidArgument, match="logging mode not supported: sometimes"):
                driver.validate({"mode": "sometimes"})
            with pytest.raises(InvalidArgument, match="max-buffer-size option is only supported"):
                driver.validate({"max-buffer-size": "4m"})


class LogSinkContract(LogDriverContract):
    """The suite of a driver that is given a container's log, and reads it."""

    has_sink = True

    async def received(self, driver: LogDriver) -> Sequence[LogEntry]:
        """What the sink of ``CONTAINER`` was given until now."""
        raise NotImplementedError

    async def test_a_sink_takes_entries_in_order_over_several_runs(self, driver: LogDriver) -> None:
        for start in (0, 100):
            sink = await driver.open(CONTAINER)
            await sink.write(entries(start, 60))
            await sink.write(entries(start + 60, 40))
            await sink.close()
        assert list(await self.received(driver)) == entries(0, 200)

    async def test_what_was_taken_is_read_back(self, driver: LogDriver) -> None:
        assert driver.capabilities.reads
        sink = await driver.open(CONTAINER)
        await sink.write(entries(0, 30))
        await sink.close()

        async def read(query: LogQuery) -> list[LogEntry]:
            return [entry async for batch in driver.read(CONTAINER, query) for entry in batch]

        assert await read(LogQuery()) == entries(0, 30)
        assert await read(LogQuery(tail=4)) == entries(26, 4)
        since = entries(20, 1)[0].time_ns
        assert await read(LogQuery(since_ns=since)) == entries(20, 10)
        assert {e.stream for e in await read(LogQuery(streams=frozenset(["stderr"])))} == {"stderr"}
