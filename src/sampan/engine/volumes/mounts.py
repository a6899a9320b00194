"""From the mounts that were asked for to those that a container gets: volumes made and named."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from sampan.aio import in_thread
from sampan.engine.container_index import ContainerIndex
from sampan.engine.in_flight import all_of
from sampan.engine.observe.emit_events import EventEmitter
from sampan.engine.parts import Parts
from sampan.engine.rootfs import resolve_inside
from sampan.errors import InvalidArgument
from sampan.store.records import Container, ContainerSpec, Mount, MountPoint, Volume


@dataclass(frozen=True, slots=True)
class Resolved:
    mounts: tuple[Mount, ...]
    points: tuple[MountPoint, ...]
    made: tuple[Volume, ...]
    """Volumes that did not exist before."""


class Mounts:
    """Resolves at creation, makes usable at start, lets go at exit."""

    def __init__(self, parts: Parts, containers: ContainerIndex, emit: EventEmitter) -> None:
        self._parts, self._containers, self._emit = parts, containers, emit

    # -- at creation

    async def resolve(self, spec: ContainerSpec, undo: AsyncExitStack) -> Resolved:
        """Every mount with its source: host directories and volumes are made, and unmade by
        ``undo``. ``volumes_from`` gives way to what the user mounts himself, and goes before
        what the image declares.

        Raises:
            NoSuchContainer: of ``volumes_from``.
            InvalidArgument: a volume that cannot be.
        """
        own = {_normal(m.target) for m in spec.mounts if m.origin not in ("image", "volumes")}
        points: dict[str, MountPoint] = {}
        for point in self._borrowed(spec.host.volumes_from):
            if _normal(point.target) not in own:
                points[_normal(point.target)] = point
        mounts: list[Mount] = []
        made: list[Volume] = []
        for mount in spec.mounts:
            target = _normal(mount.target)
            if target in points and mount.origin in ("image", "volumes"):
                continue
            if mount.type == "volume":
                volume, new = await self._volume(mount, undo)
                made += [volume] if new else []
                anonymous = not mount.source
                mount = msgspec.structs.replace(mount, source=volume.name)
                points[target] = _volume_point(mount, volume, anonymous=anonymous)
            elif mount.type == "bind":
                if mount.create_source:
                    await in_thread(_make_source, Path(mount.source), undo)
                points[target] = _bind_point(mount)
            else:
                points[target] = _tmpfs_point(mount)
            mounts.append(mount)
        return Resolved(
            tuple(mounts),
            tuple(sorted(points.values(), key=lambda p: p.target.rstrip("/").count("/"))),
            tuple(made),
        )

    def _borrowed(self, volumes_from: tuple[str, ...]) -> list[MountPoint]:
        found: list[MountPoint] = []
        for entry in volumes_from:
            ref, _, mode = entry.partition(":")
            words = set(mode.split(",")) - {""}
            if words - {"ro", "rw", "z", "Z", "nocopy"}:
                raise InvalidArgument(f"invalid mode for volumes-from: {mode}")
            for point in self._containers.get(ref).mount_points:
                # Whoever made it owns it: an anonymous volume goes with its first container.
                found.append(
                    msgspec.structs.replace(
                        point,
                        anonymous=False,
                        read_write=point.read_write and "ro" not in words,
                    )
                )
        return found

    async def _volume(self, mount: Mount, undo: AsyncExitStack) -> tuple[Volume, bool]:
        volume = await self._parts.volumes.create(
            mount.source,
            driver=mount.volume_driver,
            options=dict(mount.volume_options),
            labels=dict(mount.volume_labels),
            anonymous=not mount.source,
            provisional=True,
        )
        # Made by us, and nobody else has asked for it: else it would be there to stay.
        if volume.provisional:
            undo.push_async_callback(self._unmake, volume.name)
        return volume, volume.provisional

    async def _unmake(self, name: str) -> None:
        """Unless another container, or the user, has taken to it meanwhile."""
        volume = self._parts.store.volumes.get(name)
        if volume is not None and volume.provisional:
            await self._parts.volumes.remove(name)

    async def seed(self, container: Container) -> None:
        """Fill new volumes with what the image has at their targets. At creation and not at
        start: a container that is only created (``docker create -v /data``) is a known way to
        make a filled volume."""
        volumes, snapshots = self._parts.volumes, self._parts.snapshots
        no_copy = {_normal(m.target) for m in container.spec.mounts if m.no_copy}
        empty = [
            point
            for point in container.mount_points
            if point.type == "volume"
            and _normal(point.target) not in no_copy
            and not volumes.get(point.name).seeded
        ]
        if not empty:
            return
        async with AsyncExitStack() as undo:
            undo.push_async_callback(snapshots.unmount, container.id)
            root = await snapshots.mount(container.id)
            for point in empty:
                source = await in_thread(resolve_inside, root, point.target)
                # Not the container's own mount: this one ends here.
                undo.push_async_callback(volumes.unmount, point.name, f"seed-{container.id}")
                await volumes.mount(point.name, f"seed-{container.id}")
                await volumes.seed(point.name, source)

    # -- at start and exit

    async def ready(self, container: Container) -> tuple[MountPoint, ...]:
        """Mount what volumes need mounted; bind sources that were created once are made again.

        Raises:
            InvalidArgument: a source is gone, or a volume cannot be mounted.
        """
        wanted = {_normal(m.target): m for m in container.spec.mounts}
        points: list[MountPoint] = []
        for point in container.mount_points:
            mount = wanted.get(_normal(point.target))
            if point.type == "volume":
                data = await self._parts.volumes.mount(point.name, container.id)
                if mount is not None and mount.subpath:
                    data = await in_thread(resolve_inside, data, mount.subpath)
                    await in_thread(_must_exist, data)
                point = msgspec.structs.replace(point, source=str(data))
            elif point.type == "bind":
                create = mount is not None and mount.create_source
                await in_thread(_bind_source, point.source, create=create)
            points.append(point)
        return tuple(points)

    def announce_mounts(self, container: Container, action: str) -> None:
        """``mount`` or ``unmount`` events of the container's volumes."""
        for point in container.mount_points:
            volume = self._parts.store.volumes.get(point.name)
            if point.type == "volume" and volume is not None:
                extra = {"container": container.id}
                if action == "mount":
                    extra |= {
                        "destination": point.target,
                        "propagation": point.propagation,
                        "read/write": str(point.read_write).lower(),
                    }
                self._emit.volume(action, volume, **extra)

    def waits_for_others(self, container: Container) -> bool:
        """Whether a volume of the container is one whose driver may take its time."""
        volumes = self._parts.volumes
        return any(
            point.type == "volume"
            and point.name in self._parts.store.volumes
            and not volumes.is_engine_owned(point.name)
            for point in container.mount_points
        )

    async def release(self, container: Container) -> None:
        """The container has ended, or was never started: undo what ``ready`` mounted. Idempotent;
        one volume that cannot be unmounted does not keep the others."""
        names = dict.fromkeys(p.name for p in container.mount_points if p.type == "volume")
        await all_of(
            f"unmounting the volumes of container {container.id[:12]}",
            *(self._parts.volumes.unmount(name, container.id) for name in names),
        )


