"""The ``local`` driver: one directory a volume, with something mounted on it if the user says so.

    volumes/NAME/_data        what containers see
    volumes/NAME/_seed*       an image's content on its way there, see ``seed``
    volumes/.removed-NAME     what was NAME, until the disk has it that there is no such record

The directory is made before the volume's record and removed after it. So a crash leaves at most a
directory without a record, which ``recover`` removes, and never a record without its data: if the
power goes before the removal is on disk, ``recover`` finds the record and gives it its directory
back.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec

import msgspec

from sampan.aio import in_thread
from sampan.config import DaemonConfig
from sampan.errors import InvalidArgument
from sampan.kernel import mount as kernel
from sampan.store.contract import Store
from sampan.volume.contract import DriverVolume, NoSuchVolume, VolumeCapabilities
from sampan.volume.options import MountOptions, parse_options
from sampan.volume.seed import finish

log = logging.getLogger(__name__)

P = ParamSpec("P")

NAME = "local"
MOUNTS_AT_ONCE = 64
_REMOVED = ".removed-"
"""No volume's name begins so."""
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
NAME_LIMIT = 255
"""Characters of a name: what Linux allows for a file's."""


def check_name(name: str) -> None:
    """Raises InvalidArgument unless ``name`` is one that a volume may have."""
    if len(name) == 1:
        raise InvalidArgument(
            "volume name is too short, names should be at least two alphanumeric characters"
        )
    if len(name) > NAME_LIMIT:
        raise InvalidArgument(
            f"volume name is too long ({len(name)} characters): it names a directory, which has at "
            f"most {NAME_LIMIT}"
        )
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, '
            "use absolute path"
        )


class LocalVolumes:
    """``VolumeDriver`` on the host's file system. Options are in the volumes' records."""

    capabilities = VolumeCapabilities(engine_owned=True)

    def __init__(self, config: DaemonConfig, store: Store) -> None:
        self._root = config.paths.volumes
        self._store = store
        # Threads of its own: a file server that does not answer keeps each of its mounts in the
        # kernel for minutes, and the daemon has other things to do in its few threads.
        self._threads = ThreadPoolExecutor(MOUNTS_AT_ONCE, thread_name_prefix="mount")

    async def create(
        self, name: str, options: Mapping[str, str], labels: Mapping[str, str]
    ) -> None:
        check_name(name)
        parse_options(dict(options))
        await in_thread(self._data(name).mkdir, parents=True, exist_ok=True)

    async def remove(self, name: str) -> None:
        """The record has gone already: its directory is set aside until that is on disk."""
        directory, doomed = self._root / name, self._root / f"{_REMOVED}{name}"
        await self._in_own_thread(_unmount, directory / "_data")
        await in_thread(_set_aside, directory, doomed)
        await self._store.durable()
        await in_thread(shutil.rmtree, doomed, ignore_errors=True)

    async def mount(self, name: str, user: str) -> Path:
        data = self._data(name)
        if (options := self._options(name)) is not None:
            await self._in_own_thread(_mount, options, data)
        return data

    async def unmount(self, name: str, user: str) -> None:
        """One mount serves all users: the last to go takes it away."""
        volume = self._store.volumes.get(name)
        others = set(volume.mounted_by) - {user} if volume is not None else ()
        if self._options(name) is not None and not others:
            await self._in_own_thread(_unmount, self._data(name))

    async def path(self, name: str) -> str:
        return str(self._data(name))

    async def get(self, name: str) -> DriverVolume:
        volume = self._store.volumes.get(name)
        if volume is None or volume.driver != NAME:
            raise NoSuchVolume(name)
        return DriverVolume(name=name, mountpoint=str(self._data(name)))

    async def list(self) -> Sequence[DriverVolume]:
        return [
            DriverVolume(name=volume.name, mountpoint=volume.mountpoint)
            for volume in self._store.volumes.values()
            if volume.driver == NAME
        ]

    async def recover(self, names: frozenset[str]) -> None:
        for name in await in_thread(self._recover, names):
            seeded = msgspec.structs.replace(self._store.volumes[name], seeded=True)
            self._store.transact(lambda tx, volume=seeded: tx.volumes.put(volume))  # type: ignore[misc]

    def _recover(self, known: frozenset[str]) -> Sequence[str]:
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
            self._data(name).mkdir(parents=True, exist_ok=True)
        return finished

    def _data(self, name: str) -> Path:
        return self._root / name / "_data"

    def _options(self, name: str) -> MountOptions | None:
        volume = self._store.volumes.get(name)
        return parse_options(volume.options) if volume is not None else None

    async def _in_own_thread(self, work: Callable[P, None], *args: P.args, **_: P.kwargs) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)


def _set_aside(directory: Path, doomed: Path) -> None:
    shutil.rmtree(doomed, ignore_errors=True)
    if directory.exists():
        directory.rename(doomed)


def _unmount(data: Path) -> None:
    kernel.unmount_if_mounted(data, lazy=True)


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
