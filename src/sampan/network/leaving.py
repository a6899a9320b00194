"""Endpoints on their way out. Nobody waits for them but who must: an address goes to the next when
nothing answers for it, a network goes when its last endpoint has."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from sampan.aio import CLEANUP_DEADLINE_S, Tasks
from sampan.errors import SampanError
from sampan.network.addresses import Addresses
from sampan.network.contract import Sandbox
from sampan.network.sandbox_state import NetworkState
from sampan.store.records import EndpointSettings

log = logging.getLogger(__name__)


class Leaving:
    def __init__(self, addresses: Addresses, tasks: Tasks) -> None:
        self._addresses, self._tasks = addresses, tasks
        self._running: dict[asyncio.Task[None], tuple[str, str]] = {}
        """Task -> (network, container)."""

    def begin(
        self,
        segment: NetworkState,
        sandbox: Sandbox,
        endpoint: EndpointSettings,
        *,
        closing: bool,
        after: Callable[[], Awaitable[None]],
    ) -> None:
        """Have the driver take the endpoint away, then free its addresses.

        Args:
            after: what is to be done in between.
        """
        self._addresses.quarantine(segment, endpoint, sandbox.container_id)
        work = self._work(segment, sandbox, endpoint, closing, after)
        task = self._tasks.spawn(work, name="network/leave")
        self._running[task] = (segment.network.id, sandbox.container_id)
        task.add_done_callback(lambda done: self._running.pop(done, None))

    async def _work(
        self,
        segment: NetworkState,
        sandbox: Sandbox,
        endpoint: EndpointSettings,
        closing: bool,
        after: Callable[[], Awaitable[None]],
    ) -> None:
        assert segment.driver is not None
        try:
            await segment.driver.leave(segment.network, endpoint, sandbox, closing=closing)
            await after()
            await self._addresses.release(segment, endpoint, sandbox.container_id)
        except (OSError, SampanError) as error:
            log.error(
                "container %.12s has not left network %s, and its address stays out of use until "
                "the daemon's next start: %s",
                sandbox.container_id,
                segment.network.name,
                error,
            )

    async def settled(self, network_id: str) -> None:
        """Wait for all that are leaving this network."""
        await _ended(task for task, (on, _) in self._running.items() if on == network_id)

    async def done(self, container_id: str) -> None:
        """Wait for all that this container is leaving."""
        await _ended(task for task, (_, who) in self._running.items() if who == container_id)

    async def stop(self) -> None:
        """Wait for all, but not for ever: what is left is swept by the next start."""
        await _ended(self._running, timeout_s=CLEANUP_DEADLINE_S)


async def _ended(tasks: Iterable[asyncio.Task[None]], timeout_s: float | None = None) -> None:
    if waiting := set(tasks):
        await asyncio.wait(waiting, timeout=timeout_s)
