"""Volumes by name, whatever their drivers: records, references, and who has what mounted.

Who mounts is written down before the driver is asked, and taken back after it has unmounted:

    record user ──> driver.mount ──> run ──> driver.unmount ──> forget user

so that the daemon after a crash knows every mount that may have been made, and asks for each to be
undone. A driver may wait as long as it likes: one lock a volume is all that waits with it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from sampan.aio import Clock, KeyedLocks, Tasks, in_thread, within
from sampan.drivers import OfAnotherKind, Registry
from sampan.errors import Conflict, SampanError
from sampan.store.contract import Store
from sampan.store.records import Volume
from sampan.volume import local
from sampan.volume.contract import (
    LISTED_WITHIN_S,
    NoSuchVolume,
    VolumeDriver,
    VolumeListing,
)
from sampan.volume.seed import seed, seed_mounted

log = logging.getLogger(__name__)

DEFAULT_DRIVER = local.NAME
SILENT_S = 30.0
"""Who lists all volumes waits once in so long for a driver that hangs."""


class DriverVolumes:
    """``Volumes`` on a registry of drivers."""

    def __init__(self, drivers: Registry[VolumeDriver], store: Store, clock: Clock) -> None:
        self._drivers, self._store, self._clock = drivers, store, clock
        self._locks = KeyedLocks()
        """By name of the volume."""
        self._tasks = Tasks()
        self._paths: dict[tuple[str, str], Path] = {}
        """(volume, user) -> where this daemon has mounted it."""
        self._silent: dict[str, float] = {}
        """Driver -> until when nobody asks it again what it has, as it has not answered."""

    def get(self, name: str) -> Volume:
        if (volume := self._store.volumes.get(name)) is None:
            raise NoSuchVolume(name)
        return volume

    def all(self) -> list[Volume]:
        return list(self._store.volumes.values())

    async def listing(self) -> VolumeListing:
        others, warnings = await self._others()
        return VolumeListing([*self.all(), *others], warnings)

    async def look_up(self, name: str) -> Volume:
        if (volume := self._store.volumes.get(name)) is not None:
            return volume
        others, _ = await self._others()
        found = next((other for other in others if other.name == name), None)
        if found is None:
            raise NoSuchVolume(name)
        return found

    async def _others(self) -> tuple[list[Volume], list[str]]:
        """What drivers have and no record speaks of, and why some could not be asked."""
        found: list[Volume] = []
        warnings: list[str] = []
        names = await self._drivers.listed()
        answers = await asyncio.gather(*(self._listed_by(name) for name in names))
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, str):
                warnings.append(f"volumes of the driver {name} are not listed: {answer}")
            else:
                found += [one for one in answer if one.name not in self._store.volumes]
        return found, warnings

    async def _listed_by(self, name: str) -> list[Volume] | str:
        """What the driver of that name has, or why that is not known."""

        if self._silent.get(name, 0.0) > self._clock.monotonic():
            return f"it has not answered, and is asked again after {SILENT_S:.0f} s"

        async def ask() -> list[Volume]:
            driver = await self._drivers.find(name)
            if driver.capabilities.engine_owned:
                return []  # its volumes are those that have a record
            return [
                Volume(
                    name=one.name,
                    driver=name,
                    created_at=one.created_at,
                    mountpoint=one.mountpoint,
                )
                for one in await driver.list()
            ]

        try:
            return await within(self._clock, LISTED_WITHIN_S, ask())
        except OfAnotherKind:
            return []
        except TimeoutError:
            self._silent[name] = self._clock.monotonic() + SILENT_S
            return f"it has not answered for {LISTED_WITHIN_S:.0f} s"
        except (SampanError, OSError) as error:
            return str(error)

    def scope(self, volume: Volume) -> Literal["local", "global"]:
        if volume.driver not in self._drivers:
            return "local"
        return self._drivers.get(volume.driver).capabilities.scope

    def is_engine_owned(self, name: str) -> bool:
        driver = self.get(name).driver
        return driver in self._drivers and self._drivers.get(driver).capabilities.engine_owned

    async def status(self, volume: Volume) -> Mapping[str, object]:
        driver = await self._drivers.find(volume.driver)
        if driver.capabilities.engine_owned:
            return {}
        return (await driver.get(volume.name)).status

    async def create(
        self,
        name: str,
        *,
        driver: str = "",
        options: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
        anonymous: bool = False,
        provisional: bool = False,
    ) -> Volume:
        name = name or secrets.token_hex(32)
        async with self._locks.hold(name):
            if (existing := self._store.volumes.get(name)) is not None:
                return self._taken(existing, driver)
            driver = driver or DEFAULT_DRIVER
            maker = await self._drivers.find(driver)
            # What another host, or a user of the plugin, has made is not ours to take away again.
            found = await self._found(maker, name)
            if not found:
                await maker.create(name, options or {}, labels or {})
            try:
                volume = Volume(
                    name=name,
                    driver=driver,
                    created_at=self._clock.now(),
                    mountpoint=await maker.path(name),
                    options=options or {},
                    labels=labels or {},
                    anonymous=anonymous,
                    provisional=provisional and not found,
                )
                self._put(volume)
            except BaseException:
                if not found:
                    await maker.remove(name)
                raise
            return volume

    def _taken(self, existing: Volume, driver: str) -> Volume:
        if driver not in ("", existing.driver):
            raise Conflict(
                f"create {existing.name}: a volume of that name exists with driver "
                f"{existing.driver}: remove it or choose another name"
            )
        if existing.provisional:
            existing = self._change(existing.name, lambda v: _with(v, provisional=False))
        return existing

    @staticmethod
    async def _found(driver: VolumeDriver, name: str) -> bool:
        if driver.capabilities.engine_owned:
            return False  # its volumes are those that have a record
        try:
            await driver.get(name)
        except NoSuchVolume:
            return False
        return True

    async def mount(self, name: str, user: str) -> Path:
        volume = self.get(name)
        driver = await self._drivers.find(volume.driver)
        if _is_plain(volume, driver):
            return Path(volume.mountpoint)
        async with self._locks.hold(name):
            if (path := self._paths.get((name, user))) is not None:
                return path
            if user in self.get(name).mounted_by:
                # An unmount that has failed: the driver must not count this user twice.
                await driver.unmount(name, user)
            self._change(name, lambda v: _with(v, mounted_by=(*_without(v, user), user)))
            try:
                path = await driver.mount(name, user)
            except (SampanError, OSError):
                self._change(name, lambda v: _with(v, mounted_by=_without(v, user)))
                raise
            self._paths[name, user] = path
            if (mountpoint := str(path)) != self.get(name).mountpoint:
                self._change(name, lambda v: _with(v, mountpoint=mountpoint))
            return path

    async def unmount(self, name: str, user: str) -> None:
        volume = self._store.volumes.get(name)
        if volume is None or user not in volume.mounted_by:
            return
        async with self._locks.hold(name):
            await self._unmount(name, user)

    async def _unmount(self, name: str, user: str) -> None:
        """The volume's lock is held."""
        volume = self._store.volumes.get(name)
        if volume is None or user not in volume.mounted_by:
            return
        driver = await self._drivers.find(volume.driver)
        await driver.unmount(name, user)
        self._paths.pop((name, user), None)
        self._change(name, lambda v: _with(v, mounted_by=_without(v, user)), frees=True)

    async def seed(self, name: str, source: Path) -> None:
        if self.get(name).seeded:
            return
        async with self._locks.hold(name):
            volume = self.get(name)
            if volume.seeded:
                return
            data = Path(volume.mountpoint)
            if _is_plain(volume, self._drivers.get(volume.driver)):
                done = await in_thread(seed, data.parent, source)
            else:
                done = await in_thread(seed_mounted, data, source)
            if done:
                self._change(name, lambda v: _with(v, seeded=True))

    async def remove(self, name: str) -> None:
        async with self._locks.hold(name):
            volume = await self.look_up(name)
            driver = await self._drivers.find(volume.driver)
            if name not in self._store.volumes:
                await driver.remove(name)
                return
            for key in [key for key in self._paths if key[0] == name]:
                del self._paths[key]
            if driver.capabilities.engine_owned:
                self._store.transact(lambda tx: tx.volumes.delete(name))
                await driver.remove(name)
                return
            for user in volume.mounted_by:
                await self._unmount(name, user)
            # Marked first: a daemon that is killed between the two comes back to finish this.
            self._change(name, lambda v: _with(v, provisional=True), frees=True)
            try:
                await driver.remove(name)
            except (SampanError, OSError):
                self._change(name, lambda v: _with(v, provisional=volume.provisional))
                raise
            self._store.transact(lambda tx: tx.volumes.delete(name))

    async def recover(self, alive: frozenset[str] = frozenset()) -> None:
        for name in self._drivers.names():
            known = frozenset(v.name for v in self.all() if v.driver == name)
            await self._drivers.get(name).recover(known)
        for volume in self.all():
            left = [user for user in volume.mounted_by if user not in alive]
            if not left and not volume.provisional:
                continue
            work = self._settle(volume, left)
            if self.is_engine_owned(volume.name):
                await work
            else:
                # Nobody waits at the daemon's start for what others answer, or may not answer.
                self._tasks.spawn(work, name=f"recover volume {volume.name}")

    async def _settle(self, volume: Volume, left: list[str]) -> None:
        """Unmount what ended without it, and remove what was made for nobody."""
        try:
            for user in left:
                await self.unmount(volume.name, user)
            if volume.provisional:
                log.info(
                    "removing volume %s, whose container was never made or is gone", volume.name
                )
                with suppress(NoSuchVolume):
                    await self.remove(volume.name)
        except (SampanError, OSError) as error:
            log.error("volume %s is not as it should be: %s", volume.name, error)

    async def close(self) -> None:
        await self._tasks.close()

    def _change(
        self, name: str, change: Callable[[Volume], Volume], *, frees: bool = False
    ) -> Volume:
        volume = change(self.get(name))
        self._put(volume, frees=frees)
        return volume

    def _put(self, volume: Volume, *, frees: bool = False) -> None:
        self._store.transact(lambda tx: tx.volumes.put(volume), frees=frees)


def _with(volume: Volume, **changes: object) -> Volume:
    return msgspec.structs.replace(volume, **changes)


def _without(volume: Volume, user: str) -> tuple[str, ...]:
    return tuple(other for other in volume.mounted_by if other != user)


def _is_plain(volume: Volume, driver: VolumeDriver) -> bool:
    return driver.capabilities.engine_owned and not volume.options
