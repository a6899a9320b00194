"""Snapshots on a schedule, and giving disk space back.

Every manager takes its own: any of them may be the one that is left, and a snapshot is read from
the member's own file, without a word to the others. They are a little apart in time, by chance.
Compaction is etcd's own (its leader does it, see ``EtcdSettings``).
"""

from __future__ import annotations

import logging
import random
import re
from dataclasses import dataclass
from pathlib import Path

from sampan.aio import Clock, in_thread
from sampan.cluster.etcd.client import EtcdClient
from sampan.errors import SampanError

log = logging.getLogger(__name__)

SLACK_BYTES = 64 << 20
"""A database whose free pages are more than this, and more than half of it, is rewritten."""
_NAME = re.compile(r"store-(\d{12,})-r(\d+)\.db")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    every_s: float = 6 * 3600
    keep: int = 8
    """Newest snapshots that stay: two days' worth."""
    spread: float = 0.1
    """Part of ``every_s`` by which a pause is longer or shorter, at random."""


class Upkeep:
    """``run`` it as long as the member runs."""

    def __init__(
        self, client: EtcdClient, directory: Path, clock: Clock, schedule: Schedule | None = None
    ) -> None:
        self._client, self._directory, self._clock = client, directory, clock
        self._schedule = schedule or Schedule()

    async def run(self) -> None:
        """For ever. What fails is logged and tried again at the next turn."""
        schedule = self._schedule
        while True:
            await self._clock.sleep(
                schedule.every_s * random.uniform(1 - schedule.spread, 1 + schedule.spread)
            )
            try:
                await self.snapshot()
                await self.tidy()
            except (SampanError, OSError) as error:
                log.warning("no snapshot of the swarm's store was taken: %s", error)

    async def snapshot(self) -> Path | None:
        """Take one now, unless nothing has changed since the newest; forget the oldest.

        Raises:
            Unavailable, Internal, OSError: it failed; the older ones are untouched.
        """
        await in_thread(self._directory.mkdir, parents=True, exist_ok=True, mode=0o700)
        revision = (await self._client.status()).header.revision
        kept = await in_thread(self.snapshots)
        if kept and _NAME.fullmatch(kept[-1].name).group(2) == str(revision):  # type: ignore[union-attr]
            return None
        target = self._directory / f"store-{round(self._clock.now() * 1000):015d}-r{revision}.db"
        size = await self._client.snapshot(target)
        log.info("took a snapshot of the swarm's store: %s, %d bytes", target, size)
        for old in [*kept, target][: -self._schedule.keep]:
            await in_thread(old.unlink, missing_ok=True)
        return target

    def snapshots(self) -> list[Path]:
        """Oldest first. Blocks."""
        return sorted(p for p in self._directory.glob("store-*.db") if _NAME.fullmatch(p.name))

    async def tidy(self) -> bool:
        """Rewrite the database if most of it is free pages; True when it was done. The member does
        not answer for the time of copying what it has in use."""
        status = await self._client.status()
        free = status.dbSize - status.dbSizeInUse
        if free < SLACK_BYTES or free < status.dbSize / 2:
            return False
        await self._client.defragment()
        return True
