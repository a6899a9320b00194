"""Several engines behind one Docker API, as standalone Swarm has them: a small example.

A container of engine ``one`` that is called ``web`` is ``one/web`` here. New ones go to the engine
with the fewest; networks, volumes and images are looked for everywhere and made where they are
needed. Nothing of Docker's routes is written again: this is another ``EngineLike``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from sampan.aio import Clock, Tasks
from sampan.api.engine_like import EngineLike, System
from sampan.api.translate.container import HostSide
from sampan.api.types.system import Info
from sampan.build.contract import Builder
from sampan.image.contract import (
    Credentials,
    Described,
    ImageUser,
    Reference,
)
from sampan.store.events import Event, EventBus
from sampan.store.records import (
    Container,
)
from sampan.testing.many_containers import ManyContainers
from sampan.testing.many_images import ManyImages


class ManySystems:
    """``System`` over many: ``info`` lists the nodes, as standalone Swarm's does."""

    def __init__(self, nodes: Mapping[str, EngineLike], containers: ManyContainers) -> None:
        self.nodes = nodes
        self._containers = containers

    @property
    def _first(self) -> System:
        return next(iter(self.nodes.values())).system

    @property
    def storage_driver(self) -> str:
        return self._first.storage_driver

    def network_scope(self, driver: str) -> Literal["local", "swarm"]:
        return self._first.network_scope(driver)

    def network_options(self, driver: str) -> frozenset[str] | None:
        return self._first.network_options(driver)

    @property
    def scratch(self) -> Path:
        return self._first.scratch

    @property
    def plugin_sockets(self) -> Path:
        return self._first.plugin_sockets

    async def info(self) -> Info:
        told = {node: await engine.system.info() for node, engine in self.nodes.items()}
        whole = next(iter(told.values()))
        whole.name = "many"
        whole.containers = sum(one.containers for one in told.values())
        whole.containers_running = sum(one.containers_running for one in told.values())
        whole.containers_paused = sum(one.containers_paused for one in told.values())
        whole.containers_stopped = sum(one.containers_stopped for one in told.values())
        whole.n_cpu = sum(one.n_cpu for one in told.values())
        whole.mem_total = sum(one.mem_total for one in told.values())
        whole.driver_status = [
            ("Nodes", str(len(told))),
            *((f" {node}", f"{one.containers} containers") for node, one in told.items()),
        ]
        return whole

    def host_side(self, container: Container) -> HostSide:
        node = container.name.partition("/")[0]
        return self.nodes[node].system.host_side(container)

    async def durable(self) -> None:
        for engine in self.nodes.values():
            await engine.system.durable()


class ManyEngines:
    """``EngineLike`` over many. Run ``follow`` for its events, one task a node."""

    cluster = None

    def __init__(self, nodes: Mapping[str, EngineLike], clock: Clock) -> None:
        self.nodes = nodes
        self.clock = clock
        self.events = EventBus()
        self.tasks = Tasks()
        self.engine = ManyContainers({n: one.engine for n, one in nodes.items()}, self.events)
        self.images = ManyImages({n: one.images for n, one in nodes.items()})
        self.system = ManySystems(nodes, self.engine)

    @property
    def builder(self) -> Builder:
        return next(iter(self.nodes.values())).builder

    def image_user(self, image_id: str) -> ImageUser | None:
        found = [engine.image_user(image_id) for engine in self.nodes.values()]
        return next((one for one in found if one is not None), None)

    async def describe(self, reference: Reference, auth: Credentials | None) -> Described:
        return await self.images.describe(reference, auth)

    async def follow(self, node: str) -> None:
        """Pass on a node's events, with names as they are here. Ends when it is cancelled."""
        with self.nodes[node].events.feed() as feed:
            async for event in feed:
                attributes = dict(event.attributes)
                if event.type == "container" and "name" in attributes:
                    attributes["name"] = f"{node}/{attributes['name']}"
                attributes["node.name"] = node
                self.events.publish(
                    Event(event.type, event.action, event.actor_id, attributes, event.time_ns)
                )


def as_engine(many: ManyEngines) -> EngineLike:
    """``many``, checked to be an ``EngineLike``."""
    return many
