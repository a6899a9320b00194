"""The daemon's parts, put together once; torn down in reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from sampan.aio import Clock, SystemClock
from sampan.api.builtin_drivers import builtin_drivers, check_defaults
from sampan.api.membership import membership
from sampan.api.services import Services
from sampan.build.builder import open_builder
from sampan.cluster.agent.attachments import ClusterAttachments
from sampan.cluster.images.images import ClusterImages
from sampan.config import DaemonConfig
from sampan.engine.engine import open_engine
from sampan.image import open_images
from sampan.kernel.linux import HOST
from sampan.network.networks import open_networks
from sampan.plugins.plugins import Plugins
from sampan.plugins.resolvers import add_plugins
from sampan.runtime.logs import LogFiles
from sampan.runtime.runs import open_runs
from sampan.store.database import open_store
from sampan.store.events import EventBus
from sampan.volume.volumes import DriverVolumes


@asynccontextmanager
async def open_services(
    config: DaemonConfig, clock: Clock | None = None
) -> AsyncIterator[Services]:
    """Open everything from the store upwards. What ran before goes on running, and is found."""
    clock = clock or SystemClock()
    paths = config.paths
    paths.root.mkdir(parents=True, exist_ok=True, mode=0o710)
    paths.state.mkdir(parents=True, exist_ok=True, mode=0o711)
    events = EventBus()
    async with AsyncExitStack() as stack:
        store = open_store(paths.database)
        stack.callback(store.close)
        plugins = Plugins(config.plugins, clock)
        stack.push_async_callback(plugins.close)
        images = await stack.enter_async_context(open_images(config, store, clock))
        drivers = builtin_drivers(config, store)
        add_plugins(
            plugins,
            clock,
            paths.state / "plugins",
            log=drivers.log,
            volume=drivers.volume,
            network=drivers.network,
            ipam=drivers.ipam,
        )
        await check_defaults(drivers, plugins, config)
        volumes = DriverVolumes(drivers.volume, store, clock)
        stack.push_async_callback(volumes.close)
        runs = await stack.enter_async_context(open_runs(config, clock, drivers.runtime))
        networks = await stack.enter_async_context(
            open_networks(config, clock, HOST, drivers.network, drivers.ipam)
        )
        attachments = ClusterAttachments(clock)
        engine = await stack.enter_async_context(
            open_engine(
                config,
                store=store,
                events=events,
                drivers=drivers,
                images=images.images,
                snapshots=images.snapshots,
                runs=runs,
                logs=LogFiles(),
                networks=networks,
                volumes=volumes,
                cluster=attachments,
                clock=clock,
            )
        )
        builder = await stack.enter_async_context(
            open_builder(
                config,
                store=store,
                images=images.images,
                snapshots=images.snapshots,
                runs=runs,
                networks=networks,
                clock=clock,
            )
        )
        cluster_images = ClusterImages(images.peer_blobs, clock)
        cluster = await stack.enter_async_context(
            membership(
                config,
                engine=engine,
                overlay=networks.overlay,
                images=cluster_images,
                attachments=attachments,
                linux=HOST,
                durable=store.durable,
                drivers=drivers,
                clock=clock,
            )
        )
        services = Services(
            config=config,
            store=store,
            events=events,
            drivers=drivers,
            engine=engine,
            images=images.images,
            snapshots=images.snapshots,
            builder=builder,
            cluster=cluster,
            describes=cluster_images,
            plugins=plugins,
            clock=clock,
        )
        # Requests that outlive their client end before the parts they stand on.
        stack.push_async_callback(services.tasks.close)
        yield services
