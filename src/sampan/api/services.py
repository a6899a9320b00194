"""This host's engine, as Docker's routes see it: ``EngineLike`` on the parts of one daemon."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from sampan.aio import Clock, Tasks
from sampan.api.cluster import copy_of
from sampan.api.engine_like import EngineLike, System
from sampan.api.info import host_info
from sampan.api.translate.container import HostSide
from sampan.api.types.system import Info
from sampan.build.contract import Builder
from sampan.cluster.node.contract import Membership
from sampan.config import DaemonConfig
from sampan.engine.contract import Engine
from sampan.engine.drivers import Drivers
from sampan.image.contract import Credentials, Described, Images, ImageUser, Reference, Snapshots
from sampan.image.distribution import Describes
from sampan.plugins.plugins import Plugins
from sampan.store.contract import Store
from sampan.store.events import EventBus
from sampan.store.records import Container


@dataclass(frozen=True, kw_only=True)
class Services:
    """One daemon. ``store``, ``config`` and ``snapshots`` are no part of ``EngineLike``: no route
    can reach them."""

    config: DaemonConfig
    store: Store
    events: EventBus
    drivers: Drivers
    engine: Engine
    images: Images
    snapshots: Snapshots
    builder: Builder
    clock: Clock
    cluster: Membership | None = None
    describes: Describes | None = None
    """Who says what an image is that need not be here; None: registries alone."""
    plugins: Plugins | None = None
    """Processes of others that stand behind drivers; None: there are none."""
    tasks: Tasks = field(default_factory=Tasks)

    @cached_property
    def system(self) -> System:
        return HostSystem(self)

    def image_user(self, image_id: str) -> ImageUser | None:
        return self.engine.image_user(image_id) or self.builder.image_user(image_id)

    async def describe(self, reference: Reference, auth: Credentials | None) -> Described:
        return await (self.describes or self.images).describe(reference, auth)


@dataclass(frozen=True)
class HostSystem:
    """``System`` of this host."""

    services: Services

    @property
    def storage_driver(self) -> str:
        return self.services.snapshots.driver

    def network_scope(self, driver: str) -> Literal["local", "swarm"]:
        drivers = self.services.drivers.network
        return drivers.get(driver).capabilities.scope if driver in drivers else "local"

    def network_options(self, driver: str) -> frozenset[str] | None:
        drivers = self.services.drivers.network
        return drivers.get(driver).capabilities.options if driver in drivers else None

    @property
    def scratch(self) -> Path:
        return self.services.config.paths.tmp

    @property
    def plugin_sockets(self) -> Path:
        return self.services.config.plugins.sockets

    async def info(self) -> Info:
        services = self.services
        return await host_info(
            services.config, services.drivers, services, copy_of(services.cluster)
        )

    def host_side(self, container: Container) -> HostSide:
        config = self.services.config
        return HostSide(
            storage_driver=self.storage_driver,
            directory=config.paths.container(container.id),
            sandbox=config.paths.netns / container.id,
            log_path=str(self.services.engine.log_path(container.id) or ""),
            default_runtime=config.default_runtime,
            default_shm_bytes=config.default_shm_bytes,
        )

    async def durable(self) -> None:
        await self.services.store.durable()


def as_engine(services: Services) -> EngineLike:
    """``services``, checked to be an ``EngineLike``."""
    return services
