"""Plugins as drivers: what the registries ask for a name that is not built in.

A plugin that is not there is None, and the registry says so in the words of its kind. One that is
there and cannot be used is an error that names it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from sampan.aio import Clock
from sampan.drivers import Registry
from sampan.network.drivers.contract import IpamDriver, NetworkDriver
from sampan.plugins.client import PluginClient
from sampan.plugins.errors import NoSuchPlugin
from sampan.plugins.ipam_driver import PluginIpamDriver
from sampan.plugins.log_driver import PluginLogDriver
from sampan.plugins.network_driver import PluginNetworkDriver
from sampan.plugins.plugins import Plugins
from sampan.plugins.volume_driver import PluginVolumeDriver
from sampan.runtime.log_drivers.contract import LogDriver
from sampan.volume.contract import VolumeDriver

D = TypeVar("D")


def resolver(
    plugins: Plugins, kind: str, make: Callable[[PluginClient], Awaitable[D]]
) -> Callable[[str], Awaitable[D | None]]:
    """For ``Registry.add_resolver``: plugins that implement ``kind``, made drivers by ``make``."""

    async def resolve(name: str) -> D | None:
        try:
            client = await plugins.client(name, kind)
        except NoSuchPlugin:
            return None
        return await make(client)

    return resolve


def add_plugins(
    plugins: Plugins,
    clock: Clock,
    state: Path,
    *,
    log: Registry[LogDriver],
    volume: Registry[VolumeDriver],
    network: Registry[NetworkDriver],
    ipam: Registry[IpamDriver],
) -> None:
    """Have the registries find plugins. What drivers must remember until the next boot is in
    ``state``, which does not survive it."""

    async def log_driver(client: PluginClient) -> LogDriver:
        return await PluginLogDriver.of(client, state / "logging" / client.name, clock)

    async def volume_driver(client: PluginClient) -> VolumeDriver:
        return await PluginVolumeDriver.open(client)

    async def network_driver(client: PluginClient) -> NetworkDriver:
        return await PluginNetworkDriver.open(client, state / "networks" / client.name)

    async def ipam_driver(client: PluginClient) -> IpamDriver:
        return await PluginIpamDriver.open(client)

    log.add_resolver(resolver(plugins, "LogDriver", log_driver))
    volume.add_resolver(resolver(plugins, "VolumeDriver", volume_driver), plugins.names)
    network.add_resolver(resolver(plugins, "NetworkDriver", network_driver))
    ipam.add_resolver(resolver(plugins, "IpamDriver", ipam_driver))
