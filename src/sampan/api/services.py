"""What the routers stand on: the parts of the daemon, handed to every call."""

from __future__ import annotations

from dataclasses import dataclass, field

from sampan.aio import Clock, Tasks
from sampan.build.contract import Builder
from sampan.cluster.node.contract import Membership
from sampan.config import DaemonConfig
from sampan.engine.contract import Engine
from sampan.engine.drivers import Drivers
from sampan.image.contract import Images, Snapshots
from sampan.image.distribution import Describes
from sampan.plugins.plugins import Plugins
from sampan.store.contract import Store
from sampan.store.events import EventBus
from sampan.volume.contract import Volumes


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """One daemon, as its API sees it."""

    config: DaemonConfig
    store: Store
    events: EventBus
    drivers: Drivers
    engine: Engine
    images: Images
    snapshots: Snapshots
    volumes: Volumes
    builder: Builder
    clock: Clock
    started_at: float
    """Seconds since the epoch."""
    cluster: Membership | None = None
    """None: this daemon can be in no cluster."""
    describes: Describes | None = None
    """Who says what an image is that need not be here; None: registries alone."""
    plugins: Plugins | None = None
    """Processes of others that stand behind drivers; None: there are none."""
    tasks: Tasks = field(default_factory=Tasks)
    """Requests that go on to their end when their client has hung up."""
