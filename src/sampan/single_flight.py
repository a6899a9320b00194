"""Work that several wait for: done once a key, given up when the last who waits has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from sampan.aio import Outcome, Tasks

T = TypeVar("T")
News = TypeVar("News")


class _Flight(Generic[T, News]):
    def __init__(self) -> None:
        self.listeners: list[Callable[[News], None]] = []
        self.newest: News | None = None
        self.task: asyncio.Task[Outcome[T]] | None = None

    def tell(self, news: News) -> None:
        self.newest = news
        for listener in list(self.listeners):
            listener(news)


class SingleFlight(Generic[T, News]):
    """One piece of work a key at a time, with its progress told to everyone who waits for it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks = Tasks()
        self._flying: dict[Hashable, _Flight[T, News]] = {}

    async def join(
        self,
        key: Hashable,
        work: Callable[[Callable[[News], None]], Coroutine[Any, Any, T]],
        listener: Callable[[News], None],
        *,
        catch_up: bool = True,
    ) -> T:
        """Wait for the work under ``key``; ``work`` is begun if there is none, and given a function
        to tell its progress by. Who joins later hears the newest progress at once if ``catch_up``.

        The work is cancelled, and awaited, when the last who waits for it is cancelled.

        Raises:
            What the work raises.
        """
        flight = self._flying.get(key)
        if flight is None:
            flight = self._flying[key] = _Flight()
            flight.task = self._tasks.attempt(work(flight.tell), name=f"{self._name} {key}")
            begun = flight
            flight.task.add_done_callback(lambda _: self._forget(key, begun))
        elif catch_up and flight.newest is not None:
            listener(flight.newest)
        assert flight.task is not None
        flight.listeners.append(listener)
        try:
            ended = await asyncio.shield(flight.task)
        finally:
            flight.listeners.remove(listener)
            if not flight.listeners and not flight.task.done():
                # Who comes now begins anew. Wait: what the work leaves must be gone, too.
                self._forget(key, flight)
                flight.task.cancel()
                await asyncio.wait({flight.task})
        return ended.value()

    async def close(self) -> None:
        """Give up all of it."""
        await self._tasks.close()

    def _forget(self, key: Hashable, flight: _Flight[T, News]) -> None:
        if self._flying.get(key) is flight:
            del self._flying[key]
