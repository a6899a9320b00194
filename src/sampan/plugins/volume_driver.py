"""``VolumeDriver``: volumes that a plugin makes and mounts.

The plugin counts the users of a volume by the ids that ``Mount`` and ``Unmount`` bring: what the
engine calls a user is passed on as the id.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from sampan.plugins.client import PluginClient
from sampan.plugins.errors import BadAnswer, PluginRefused
from sampan.plugins.wire import Answer
from sampan.volume.contract import DriverVolume, NoSuchVolume, VolumeCapabilities

log = logging.getLogger(__name__)


class _Create(msgspec.Struct, rename="pascal"):
    name: str
    opts: Mapping[str, str]


class _Named(msgspec.Struct, rename="pascal"):
    name: str


class _Use(msgspec.Struct, rename="pascal"):
    name: str
    id: str = msgspec.field(name="ID")


class _Nothing(msgspec.Struct):
    pass


class _Mountpoint(Answer, frozen=True, rename="pascal", kw_only=True):
    mountpoint: str = ""


class _Volume(msgspec.Struct, frozen=True, rename="pascal", kw_only=True):
    name: str = ""
    mountpoint: str = ""
    created_at: str = ""
    status: dict[str, Any] = {}


class _Got(Answer, frozen=True, rename="pascal", kw_only=True):
    volume: _Volume | None = None


class _Listed(Answer, frozen=True, rename="pascal", kw_only=True):
    volumes: tuple[_Volume, ...] = ()


class _Capability(msgspec.Struct, frozen=True, rename="pascal"):
    scope: str = "local"


class _Capabilities(Answer, frozen=True, rename="pascal", kw_only=True):
    capabilities: _Capability = _Capability()


class PluginVolumeDriver:
    """See ``sampan.volume.contract.VolumeDriver``."""

    def __init__(self, client: PluginClient, capabilities: VolumeCapabilities) -> None:
        self._client = client
        self._capabilities = capabilities
        self._users: set[tuple[str, str]] = set()
        """(volume, user) that this daemon has mounted, or may have."""

    @classmethod
    async def open(cls, client: PluginClient) -> PluginVolumeDriver:
        """Ask the plugin what it can do. One that does not know the question is local.

        Raises:
            PluginFailed: it does not answer, or with a scope that there is not.
        """
        scope = "local"
        try:
            said = await client.call("VolumeDriver.Capabilities", _Nothing(), _Capabilities)
            scope = said.capabilities.scope.lower() or "local"
        except PluginRefused as error:
            log.debug("%s: taken as local", error)
        if scope == "global":
            return cls(client, VolumeCapabilities(scope="global"))
        if scope != "local":
            raise BadAnswer(
                client.name,
                "VolumeDriver.Capabilities",
                f"the scope {scope!r} is neither local nor global",
            )
        return cls(client, VolumeCapabilities(scope="local"))

    @property
    def capabilities(self) -> VolumeCapabilities:
        return self._capabilities

    async def create(
        self, name: str, options: Mapping[str, str], labels: Mapping[str, str]
    ) -> None:
        """Labels are the daemon's own: the protocol does not carry them."""
        await self._client.call("VolumeDriver.Create", _Create(name, options), Answer)

    async def remove(self, name: str) -> None:
        try:
            await self._client.call("VolumeDriver.Remove", _Named(name), Answer)
        except PluginRefused:
            if await self._knows(name):
                raise

    async def mount(self, name: str, user: str) -> Path:
        method = "VolumeDriver.Mount"
        self._users.add((name, user))
        answer = await self._client.call(method, _Use(name, user), _Mountpoint)
        if not answer.mountpoint.startswith("/") or "\0" in answer.mountpoint:
            raise BadAnswer(
                self._client.name, method, f"the mount point {answer.mountpoint!r} is not a path"
            )
        return Path(answer.mountpoint)

    async def unmount(self, name: str, user: str) -> None:
        try:
            await self._client.call("VolumeDriver.Unmount", _Use(name, user), Answer)
        except PluginRefused as error:
            # The contract asks for what is not mounted, too, which most plugins refuse.
            if (name, user) in self._users and await self._is_mounted(name):
                raise
            log.info("volume %s: taken as unmounted: %s", name, error)
        self._users.discard((name, user))

    async def _is_mounted(self, name: str) -> bool:
        try:
            return bool((await self.get(name)).mountpoint)
        except NoSuchVolume:
            return False

    async def path(self, name: str) -> str:
        answer = await self._client.call("VolumeDriver.Path", _Named(name), _Mountpoint)
        return answer.mountpoint

    async def get(self, name: str) -> DriverVolume:
        """Raises NoSuchVolume, and not for a plugin that only fails at the moment."""
        try:
            answer = await self._client.call("VolumeDriver.Get", _Named(name), _Got)
        except PluginRefused as error:
            # The protocol has no way to tell "there is none" from any other failure.
            if await self._knows(name):
                raise
            raise NoSuchVolume(name) from error
        if answer.volume is None:
            raise NoSuchVolume(name)
        return _told(answer.volume, name)

    async def list(self) -> Sequence[DriverVolume]:
        answer = await self._client.call("VolumeDriver.List", _Nothing(), _Listed, patient=False)
        return [_told(volume, volume.name) for volume in answer.volumes if volume.name]

    async def recover(self, names: frozenset[str]) -> None:
        """Found when it is first named: at the start of the daemon there is nothing to do."""

    async def _knows(self, name: str) -> bool:
        return any(volume.name == name for volume in await self.list())


def _told(volume: _Volume, name: str) -> DriverVolume:
    try:
        created_at = datetime.fromisoformat(volume.created_at).timestamp()
    except ValueError:
        created_at = 0.0
    return DriverVolume(
        name=name,
        mountpoint=volume.mountpoint,
        created_at=max(created_at, 0.0),
        status=volume.status,
    )