def _normal(path: str) -> str:
    return os.path.normpath(path)


def _must_exist(path: Path) -> None:
    if not os.path.lexists(path):
        raise InvalidArgument(f"cannot access path {path}: no such file or directory")


def _bind_source(source: str, *, create: bool) -> None:
    if os.path.lexists(source):
        return
    if not create:
        raise InvalidArgument(
            f'invalid mount config for type "bind": bind source path does not exist: {source}'
        )
    os.makedirs(source, exist_ok=True)


def _make_source(source: Path, undo: AsyncExitStack) -> None:
    """mkdir -p; ``undo`` removes what was made, if still empty."""
    missing = []
    path = source
    while not os.path.lexists(path):
        missing.append(path)
        path = path.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        undo.push_async_callback(in_thread, _remove_empty, path)


def _remove_empty(path: Path) -> None:
    try:
        path.rmdir()
    except OSError:
        if path.exists() and not any(path.iterdir()):
            raise


def _volume_point(mount: Mount, volume: Volume, *, anonymous: bool) -> MountPoint:
    return MountPoint(
        type="volume",
        source=volume.mountpoint,
        target=mount.target,
        name=volume.name,
        driver=volume.driver,
        mode=mount.mode or ("z" if mount.origin in ("binds", "mounts") else ""),
        read_write=not mount.read_only,
        propagation=mount.propagation,
        anonymous=anonymous,
    )


def _bind_point(mount: Mount) -> MountPoint:
    return MountPoint(
        type="bind",
        source=mount.source,
        target=mount.target,
        mode=mount.mode,
        read_write=not mount.read_only,
        propagation=mount.propagation or "rprivate",
        recursion=_recursion(mount),
    )


def _recursion(mount: Mount) -> Literal["enabled", "disabled", "writable", "readonly"]:
    if mount.non_recursive:
        return "disabled"
    if mount.read_only_force_recursive:
        return "readonly"
    return "writable" if mount.read_only_non_recursive else "enabled"


def _tmpfs_point(mount: Mount) -> MountPoint:
    """``mode`` carries the mount options, comma-separated."""
    words = [mount.tmpfs_options] if mount.tmpfs_options else []
    if mount.tmpfs_bytes:
        words.append(f"size={mount.tmpfs_bytes}")
    if mount.tmpfs_mode:
        words.append(f"mode={mount.tmpfs_mode:o}")
    return MountPoint(
        type="tmpfs",
        source="",
        target=mount.target,
        mode=",".join(words),
        read_write=not mount.read_only,
    )
