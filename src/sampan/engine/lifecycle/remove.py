"""``rm`` and ``prune``, and what ``--rm`` does at the end of a run.

``removing`` is stored first, so that no start begins and a restarted daemon finishes the job; the
row goes last, because it is what remembers that there is something to clean. Before anything of it
is taken from the disk, the disk has ``removing``: a power cut never leaves a container that looks
whole and is not.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable

import msgspec

from sampan.aio import in_thread
from sampan.engine.container_index import ContainerIndex
from sampan.engine.in_flight import InFlight
from sampan.engine.log_forwarding import Forwarding
from sampan.engine.observe.emit_events import EventEmitter
from sampan.engine.parts import Parts
from sampan.errors import NotFound
from sampan.runtime.contract import ExitStatus
from sampan.store.records import Container

log = logging.getLogger(__name__)


class ContainerRemover:
    """Takes away a container that does not run."""

    def __init__(
        self,
        parts: Parts,
        containers: ContainerIndex,
        in_flight: InFlight,
        emit: EventEmitter,
        forwarding: Forwarding,
    ) -> None:
        self._parts, self._containers, self._in_flight, self._emit = (
            parts,
            containers,
            in_flight,
            emit,
        )
        self._forwarding = forwarding
        self.removed: list[Callable[[str], None]] = []
        """Told the id of every container that has gone."""

    async def remove(self, container: Container, *, volumes: bool) -> None:
        """The container's lock is held, it does not run. ``volumes``: its anonymous ones too."""
        container_id = container.id
        container = self._containers.change(
            container_id,
            lambda c: msgspec.structs.replace(c, removing=True, removing_volumes=volumes),
        )
        marked = self._parts.store.committed
        try:
            self._in_flight.attachments.give_up(container_id)
            # Usually gone since the run's end; after a failed cleanup this is the second try.
            await self._parts.runs.delete(container_id)
            await self._parts.networks.close_sandbox(container_id)
            await self._parts.store.durable(marked)
            await self._parts.snapshots.remove(container_id)
            await self._forwarding.finish(container_id)
            directory = self._parts.config.paths.container(container_id)
            await in_thread(shutil.rmtree, directory, ignore_errors=True)
            doomed = self._anonymous(container) if volumes else []
            self._containers.forget(container, doomed)
        except BaseException:
            self._containers.change(
                container_id, lambda c: msgspec.structs.replace(c, removing=False, dead=True)
            )
            raise
        for name in doomed:
            await self._remove_volume(name)
        run = container.run
        status = ExitStatus(run.exit_code if run else 0, run.finished_at if run else 0.0)
        for told in self.removed:
            told(container_id)
        self._emit.container("destroy", container)
        self._in_flight.waiters.resolve(container_id, status, "removed", "not-running", "next-exit")

    def _anonymous(self, container: Container) -> list[str]:
        return [
            point.name
            for point in container.mount_points
            if point.type == "volume"
            and point.anonymous
            and not self._used(point.name, other_than=container.id)
        ]

    async def _remove_volume(self, name: str) -> None:
        volume = self._parts.store.volumes.get(name)
        if volume is None or not volume.provisional:
            return  # gone, or taken by a new container meanwhile
        try:
            await self._parts.volumes.remove(name)
        except NotFound:
            return
        self._emit.volume("destroy", volume)

    def _used(self, name: str, other_than: str) -> bool:
        return any(
            point.name == name
            for other in self._parts.store.containers.values()
            if other.id != other_than
            for point in other.mount_points
        )
