"""Who leads runs the loops; a loop that dies takes the leadership with it.

Half a leader is worse than none: a manager whose scheduler has died, but whose election lease goes
on, keeps the others from doing better. So all loops live in one group. The first death ends the
rest, gives the leadership back at once, and after a pause this manager stands for election again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from sampan.aio import Clock, in_task, shielded
from sampan.cluster.allocator.allocator import Allocator
from sampan.cluster.backoff import backoff_s
from sampan.cluster.contract import ClusterStore, Leadership, LeadershipLost
from sampan.cluster.loop import Term
from sampan.cluster.orchestrator.nodewatch import NodeWatch
from sampan.cluster.orchestrator.orchestrator import Orchestrator
from sampan.cluster.orchestrator.reaper import TaskReaper
from sampan.cluster.scheduler.scheduler import Scheduler
from sampan.errors import SampanError

log = logging.getLogger(__name__)

RESIGN_WITHIN_S = 2.0
"""After that the lease runs out by itself."""


class Part(Protocol):
    """What a leader runs: ends only by cancellation or failure."""

    async def run(self) -> None: ...


PartFactory = Callable[[Term], Part]

STANDARD: tuple[PartFactory, ...] = (Allocator, Scheduler, Orchestrator, TaskReaper, NodeWatch)


class Leader:
    """A manager's standing candidacy.

    Args:
        parts: called at the beginning of each term. ``STANDARD`` and whatever plugs in beside it.
    """

    def __init__(
        self,
        store: ClusterStore,
        clock: Clock,
        node_id: str,
        parts: Sequence[PartFactory] = STANDARD,
    ) -> None:
        self._store = store
        self._clock = clock
        self._node_id = node_id
        self._parts = parts
        self._leading = False

    @property
    def leading(self) -> bool:
        """The loops run here."""
        return self._leading

    async def run(self) -> None:
        """Campaign, lead, campaign again; until cancelled."""
        failures = 0
        while True:
            try:
                leadership = await self._store.campaign(self._node_id)
            except SampanError as error:
                failures += 1
                log.warning("cannot stand for leader: %s", error)
                await self._clock.sleep(backoff_s(failures))
                continue
            began = self._clock.monotonic()
            try:
                died = await in_task(self._lead(leadership), name="leader/term")
            finally:
                self._leading = False
                await self._resign(leadership)
            # a term that lasted is no reason to wait for long
            failures = failures + 1 if died and self._clock.monotonic() - began < 60.0 else 0
            await self._clock.sleep(backoff_s(failures + 1))

    async def _lead(self, leadership: Leadership) -> bool:
        """One term. Returns whether a part died (True) or the leadership was lost (False)."""
        term = Term(store=self._store, clock=self._clock, leadership=leadership)
        try:
            # What the last leader wrote must be in this copy before anything is decided here: a
            # stale copy would hand out addresses twice.
            await self._store.barrier()
            self._leading = True
            log.info("this manager leads the cluster")
            async with asyncio.TaskGroup() as group:
                for make in self._parts:
                    part = make(term)
                    group.create_task(part.run(), name=f"leader/{type(part).__name__}")
                group.create_task(_until_lost(leadership), name="leader/lease")
        except LeadershipLost:
            return False
        except SampanError as error:
            log.warning("cannot lead: %s", error)
            return True
        except BaseExceptionGroup as group_error:
            _, deaths = group_error.split(LeadershipLost)
            if deaths is None:
                log.info("this manager no longer leads")
                return False
            if not isinstance(deaths, Exception):
                raise deaths from None
            log.error("a loop of the leader died: stepping down", exc_info=deaths)
            return True
        return True

    async def _resign(self, leadership: Leadership) -> None:
        if leadership.lost.is_set():
            return
        with suppress(SampanError, TimeoutError):
            await shielded(leadership.resign(), deadline_s=RESIGN_WITHIN_S)


async def _until_lost(leadership: Leadership) -> None:
    await leadership.lost.wait()
    raise LeadershipLost
