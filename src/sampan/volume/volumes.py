"""The ``local`` driver: one directory a volume, with something mounted on it if the user says so.

    volumes/NAME/_data        what containers see
    volumes/NAME/_seed*       an image's content on its way there, see ``seed``
    volumes/.removed-NAME     what was NAME, until the disk has it that there is no such row

Order of making: directory, then row. Order of removal: row, then directory. So a crash leaves at
most a directory without a row, which ``recover`` removes, and never a row without its data: if the
power goes before the removal is on disk, ``recover`` finds the row and gives it its directory back.
"""

from __future__ import annotations

import logging
import re
import secrets
import shutil
import socket
from pathlib import Path

import msgspec

from sampan.aio import Clock, KeyedLocks, in_thread
from sampan.config import DaemonConfig
from sampan.errors import Conflict, InvalidArgument
from sampan.kernel import mount as kernel
from sampan.store.contract import Store
from sampan.store.records import Volume
from sampan.volume.contract import NoSuchDriver, NoSuchVolume
from sampan.volume.options import MountOptions, parse_options
from sampan.volume.seed import finish, seed

log = logging.getLogger(__name__)

_REMOVED = ".removed-"
"""No volume's name begins so."""
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


def check_name(name: str) -> None:
    """Raises InvalidArgument unless ``name`` is one that a volume may have."""
    if len(name) == 1:
        raise InvalidArgument(
            "volume name is too short, names should be at least two alphanumeric characters"
        )
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, '
            "use absolute path"
        )


class LocalVolumes:
    """``Volumes`` on the host's file system."""

    def __init__(self, config: DaemonConfig, store: Store, clock: Clock) -> None:
        self._root = config.paths.volumes
        self._store = store
        self._clock = clock
        self._locks = KeyedLocks()
        """By name: mounting and seeding happen once."""

    def get(self, name: str) -> Volume:
        if (volume := self._store.volumes.get(name)) is None:
            raise NoSuchVolume(name)
        return volume

    def all(self) -> list[Volume]:
        return list(self._store.volumes.values())

    async def create(
        self,
        name: str,
        *,
        driver: str = "local",
        options: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
        anonymous: bool = False,
        provisional: bool = False,
    ) -> Volume:
        """See ``Volumes.create``. Does not suspend: of two at once, the second finds the first."""
        name = name or secrets.token_hex(32)
        check_name(name)
        if (existing := self._store.volumes.get(name)) is not None:
            if driver not in ("", existing.driver):
                raise Conflict(
                    f"create {name}: a volume of that name exists with driver {existing.driver}: "
                    "remove it or choose another name"
                )
            if existing.provisional and not provisional:
                existing = msgspec.structs.replace(existing, provisional=False)
                self._store.transact(lambda tx: tx.volumes.put(existing))
            return existing
        if driver not in ("", "local"):
            raise NoSuchDriver(driver)
        parse_options(options or {})
        data = self._root / name / "_data"
        data.mkdir(parents=True, exist_ok=True)
        volume = Volume(
            name=name,
            driver="local",
            created_at=self._clock.now(),
            mountpoint=str(data),
            options=options or {},
            labels=labels or {},
            anonymous=anonymous,
            provisional=provisional,
        )
        try:
            self._store.transact(lambda tx: tx.volumes.put(volume))
        except BaseException:
            shutil.rmtree(data.parent, ignore_errors=True)
            raise
        return volume

    async def mount(self, name: str) -> Path:
        volume = self.get(name)
        data = Path(volume.mountpoint)
        if (options := parse_options(volume.options)) is None:
            return data
        async with self._locks.hold(name):
            await in_thread(_mount, options, data)
        return data

    async def unmount(self, name: str) -> None:
        volume = self._store.volumes.get(name)
        if volume is not None and volume.options:
            async with self._locks.hold(name):
                await in_thread(kernel.unmount_if_mounted, Path(volume.mountpoint), lazy=True)

    async def seed(self, name: str, source: Path) -> None:
        if self.get(name).seeded:
            return
        async with self._locks.hold(name):
            volume = self.get(name)
            if volume.seeded:
                return
            directory = Path(volume.mountpoint).parent
            if await in_thread(seed, directory, source, mounted=bool(volume.options)):
                self._mark_seeded(name)

    async def remove(self, name: str) -> None:
        async with self._locks.hold(name):
            volume = self.get(name)
            directory = Path(volume.mountpoint).parent
            if volume.options:
                await in_thread(kernel.unmount_if_mounted, directory / "_data", lazy=True)
            doomed = self._root / f"{_REMOVED}{name}"
            await in_thread(shutil.rmtree, doomed, ignore_errors=True)
            # Row and rename in one turn of the loop: a new volume of this name never meets the
            # old directory.
            self._store.transact(lambda tx: tx.volumes.delete(name))
            if directory.exists():
                directory.rename(doomed)
            await self._store.durable()
            await in_thread(shutil.rmtree, doomed, ignore_errors=True)

    async def recover(self) -> None:
        for volume in self.all():
            if volume.provisional:
                log.info(
                    "removing volume %s, whose container was never made or is gone", volume.name
                )
                await self.remove(volume.name)
        finished = await in_thread(self._recover, frozenset(self._store.volumes))
        for name in finished:
            self._mark_seeded(name)

    def _recover(self, known: frozenset[str]) -> list[str]:
        finished: list[str] = []
        if not self._root.exists():
            return finished
        for directory in list(self._root.iterdir()):
            name = directory.name.removeprefix(_REMOVED)
            if name != directory.name:
                if name in known and not (self._root / name).exists():
                    log.info("volume %s was not removed before the power went: it is back", name)
                    directory.rename(self._root / name)
                else:
                    shutil.rmtree(directory)
        for directory in self._root.iterdir():
            if directory.name not in known:
                log.info("removing the directory of volume %s, which was never made", directory)
                kernel.unmount_if_mounted(directory / "_data", lazy=True)
                shutil.rmtree(directory)
            elif finish(directory):
                finished.append(directory.name)
        for name in known:
            (self._root / name / "_data").mkdir(parents=True, exist_ok=True)
        return finished

    def _mark_seeded(self, name: str) -> None:
        volume = self.get(name)
        self._store.transact(
            lambda tx: tx.volumes.put(msgspec.structs.replace(volume, seeded=True))
        )


def _mount(options: MountOptions, data: Path) -> None:
    """Blocks: in a thread."""
    if kernel.is_mounted(data):
        return
    if options.address:
        try:
            found = socket.getaddrinfo(options.address, None, type=socket.SOCK_STREAM)
        except OSError as error:
            raise InvalidArgument(
                f"failed to mount local volume: cannot resolve addr={options.address}: {error}"
            ) from error
        options = options.with_address(str(found[0][4][0]))
    try:
        kernel.mount(options.device, data, options.fstype, options.flags, options.data)
        if options.flags & kernel.MS_BIND and options.flags & kernel.MS_RDONLY:
            # A bind mount ignores read-only in the first call.
            remount = kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY
            kernel.mount("none", data, "", remount)
    except OSError as error:
        raise InvalidArgument(
            f"failed to mount local volume: mount {options.device}:{data}, "
            f"flags: {options.flags:#x}, data: {options.data}: {error.strerror}"
        ) from error
