"""The host's networks by themselves, without an engine, on whatever kernel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sampan.aio import Clock
from sampan.config import DaemonConfig
from sampan.engine.drivers import Drivers
from sampan.kernel.linux import HOST, Linux
from sampan.network.networks import HostNetworks, open_networks


@asynccontextmanager
async def open_host_networks(
    config: DaemonConfig, clock: Clock, linux: Linux = HOST, drivers: Drivers | None = None
) -> AsyncIterator[HostNetworks]:
    """With the built-in drivers, and those that are in ``drivers`` already."""
    drivers = drivers or Drivers()
    async with open_networks(config, clock, linux, drivers.network, drivers.ipam) as networks:
        yield networks
