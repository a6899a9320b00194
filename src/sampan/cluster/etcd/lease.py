"""A manager's lease: what binds its presence and its leadership to its life.

The deadline is kept on both sides. The store ends the lease ``ttl`` after the last keepalive that
reached it; this side calls it ended a little less than ``ttl`` after the last keepalive that it
*sent* and that was answered: never later. So a manager that cannot reach the store stops leading
before anybody else can begin.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from sampan.aio import Clock
from sampan.cluster.contract import NoQuorum
from sampan.cluster.etcd.backend import Backend
from sampan.cluster.etcd.failures import LeaseGone
from sampan.errors import Unavailable

log = logging.getLogger(__name__)

SAFETY = 0.95
"""The part of a lease's life that its holder believes in."""
RENEWALS = 4
"""Keepalives in a lease's life: three may fail in a row."""


class Lease:
    """One lease, from its grant to ``ended``."""

    def __init__(self, backend: Backend, clock: Clock, id: int, ttl_s: float, sent: float) -> None:
        self._backend, self._clock = backend, clock
        self.id, self._ttl = id, ttl_s * SAFETY
        self._renewed = sent
        self.ended = asyncio.Event()

    @classmethod
    async def grant(cls, backend: Backend, clock: Clock, ttl_s: float) -> Lease:
        """Raises: NoQuorum."""
        sent = clock.monotonic()
        return cls(backend, clock, await backend.lease_grant(ttl_s), ttl_s, sent)

    @property
    def left(self) -> float:
        """Seconds until it must be taken for ended."""
        return self._renewed + self._ttl - self._clock.monotonic()

    async def keep(self) -> None:
        """Renew it until it ends; then ``ended`` is set."""
        try:
            while (left := self.left) > 0:
                await self._clock.sleep(min(self._ttl / RENEWALS, left))
                if self.left <= 0 or self.ended.is_set():
                    break
                sent = self._clock.monotonic()
                try:
                    await self._backend.lease_keepalive(
                        self.id, deadline_s=min(self.left, self._ttl / 2)
                    )
                    self._renewed = sent
                except LeaseGone:
                    break
                except Unavailable as error:
                    log.debug("the lease was not renewed: %s", error)
        finally:
            self.ended.set()

    async def revoke(self) -> None:
        """End it on the other side too, if that can be reached."""
        self.ended.set()
        with contextlib.suppress(Unavailable, NoQuorum, LeaseGone):
            await self._backend.lease_revoke(self.id)
