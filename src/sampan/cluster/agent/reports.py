"""What the managers have yet to hear: of each task the newest, however long nobody listens."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from sampan.aio import Clock
from sampan.cluster.peer.contract import Socket
from sampan.cluster.protocol.messages import StatusUpdates, encode
from sampan.cluster.records import TaskStatus

PAUSE_S = 0.01
"""Between two messages at least; the first after a quiet moment goes at once."""
BATCH = 2000


class Reports:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pending: dict[str, TaskStatus] = {}
        self._ready = asyncio.Event()

    def put(self, task_id: str, status: TaskStatus) -> None:
        self._pending[task_id] = status
        self._ready.set()

    def begin(self, statuses: Mapping[str, TaskStatus]) -> None:
        """A new session: what the one before was told may have been lost with it."""
        self._pending = {**statuses, **self._pending}
        if self._pending:
            self._ready.set()

    async def flush(self, socket: Socket) -> None:
        """Send what is left, before a goodbye.

        Raises:
            SocketClosed
        """
        if self._pending:
            await socket.send(encode(StatusUpdates(statuses=dict(self._pending))))

    async def send(self, socket: Socket) -> None:
        """Send until cancelled.

        Raises:
            SocketClosed
        """
        while True:
            await self._ready.wait()
            # What else changes in this turn of the loop goes along.
            await asyncio.sleep(0)
            batch = dict(list(self._pending.items())[:BATCH])
            for id in batch:
                del self._pending[id]
            if not self._pending:
                self._ready.clear()
            try:
                await socket.send(encode(StatusUpdates(statuses=batch)))
            except BaseException:
                self._pending = {**batch, **self._pending}
                self._ready.set()
                raise
            await self._clock.sleep(PAUSE_S)
