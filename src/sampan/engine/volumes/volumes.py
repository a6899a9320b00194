"""Volumes as objects, and who uses them."""

from __future__ import annotations

from sampan.engine.observe.emit_events import EventEmitter
from sampan.engine.parts import Parts
from sampan.store.records import Volume
from sampan.volume.contract import NoSuchVolume, VolumeInUse


class VolumeIndex:
    def __init__(self, parts: Parts, emit: EventEmitter) -> None:
        self._parts, self._emit = parts, emit

    def users(self, name: str) -> list[str]:
        """Ids of the containers that name it, running or not."""
        return [
            container.id
            for container in self._parts.store.containers.values()
            if any(p.type == "volume" and p.name == name for p in container.mount_points)
        ]

    async def create(
        self, name: str, driver: str, options: dict[str, str], labels: dict[str, str]
    ) -> Volume:
        new = name not in self._parts.store.volumes
        volume = await self._parts.volumes.create(
            name, driver=driver, options=options, labels=labels, anonymous=not name
        )
        if new:
            self._emit.volume("create", volume)
        return volume

    async def remove(self, name: str, *, force: bool) -> None:
        """Raises NoSuchVolume (not with ``force``), VolumeInUse."""
        try:
            volume = await self._parts.volumes.look_up(name)
            if users := self.users(name):
                raise VolumeInUse(name, tuple(users))
            await self._parts.volumes.remove(name)
        except NoSuchVolume:
            if not force:
                raise
            return
        self._emit.volume("destroy", volume)
