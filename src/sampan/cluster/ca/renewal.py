"""Renewing in time: a certificate that has run out cannot ask for the next one."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from sampan.aio import Clock, first_of
from sampan.cluster.backoff import backoff_s
from sampan.cluster.ca.certificates import Validity, validity
from sampan.cluster.peer.contract import NotMember
from sampan.cluster.peer.tls import Credentials
from sampan.errors import SampanError

log = logging.getLogger(__name__)

EARLIEST, LATEST = 0.5, 0.8
"""Of the validity. The point between is random, so that nodes that joined together do not come
together for ever."""
RETRY_S = (1.0, 300.0)
"""First and longest pause after a failure; it doubles in between."""


def renew_at(valid: Validity, chance: float) -> float:
    """When to renew, seconds since the epoch. ``chance``: 0 to 1."""
    whole = valid.until - valid.since
    return valid.since + whole * (EARLIEST + (LATEST - EARLIEST) * chance)


def retry_pause(failures: int, left_s: float) -> float:
    """Seconds to wait after so many failures, with ``left_s`` to go until the certificate's end:
    never so long that fewer than ten tries fit in."""
    first, longest = RETRY_S
    return max(first, min(backoff_s(failures, first, longest), left_s / 10))


class Renewer:
    """Keeps one node's certificate young.

    ``ask`` gets and keeps the next one (``CertificateClient.renew`` with the addresses of the
    moment); ``changed`` is told of it: contexts are reloaded there, and a new role acted upon.
    """

    def __init__(
        self,
        credentials: Credentials,
        ask: Callable[[], Awaitable[Credentials]],
        changed: Callable[[Credentials], Awaitable[None]],
        clock: Clock,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._first = credentials
        self._ask = ask
        self._changed = changed
        self._clock = clock
        self._chance = chance
        self._demand = asyncio.Event()
        self._waiters: list[asyncio.Future[Credentials]] = []

    def renew_soon(self) -> None:
        """Do it now: the role has changed, or the cluster's root has."""
        self._demand.set()

    async def renewed(self) -> Credentials:
        """Do it now, and wait until it is done (however many tries that takes)."""
        waiter: asyncio.Future[Credentials] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._demand.set()
        return await waiter

    async def run(self) -> None:
        """Runs until cancelled.

        Raises:
            NotMember: the cluster has removed this node.
        """
        failures = 0
        valid = validity(self._first.certificate)
        due = renew_at(valid, self._chance())
        while True:
            if failures:
                pause = retry_pause(failures, valid.until - self._clock.now())
            else:
                pause = due - self._clock.now()
            # a demand cuts the wait for the date short, but not the pause after a failure
            await self._wait(pause, cut_short=not failures)
            self._demand.clear()
            waiters, self._waiters = self._waiters, []
            try:
                credentials = await self._ask()
            except NotMember:
                raise
            except (SampanError, OSError) as error:
                failures += 1
                self._waiters += waiters
                log.warning("the node's certificate was not renewed: %s", error)
                if self._clock.now() > valid.until:
                    log.error(
                        "the node's certificate has run out: leave the cluster and join it again"
                    )
                continue
            failures = 0
            valid = validity(credentials.certificate)
            due = renew_at(valid, self._chance())
            await self._changed(credentials)
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(credentials)

    async def _wait(self, seconds: float, *, cut_short: bool) -> None:
        if not cut_short:
            await self._clock.sleep(max(0.0, seconds))
            return
        if seconds <= 0 or self._demand.is_set():
            return
        await first_of(date=self._clock.sleep(seconds), demand=self._demand.wait())
