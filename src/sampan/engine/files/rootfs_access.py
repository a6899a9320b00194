"""A container's file system from outside, running or not: what a ``rootfs_worker`` needs of it.

A running container is entered through its init. For one that rests the snapshot is mounted, and
unmounted by the last who looks. The container's lock is held only while that is arranged, never
during a transfer: a client that reads slowly must not keep anyone from starting the container.
A start finds the snapshot mounted and uses it, so that both see the same files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sampan.aio import in_thread, shielded
from sampan.engine.container_index import ContainerIndex
from sampan.engine.in_flight import InFlight
from sampan.engine.networking.attachments import Attachments
from sampan.engine.parts import Parts
from sampan.engine.volumes.mounts import Mounts
from sampan.errors import Conflict, Exhausted, Forbidden, Internal, InvalidArgument, SampanError
from sampan.image.workers import WorkerPool
from sampan.kernel.process import start_time
from sampan.store.records import Container, Phase

WORKERS = 16
"""Transfers at once: each lasts as long as its client takes."""


class NothingThere(SampanError):
    """The path does not exist; the verbs say so with the container's name."""


def failure(answer: dict[str, Any]) -> SampanError:
    """The error that a worker's last frame means."""
    text = answer["text"]
    match answer["kind"]:
        case "missing":
            return NothingThere(text)
        case "tar":
            return InvalidArgument(text)
        case "read-only":
            return Forbidden(
                "Permission denied, the volume or container rootfs is marked as read-only"
            )
        case "full":
            return Exhausted(text)
        case "ended":
            return Conflict("the container has ended meanwhile: try again")
        case _:
            return Internal(text)


class RootfsAccess:
    def __init__(
        self,
        parts: Parts,
        containers: ContainerIndex,
        in_flight: InFlight,
        mounts: Mounts,
        attachments: Attachments,
    ) -> None:
        self._parts, self._containers, self._in_flight = parts, containers, in_flight
        self._mounts, self._attachments = mounts, attachments
        self._looking: Counter[str] = Counter()
        self.workers = WorkerPool(
            "sampan.engine.files.rootfs_worker", most=WORKERS, failure=failure
        )

    async def close(self) -> None:
        await self.workers.close()

    @asynccontextmanager
    async def of(self, container_id: str) -> AsyncIterator[dict[str, Any]]:
        """How a worker gets in, as the fields of its job. Raises NoSuchContainer, Conflict."""
        async with self._in_flight.locks.hold(container_id):
            container = self._containers.get(container_id)
            if container.removing or container.dead:
                raise Conflict(f"container {container.id} is being removed")
            run = container.run
            if run is not None and container.running and start_time(run.pid) == run.pid_started:
                resting = False
                place: dict[str, Any] = {"pid": run.pid, "started": run.pid_started}
            else:
                resting = True
                place = await self._mounted(container)
                self._looking[container_id] += 1
        try:
            yield place
        finally:
            if resting:
                await shielded(self._leave(container_id))

    @asynccontextmanager
    async def snapshot(self, container_id: str) -> AsyncIterator[dict[str, Any]]:
        """Only what the container itself holds: no volume, nothing that is mounted in it."""
        async with self._in_flight.locks.hold(container_id):
            container = self._containers.get(container_id)
            root = await self._parts.snapshots.mount(container.id)
            self._looking[container_id] += 1
        try:
            yield {"root": str(root), "binds": [], "read_only": False}
        finally:
            await shielded(self._leave(container_id))

    async def _mounted(self, container: Container) -> dict[str, Any]:
        root = await self._parts.snapshots.mount(container.id)
        points = await self._mounts.ready(container)
        etc = self._attachments.etc_files(container)
        binds: list[dict[str, Any]] = [
            {"source": str(source), "target": target}
            for target, source in etc.items()
            if await in_thread(source.exists)
        ]
        binds += [
            {"source": point.source, "target": point.target, "read_only": not point.read_write}
            for point in points
            if point.source
        ]
        read_only = container.spec.host.readonly_rootfs
        return {"root": str(root), "binds": binds, "read_only": read_only}

    async def _leave(self, container_id: str) -> None:
        async with self._in_flight.locks.hold(container_id):
            self._looking[container_id] -= 1
            if self._looking[container_id] > 0:
                return
            del self._looking[container_id]
            container = self._containers.find(container_id)
            if container is None or container_id in self._in_flight.runs:
                return
            if container.run is not None and container.run.phase in (
                Phase.STARTING,
                Phase.RUNNING,
            ):
                return
            await self._parts.snapshots.unmount(container_id)
            await self._mounts.release(container)
