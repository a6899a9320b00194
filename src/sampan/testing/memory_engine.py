"""An engine in memory behind Docker's routes: the real lifecycle on a host of fakes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from sampan.aio import SystemClock
from sampan.api.services import Services
from sampan.build.builder import open_builder
from sampan.cluster.node.contract import Membership
from sampan.testing.world import World


@asynccontextmanager
async def memory_engine(
    base: Path, *, cluster: Membership | None = None
) -> AsyncIterator[tuple[Services, World]]:
    """What ``docker_front`` takes, and the host of fakes behind it."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        world = World(base)
        await world.boot()
        stack.push_async_callback(world.stop)
        builder = await stack.enter_async_context(
            open_builder(
                world.config,
                store=world.store,
                images=world.images,
                snapshots=world.snapshots,
                runs=world.runs,
                networks=world.networks,
                clock=clock,
            )
        )
        services = Services(
            config=world.config,
            store=world.store,
            events=world.events,
            drivers=world.drivers,
            engine=world.engine,
            images=world.images,
            snapshots=world.snapshots,
            builder=builder,
            clock=clock,
            cluster=cluster,
        )
        stack.push_async_callback(services.tasks.close)
        yield services, world
