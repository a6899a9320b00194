"""A log driver that keeps what it is given in memory, and reads it back.

drivers.log.register("toy", ToyLog())
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from sampan.runtime.contract import LogEntry
from sampan.runtime.log_drivers import options
from sampan.runtime.log_drivers.contract import FileRule, LogCapabilities, LoggedContainer, LogQuery

NAME = "toy"


class ToyLog:
    """``gate`` closed: it waits in ``open``, as a plugin does that hangs; ``closing``: in a sink's
    ``close``. ``failures``: as many writes fail."""

    def __init__(self, *, reads: bool = True) -> None:
        self.capabilities = LogCapabilities(forwards=True, reads=reads)
        self.taken: dict[str, list[LogEntry]] = {}
        """By container id."""
        self.opened: list[LoggedContainer] = []
        self.closed = 0
        self.failures = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.closing = asyncio.Event()
        self.closing.set()
        self.grew = asyncio.Condition()

    def validate(self, given: Mapping[str, str]) -> None:
        options.check_known(given, options.CACHE | {"colour"}, NAME)
        options.cache(given)

    def file_rule(self, given: Mapping[str, str]) -> FileRule:
        return options.cache(given)

    async def open(self, container: LoggedContainer) -> ToySink:
        await self.gate.wait()
        self.opened.append(container)
        return ToySink(self, container.id)

    async def read(
        self, container: LoggedContainer, query: LogQuery
    ) -> AsyncIterator[list[LogEntry]]:
        found = [
            entry
            for entry in self.taken.get(container.id, ())
            if entry.stream in query.streams
            and entry.time_ns >= query.since_ns
            and (not query.until_ns or entry.time_ns <= query.until_ns)
        ]
        if query.tail is not None:
            found = found[len(found) - min(query.tail, len(found)) :]
        if found:
            yield found

    async def have(self, container_id: str, count: int) -> list[LogEntry]:
        """Wait until it has so many entries of a container."""
        async with self.grew:
            await self.grew.wait_for(lambda: len(self.taken.get(container_id, ())) >= count)
        return self.taken[container_id]


class ToySink:
    def __init__(self, driver: ToyLog, container_id: str) -> None:
        self._driver, self._container_id = driver, container_id

    async def write(self, entries: Sequence[LogEntry]) -> None:
        if self._driver.failures:
            self._driver.failures -= 1
            raise ConnectionResetError("the toy is broken")
        async with self._driver.grew:
            self._driver.taken.setdefault(self._container_id, []).extend(entries)
            self._driver.grew.notify_all()

    async def close(self) -> None:
        self._driver.closed += 1
        await self._driver.closing.wait()
