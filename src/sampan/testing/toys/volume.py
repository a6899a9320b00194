"""A volume driver that keeps its volumes in a directory, and counts who has them mounted.

drivers.volume.register("toy", ToyVolumes(directory))
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, MutableSequence, Sequence
from pathlib import Path

from sampan.errors import Conflict, InvalidArgument
from sampan.volume.contract import DriverVolume, NoSuchVolume, VolumeCapabilities

NAME = "toy"


class ToyVolumes:
    """``gate`` closed: it waits in ``mount``, as a plugin does that hangs."""

    capabilities = VolumeCapabilities(scope="global")

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.users: dict[str, list[str]] = {}
        """Volume -> who has it mounted, once for every mount: more than once is a mistake."""
        self.calls: list[tuple[str, str, str]] = []
        """(what, volume, user) in the order asked."""
        self.gate = asyncio.Event()
        self.gate.set()

    async def create(
        self, name: str, options: Mapping[str, str], labels: Mapping[str, str]
    ) -> None:
        for option in options:
            if option != "colour":
                raise InvalidArgument(f'invalid option: "{option}"')
        self.users.setdefault(name, [])
        (self._directory / name).mkdir(parents=True, exist_ok=True)

    async def remove(self, name: str) -> None:
        if self.users.get(name):
            raise Conflict(f"volume {name} is mounted by {', '.join(self.users[name])}")
        self.users.pop(name, None)
        shutil.rmtree(self._directory / name, ignore_errors=True)

    async def mount(self, name: str, user: str) -> Path:
        self.calls.append(("mount", name, user))
        await self.gate.wait()
        self._known(name).append(user)
        return self._directory / name

    async def unmount(self, name: str, user: str) -> None:
        self.calls.append(("unmount", name, user))
        if user in (users := self.users.get(name, [])):
            users.remove(user)

    async def path(self, name: str) -> str:
        return str(self._directory / name) if self._known(name) else ""

    async def get(self, name: str) -> DriverVolume:
        self._known(name)
        return DriverVolume(name=name, mountpoint=await self.path(name), status={"colour": "red"})

    async def list(self) -> Sequence[DriverVolume]:
        return [DriverVolume(name=name) for name in self.users]

    async def recover(self, names: frozenset[str]) -> None:
        """Nothing can be half done."""

    def _known(self, name: str) -> MutableSequence[str]:
        if name not in self.users:
            raise NoSuchVolume(name)
        return self.users[name]
