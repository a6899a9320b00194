"""Work that several wait for: done once, told to all, given up when the last one has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from sampan.aio import Tasks
from sampan.errors import SampanError

T = TypeVar("T")
Say = Callable[[str], None]


class _Flight(Generic[T]):
    def __init__(self) -> None:
        self.listeners: list[Say] = []
        self.last = ""
        self.task: asyncio.Task[T | SampanError] | None = None

    def say(self, words: str) -> None:
        self.last = words
        for listener in list(self.listeners):
            listener(words)


class Flights(Generic[T]):
    """One piece of work a key at a time."""

    def __init__(self) -> None:
        self._tasks = Tasks()
        self._flying: dict[Hashable, _Flight[T]] = {}

    async def join(self, key: Hashable, work: Callable[[Say], Awaitable[T]], say: Say) -> T:
        """Wait for the work under ``key``, which is begun if nobody has. Raises what it raises."""
        flight = self._flying.get(key)
        if flight is None:
            flight = self._flying[key] = _Flight()
            flight.task = self._tasks.spawn(self._run(key, flight, work), name=f"bring {key}")
        elif flight.last:
            say(flight.last)
        assert flight.task is not None
        flight.listeners.append(say)
        try:
            result = await asyncio.shield(flight.task)
        finally:
            flight.listeners.remove(say)
            if not flight.listeners and not flight.task.done():
                self._forget(key, flight)  # who comes now begins anew
                flight.task.cancel()
                await asyncio.wait({flight.task})
        if isinstance(result, SampanError):
            raise result
        return result

    async def close(self) -> None:
        """Give up all of it."""
        await self._tasks.close()

    async def _run(
        self, key: Hashable, flight: _Flight[T], work: Callable[[Say], Awaitable[T]]
    ) -> T | SampanError:
        try:
            return await work(flight.say)
        except SampanError as error:  # belongs to those who wait, not to the log
            return error
        finally:
            self._forget(key, flight)

    def _forget(self, key: Hashable, flight: _Flight[T]) -> None:
        if self._flying.get(key) is flight:
            del self._flying[key]
