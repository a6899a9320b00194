"""The one shape of every controller that the leader runs.

A pass over everything first, because whatever happened while nobody led was seen by nobody. After
that events only *mark* keys, and the work is done for all marks together: a transaction of two
hundred objects, or a storm that comes in while a pass is under way, is one pass. What a pass cannot
do it marks again, later and later. Nothing is kept that the store does not have, so that the next
leader can begin anywhere.

A controller may keep an *index*: what it derives from the state, moved on by each change instead of
being read off everything for each pass. ``everything`` begins it, ``touched`` moves it on, and
``catch_up`` makes it as new as ``state``; a pass begins caught up.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from sampan.aio import Clock, breathe, in_task
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
SLICE = 250
"""Objects looked at in one turn of the event loop, where it may be all that the cluster has: some
milliseconds, so that the daemon goes on answering."""
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


def sliced(items: Sequence[T], size: int = SLICE) -> Iterator[Sequence[T]]:
    """``items``, at most ``size`` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


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
        self._feed: Feed | None = None
        self._acting = False
        self._early: list[Change] | None = []
        """Changes that came before ``everything`` was through; None: it is."""

    # -- what a controller is

    @abstractmethod
    def everything(self) -> Iterator[Iterable[str]]:
        """The keys of the first pass, a slice at a time: others have their turn between two.

        A generator. What it does before its first ``yield`` happens in the turn in which the feed
        begins: there it takes hold of what it will read (``self.state.every_task()``).
        Changes from then on come by ``touched``, once it is through.
        """

    @abstractmethod
    def touched(self, change: Change) -> Iterable[str]:
        """The keys that a change concerns. Called for every change, once and in order, so it
        moves an index on; it decides nothing."""

    @abstractmethod
    async def act(self, keys: frozenset[str]) -> None:
        """Bring what the keys stand for nearer to what is wanted. May be repeated at any time."""

    # -- what a controller may use

    @property
    def state(self) -> State:
        return self.term.store.state

    @property
    def idle(self) -> bool:
        """Everything has been looked at once, and nothing is marked or under way."""
        return self._early is None and not self._marked and not self._acting

    def catch_up(self) -> None:
        """Take in what has come: after this the index is as new as ``state``. A draft that reads
        the index begins with this, since it may run again on a newer state.

        Raises:
            StoreLagged.
        """
        if self._feed is not None:
            for batch in self._feed.waiting():
                self._take(batch.changes)

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
                await breathe()

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
                self._feed, self._early = feed, []
                slices = self.everything()
                self.mark(next(slices, ()))
                try:
                    await in_task(self._follow(feed, slices), name=f"{self.name}/follow")
                except* StoreLagged:
                    log.warning("%s could not follow the store's changes: starting over", self.name)
                    self._alarms.clear()
                    lagged = True

    async def _follow(self, feed: Feed, slices: Iterator[Iterable[str]]) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._listen(feed), name=f"{self.name}/listen")
            group.create_task(self._work(slices), name=f"{self.name}/work")

    async def _listen(self, feed: Feed) -> None:
        async for batch in feed:
            self._take(batch.changes)
        raise LeadershipLost  # the store has been closed

    def _take(self, changes: Iterable[Change]) -> None:
        if self._early is not None:
            self._early.extend(changes)
            return
        for change in changes:
            self.mark(self.touched(change))

    async def _survey(self, slices: Iterator[Iterable[str]]) -> None:
        await breathe()
        for keys in slices:
            self.mark(keys)
            await breathe()
        early, self._early = self._early or [], None
        for some in sliced(early):
            self._take(some)

    async def _work(self, slices: Iterator[Iterable[str]]) -> None:
        await self._survey(slices)
        while True:
            await self._wake.wait()
            if self.settle_s:
                await self.term.clock.sleep(self.settle_s)
            self._wake.clear()
            self.catch_up()
            keys = frozenset(self._marked)
            self._marked.clear()
            if not keys:
                continue
            self._acting = True
            try:
                await self.act(keys)
            except (LeadershipLost, StoreLagged):
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
            finally:
                self._acting = False

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
