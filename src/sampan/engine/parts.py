"""What the engine is composed of. Everything that touches the world is passed in here."""

from __future__ import annotations

from dataclasses import dataclass

from sampan.aio import Clock
from sampan.config import DaemonConfig
from sampan.engine.cluster_networks import ClusterNetworks
from sampan.engine.drivers import Drivers
from sampan.image.contract import Images, Snapshots
from sampan.network.contract import Networks
from sampan.runtime.contract import LogReader, Runs
from sampan.store.contract import Store
from sampan.store.events import EventBus
from sampan.volume.contract import Volumes


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The engine's dependencies, each by its contract."""

    config: DaemonConfig
    store: Store
    events: EventBus
    drivers: Drivers
    images: Images
    snapshots: Snapshots
    runs: Runs
    logs: LogReader
    networks: Networks
    volumes: Volumes
    cluster: ClusterNetworks
    clock: Clock
