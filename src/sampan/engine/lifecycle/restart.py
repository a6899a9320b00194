"""Runs that follow a run: the restart policy's next start, after a pause that grows."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from sampan.engine.cluster_networks import asks
from sampan.engine.container_index import ContainerIndex
from sampan.engine.in_flight import InFlight
from sampan.engine.lifecycle.policy import next_delay
from sampan.engine.lifecycle.start import Starter
from sampan.engine.parts import Parts
from sampan.errors import SampanError, Unavailable
from sampan.runtime.contract import ExitStatus
from sampan.store.records import Container

log = logging.getLogger(__name__)


class Restarts:
    def __init__(
        self, parts: Parts, containers: ContainerIndex, in_flight: InFlight, starter: Starter
    ) -> None:
        self._parts, self._containers, self._in_flight, self._starter = (
            parts,
            containers,
            in_flight,
            starter,
        )
        self._delays: dict[str, float] = {}
        self._pending: dict[str, asyncio.Task[None]] = {}

    def schedule(self, container: Container, lived_s: float) -> None:
        """Start ``container`` (whose run is stored as restarting) after its pause."""
        delay = next_delay(self._delays.get(container.id, 0.0), lived_s)
        self._delays[container.id] = delay
        self._pending[container.id] = self._in_flight.tasks.spawn(
            self._later(container.id, delay), name=f"restart {container.id[:12]}"
        )

    async def _later(self, container_id: str, delay_s: float) -> None:
        await self._parts.clock.sleep(delay_s)
        async with self._in_flight.locks.hold(container_id):
            # From here on nobody cancels this: a start half-way would be worse than one too many.
            self._pending.pop(container_id, None)
            container = self._containers.find(container_id)
            if container is None or container.run is None or not container.run.restarting:
                return
            try:
                await self._starter.start(container_id, by_policy=True)
            except SampanError as error:
                log.error("container %s could not be restarted: %s", container_id[:12], error)
                if isinstance(error, Unavailable):
                    self._again(container_id)

    def _again(self, container_id: str) -> None:
        """Managers that do not answer now will: a policy does not give up on them."""
        container = self._containers.find(container_id)
        if container is None or container.run is None or container.removing:
            return
        if not any(asks(endpoint) for endpoint in container.networks.values()):
            return
        run = msgspec.structs.replace(container.run, restarting=True)
        container = self._containers.change(
            container_id, lambda c: msgspec.structs.replace(c, run=run)
        )
        self.schedule(container, 0.0)

    def forget(self, container_id: str) -> None:
        """The user starts it himself: no pause, and a fresh count. The lock is held."""
        if (task := self._pending.pop(container_id, None)) is not None:
            task.cancel()
        self._delays.pop(container_id, None)

    def give_up(self, container: Container) -> Container:
        """No further start, whatever the policy says. The container's lock is held; those who
        wait for the container to stop are told its last exit."""
        if (task := self._pending.pop(container.id, None)) is not None:
            task.cancel()
        self._delays.pop(container.id, None)
        run = container.run
        if run is None or not run.restarting:
            return container
        container = self._containers.change(
            container.id,
            lambda c: msgspec.structs.replace(
                c, run=msgspec.structs.replace(run, restarting=False, stop_requested=True)
            ),
        )
        status = ExitStatus(run.exit_code, run.finished_at, run.oom_killed)
        self._in_flight.waiters.resolve(container.id, status, "not-running", "next-exit")
        return container
