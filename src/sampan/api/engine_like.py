"""What Docker's routes ask for: an engine, or something that behaves like one.

Routes are written against ``EngineLike`` and reach through to nothing else: no store, no
configuration, no directory. ``sampan.api.services.Services`` is this host's engine. A front over
many engines is another implementation, with the same routes: ``sampan.testing.many_engines`` has a
small one.

The parts are the contracts that the rest of the package has, too (``Engine``, ``Images``,
``Builder``, ``Membership``); only what is told of the host as a whole is said here. Records are
those of ``sampan.store.records``, whoever keeps them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

from sampan.aio import Clock, Tasks
from sampan.api.translate.container import HostSide
from sampan.api.types.system import Info
from sampan.build.contract import Builder
from sampan.cluster.node.contract import Membership
from sampan.engine.contract import Engine
from sampan.image.contract import Credentials, Described, Images, ImageUser, Reference
from sampan.store.events import EventBus
from sampan.store.records import Container


class System(Protocol):
    """The host, or the hosts, as a whole."""

    @property
    def storage_driver(self) -> str:
        """Of images: ``overlay2``."""
        ...

    def network_scope(self, driver: str) -> Literal["local", "swarm"]:
        """Who makes networks of this driver. One that is not known yet, as a plugin that nobody
        has named, makes networks of a host."""
        ...

    def network_options(self, driver: str) -> frozenset[str] | None:
        """The names of the options that take effect on networks of this driver; None: whether one
        does is between the user and the driver."""
        ...

    @property
    def scratch(self) -> Path:
        """Where a build's context may be unpacked: a directory that is emptied at start."""
        ...

    @property
    def plugin_sockets(self) -> Path:
        """Where plugins of the first kind put their sockets."""
        ...

    async def info(self) -> Info:
        """``docker info``."""
        ...

    def host_side(self, container: Container) -> HostSide:
        """What ``inspect`` shows of a container that its record does not say."""
        ...

    async def durable(self) -> None:
        """Wait until every change so far survives a power cut.

        Raises:
            sampan.store.contract.StoreFailed: it may or may not.
        """
        ...


class EngineLike(Protocol):
    """Everything behind one Docker API."""

    @property
    def system(self) -> System: ...

    @property
    def engine(self) -> Engine:
        """Containers, execs, networks and volumes."""
        ...

    @property
    def images(self) -> Images: ...

    @property
    def builder(self) -> Builder: ...

    @property
    def cluster(self) -> Membership | None:
        """None: this daemon can be in no cluster."""
        ...

    @property
    def events(self) -> EventBus: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def tasks(self) -> Tasks:
        """Requests that go on to their end when their client has hung up."""
        ...

    def image_user(self, image_id: str) -> ImageUser | None:
        """Who needs an image: a container or a build. ``Images.remove`` asks it."""
        ...

    async def describe(self, reference: Reference, auth: Credentials | None) -> Described:
        """What an image is that need not be here.

        Raises:
            NotFound (also when access is denied), RegistryFailed
        """
        ...
