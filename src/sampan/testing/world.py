"""A host of fakes for tests of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

from sampan.aio import Tasks
from sampan.api.builtin_drivers import builtin_drivers
from sampan.config import DaemonConfig, Paths
from sampan.engine.contract import CreateRequest
from sampan.engine.drivers import Drivers
from sampan.engine.engine import HostEngine, open_engine
from sampan.feeds import BoundedFeed
from sampan.runtime.logs import LogFiles
from sampan.store.events import Event, EventBus
from sampan.store.records import Container, ContainerSpec, EndpointSettings, HostConfig
from sampan.testing.clock import FakeClock
from sampan.testing.cluster_networks import FakeClusterNetworks
from sampan.testing.images import FakeImages, FakeSnapshots
from sampan.testing.networks import FakeNetworks, register_network_drivers
from sampan.testing.runs import FakeProcess, FakeRuns
from sampan.testing.store import MemoryStore
from sampan.volume.volumes import DriverVolumes

T = TypeVar("T")


async def _forever(process: FakeProcess) -> int:
    await process.done.wait()
    return 0


class World:
    """A host of fakes, on which one daemon after the other may run."""

    def __init__(self, tmp: Path) -> None:
        self.config = DaemonConfig(paths=Paths(tmp / "root", tmp / "state"))
        self.clock = FakeClock()
        self.tasks = Tasks()
        self.store = MemoryStore()
        self.runs = FakeRuns(self.clock)
        self.runs.programs["forever"] = _forever
        self.images = FakeImages(self.store)
        self.snapshots = FakeSnapshots(tmp / "snapshots")
        self.snapshots.accept_any = True
        self.image = self.images.add("busybox:latest", Cmd=["sh"], Env=["PATH=/bin", "A=image"])
        self.add_drivers: list[Callable[[Drivers], None]] = []
        """Called by every daemon, as the composition root would: one line a driver."""
        self.drivers: Drivers
        self.wrap: Callable[[str, object], object] = lambda name, part: part
        self._daemon = AsyncExitStack()
        self.networks = FakeNetworks(self.config.paths.state)
        self.cluster = FakeClusterNetworks()
        self.engine: HostEngine
        self.events: EventBus
        self.feed: BoundedFeed[Event]

    async def boot(self) -> HostEngine:
        """A new daemon on what the last one left."""
        self.events = EventBus()
        self.feed = self.events.feed()
        self.drivers = builtin_drivers(self.config, self.store)
        register_network_drivers(self.drivers.network)
        for add in self.add_drivers:
            add(self.drivers)
        # A daemon's account of addresses is its own; the world it finds is not.
        self.networks = FakeNetworks(self.config.paths.state)
        parts = {
            "images": self.images,
            "snapshots": self.snapshots,
            "runs": self.runs,
            "networks": self.networks,
            "volumes": DriverVolumes(self.drivers.volume, self.store, self.clock),
            "store": self.store,
        }
        wrapped = {name: self.wrap(name, part) for name, part in parts.items()}
        self.engine = await self._daemon.enter_async_context(
            open_engine(
                self.config,
                events=self.events,
                drivers=self.drivers,
                logs=LogFiles(),
                clock=self.clock,
                cluster=self.cluster,
                **wrapped,  # type: ignore[arg-type]
            )
        )
        self.cluster.engine = self.engine
        return self.engine

    async def crash(self) -> None:
        """``kill -9``: every task stops where it is, nothing is said to anybody."""
        await self.engine.in_flight.tasks.close()
        self._daemon.pop_all()

    async def stop(self) -> None:
        await self._daemon.aclose()

    async def create(self, *cmd: str, name: str = "boat", **kwargs: object) -> Container:
        networks: dict[str, EndpointSettings] = kwargs.pop("networks", {})  # type: ignore[assignment]
        created = await self.engine.create(
            self.request(*cmd, name=name, networks=networks, **kwargs)
        )
        return self.engine.get(created.id)

    def request(
        self,
        *cmd: str,
        name: str = "boat",
        networks: dict[str, EndpointSettings] | None = None,
        **kwargs: object,
    ) -> CreateRequest:
        fields = {k: kwargs.pop(k) for k in list(kwargs) if k in ContainerSpec.__struct_fields__}
        spec = ContainerSpec(
            image="busybox",
            args=(),
            cmd=cmd or None,
            host=HostConfig(**kwargs),  # type: ignore[arg-type]
            **fields,  # type: ignore[arg-type]
        )
        return CreateRequest(spec=spec, name=name, networks=networks or {})

    async def run(self, *cmd: str, name: str = "boat", **kwargs: object) -> Container:
        container = await self.create(*cmd, name=name, **kwargs)
        await self.engine.start(container.id)
        return self.engine.get(container.id)

    async def until(self, condition: Callable[[], object], deadline_s: float = 10.0) -> None:
        """Wait until ``condition()`` is true: threads take real time, whatever the clock says."""
        async with asyncio.timeout(deadline_s):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    async def still(self) -> None:
        """Wait until no container has a process or a lock."""
        await self.until(
            lambda: not self.engine.in_flight.runs and self.engine.in_flight.locks.idle
        )

    def seen(self) -> list[Event]:
        """Events since the last look."""
        found = list(self.feed._queue)
        self.feed._queue.clear()
        return found

    def spawn(self, coro: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Something that goes on while the test does."""
        return self.tasks.spawn(coro, name="test")

    def actions(self, kind: str = "container") -> list[str]:
        return [event.action for event in self.seen() if event.type == kind]
