"""What drivers that are nothing but the monitor's file have in common: no sink, no reader."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sampan.errors import Internal
from sampan.runtime.contract import LogEntry
from sampan.runtime.log_drivers.contract import LoggedContainer, LogQuery, Sink


class Kept:
    """Base of the drivers whose capabilities neither forward nor read."""

    async def open(self, container: LoggedContainer) -> Sink:
        raise Internal(f"container {container.id[:12]} logs to a file: there is no sink")

    def read(self, container: LoggedContainer, query: LogQuery) -> AsyncIterator[list[LogEntry]]:
        raise Internal(f"the log of container {container.id[:12]} is read from its file")
