"""``commit`` and ``diff``: what a container wrote, as an image and as a list."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import cast

from sampan.engine.container_index import ContainerIndex
from sampan.engine.contract import CommitRequest
from sampan.engine.in_flight import InFlight
from sampan.engine.observe.emit_events import EventEmitter
from sampan.engine.parts import Parts
from sampan.errors import Conflict
from sampan.image.contract import Change, ImageConfig
from sampan.runtime.contract import NoSuchRun
from sampan.store.records import Container, ContainerSpec, Healthcheck, Image

RUNTIMES_OWN = frozenset(
    (
        "/dev", "/dev/console", "/dev/mqueue", "/dev/pts", "/dev/shm", "/etc", "/etc/hostname",
        "/etc/hosts", "/etc/mtab", "/etc/resolv.conf", "/proc", "/sys", "/sys/fs",
        "/sys/fs/cgroup",
    )
)  # fmt: skip
"""Mount points that the runtime makes in an image that lacks them: no process wrote them."""


class Committer:
    def __init__(
        self, parts: Parts, containers: ContainerIndex, in_flight: InFlight, emit: EventEmitter
    ) -> None:
        self._parts, self._containers, self._in_flight = parts, containers, in_flight
        self._emit = emit

    async def changes(self, ref: str) -> list[Change]:
        """Raises NoSuchContainer."""
        container = self._containers.get(ref)
        return await self._parts.snapshots.changes(container.id, RUNTIMES_OWN)

    async def commit(self, ref: str, request: CommitRequest) -> Image:
        """Raises NoSuchContainer, Conflict, Exhausted; whatever ``request.configure`` raises."""
        parts = self._parts
        container = self._containers.get(ref)
        base = parts.store.images.get(container.image_id)
        inherited = parts.images.config(base) if base is not None else ImageConfig()
        # First: a bad instruction costs nothing yet.
        config = request.configure(as_image(inherited, container.spec))
        async with self._in_flight.locks.hold(container.id):
            container = self._containers.get(container.id)
            if container.removing or container.dead:
                raise Conflict(f"container {container.id} is being removed")
            async with self._still(container, request.pause):
                _, diff_id = await parts.snapshots.layer(container.id, RUNTIMES_OWN)
        image = await parts.images.create(
            config=request.render(config, diff_id),
            layers=(*config.diff_ids, diff_id),
            parent=base.id if base is not None else "",
            comment=request.comment,
        )
        if request.name:
            parts.images.tag(image.id, request.name)
        extra = {"comment": request.comment, "imageID": image.id, "imageRef": request.name}
        self._emit.container("commit", container, **extra)
        return image

    @asynccontextmanager
    async def _still(self, container: Container, pause: bool) -> AsyncIterator[None]:
        """Nothing writes meanwhile. A container that is paused stays so."""
        run = container.run
        if not pause or not container.running or run is None or run.paused:
            yield
            return
        try:
            await self._parts.runs.pause(container.id)
        except NoSuchRun:
            yield  # it ended by itself
            return
        try:
            yield
        finally:
            with suppress(NoSuchRun):  # killed while it was still
                await self._parts.runs.resume(container.id)


def as_image(base: ImageConfig, spec: ContainerSpec) -> ImageConfig:
    """The image's config with what the container was told beyond it."""
    return replace(
        base,
        env=spec.env,
        entrypoint=spec.entrypoint,
        cmd=spec.cmd,
        user=spec.user,
        working_dir=spec.working_dir,
        labels=dict(spec.labels),
        exposed_ports=spec.exposed_ports,
        volumes=spec.volumes,
        stop_signal=spec.stop_signal,
        shell=spec.shell,
        on_build=spec.on_build,
        healthcheck=_healthcheck(spec.healthcheck),
    )


def _healthcheck(check: Healthcheck | None) -> dict[str, object] | None:
    if check is None or not check.test:
        return None
    pairs = {
        "Test": list(check.test),
        "Interval": check.interval_ns,
        "Timeout": check.timeout_ns,
        "StartPeriod": check.start_period_ns,
        "StartInterval": check.start_interval_ns,
        "Retries": check.retries,
    }
    return cast(dict[str, object], {name: value for name, value in pairs.items() if value})
