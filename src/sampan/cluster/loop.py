"""The one shape of every controller that the leader runs.

A pass over everything first, because whatever happened while nobody led was seen by nobody. After
that events only *mark* keys, and the work is done for all marks together: a transaction of two
hundred objects, or a storm that comes in while a pass is under way, is one pass. What a pass cannot
do it marks again, later and later. Nothing is kept that the store does not have, so that the next
leader can begin anywhere.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from sampan.aio import Clock, in_task
from sampan.cluster.backoff import backoff_s
from sampan.cluster.contract import (
    ClusterStore,
    Draft,
    Feed,
    Leadership,
    LeadershipLost,
    StoreLagged,
)
from sampan.cluster.model import Change, State
from sampan.errors import SampanError

T = TypeVar("T")

log = logging.getLogger(__name__)

PATIENCE = 12
"""Passes that may fail one after the other before the loop dies (and its manager steps down)."""
AT_ONCE = 8
"""Keys worked on at the same time where each has its own transaction: the store makes one write to
disk of transactions that come together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One time of leading: what every loop is given."""

    store: ClusterStore
    clock: Clock
    leadership: Leadership

    @property
    def state(self) -> State:
        return self.store.state

    async def update(self, draft: Callable[[Draft], T]) -> T:
        """A write that is refused once somebody else leads.

        Raises:
            LeadershipLost, NoQuorum, whatever ``draft`` raises.
        """
        return await self.store.update(draft, fence=self.leadership)


class Loop(ABC):
    """Base of the controllers. Keys are strings whose meaning is the subclass's own."""

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]
    """Of the feed."""
    settle_s: ClassVar[float] = 0.0
    """Wait so long for more marks before acting. Latency adds up along the loops: only for what
    nobody waits for."""

    def __init__(self, term: Term) -> None:
        self.term = term
        self._marked: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._alarms: dict[str, float] = {}
        self._failures = 0
        self._group: asyncio.TaskGroup | None = None

    # -- what a controller is

    @abstractmethod
    def everything(self) -> Iterable[str]:
        """The keys of the first pass."""

    @abstractmethod
    def touched(self, change: Change) -> Iterable[str]:
        """The keys that a change concerns. Called for every change, so it decides nothing."""

    @abstractmethod
    async def act(self, keys: frozenset[str]) -> None:
        """Bring what the keys stand for nearer to what is wanted. May be repeated at any time."""

    # -- what a controller may use

    @property
    def state(self) -> State:
        return self.term.store.state

    def mark(self, keys: Iterable[str]) -> None:
        """Work on these in the next pass."""
        before = len(self._marked)
        self._marked.update(dict.fromkeys(keys))
        if len(self._marked) != before:
            self._wake.set()

    def later(self, key: str, seconds: float) -> None:
        """Mark ``key`` after ``seconds`` (<= 0: in the next pass)."""
        if seconds <= 0:
            self.mark((key,))
            return
        due = self.term.clock.monotonic() + seconds
        if self._alarms.get(key, due + 1.0) <= due or self._group is None:
            return
        self._alarms[key] = due
        self._group.create_task(self._alarm(key, due), name=f"{self.name}/alarm")

    async def each(
        self, keys: Iterable[str], one: Callable[[str], Awaitable[float | None]]
    ) -> None:
        """Run ``one`` for every key, some at a time; one key's failure is not the others'.

        Args:
            one: returns the seconds after which the key is to be looked at again, or None.
        """
        waiting = list(keys)
        total = len(waiting)
        failed: list[tuple[str, Exception]] = []

        async def work() -> None:
            while waiting:
                key = waiting.pop()
                try:
                    again = await one(key)
                except LeadershipLost:
                    raise
                except Exception as error:  # noqa: BLE001 - reported below
                    failed.append((key, error))
                else:
                    if again is not None:
                        self.later(key, again)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, total)):
                group.create_task(work(), name=f"{self.name}/act")
        if failed and len(failed) == total:
            raise failed[0][1]  # the pass as a whole came to nothing
        for key, error in failed:
            self._report(error, key)
            self.later(key, backoff_s(1))

    # -- the machinery

    async def run(self) -> None:
        """Until cancelled.

        Raises:
            BaseExceptionGroup: of LeadershipLost, or of whatever killed the loop.
        """
        lagged = True
        while lagged:
            lagged = False
            with self.term.store.feed(*self.kinds) as feed:
                self.mark(self.everything())
                try:
                    await in_task(self._follow(feed), name=f"{self.name}/follow")
                except* StoreLagged:
                    log.warning("%s could not follow the store's changes: starting over", self.name)
                    self._alarms.clear()
                    lagged = True

    async def _follow(self, feed: Feed) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._listen(feed), name=f"{self.name}/listen")
            group.create_task(self._work(), name=f"{self.name}/work")

    async def _listen(self, feed: Feed) -> None:
        async for batch in feed:
            for change in batch.changes:
                self.mark(self.touched(change))
        raise LeadershipLost  # the store has been closed

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            if self.settle_s:
                await self.term.clock.sleep(self.settle_s)
            self._wake.clear()
            keys = frozenset(self._marked)
            self._marked.clear()
            if not keys:
                continue
            try:
                await self.act(keys)
            except LeadershipLost:
                raise
            except BaseExceptionGroup as group:
                raise (group.subgroup(LeadershipLost) or group) from None
            except Exception as error:
                self._report(error, f"{len(keys)} keys")
                self._failures += 1
                if self._failures >= PATIENCE:
                    raise
                for key in keys:
                    self.later(key, backoff_s(self._failures))
            else:
                self._failures = 0

    async def _alarm(self, key: str, due: float) -> None:
        await self.term.clock.sleep(due - self.term.clock.monotonic())
        if self._alarms.get(key) == due:
            del self._alarms[key]
        self.mark((key,))

    def _report(self, error: Exception, key: str) -> None:
        if isinstance(error, SampanError):
            log.warning("%s: %s: %s", self.name, key, error)
        else:
            log.error("%s: %s failed", self.name, key, exc_info=error)
