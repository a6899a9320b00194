"""Time that only moves when a test says so."""

from __future__ import annotations

import asyncio
import heapq
import itertools


class FakeClock:
    """``Clock`` whose sleepers wake when ``advance`` passes their deadline."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._epoch = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._epoch + self._elapsed

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), future))
        await future

    @property
    def pauses(self) -> list[float]:
        """Seconds that each sleeper still has to wait, shortest first."""
        return [
            due - self._elapsed
            for due, _, future in sorted(self._sleepers, key=lambda s: s[:2])
            if not future.done()
        ]

    async def advance(self, seconds: float) -> None:
        """Let time pass; sleepers wake one after the other, at their time, and get to run."""
        end = self._elapsed + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, future = heapq.heappop(self._sleepers)
            if future.done():
                continue
            self._elapsed = max(self._elapsed, due)
            future.set_result(None)
            await settle()
        self._elapsed = end
        await settle()


async def settle(turns: int = 50) -> None:
    """Let every task that can run do so."""
    for _ in range(turns):
        await asyncio.sleep(0)
