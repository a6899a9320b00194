"""Events in Docker's words, with the attributes that its clients filter by."""

from __future__ import annotations

from sampan.store.events import Event, EventBus
from sampan.store.records import Container, Network, Volume


class EventEmitter:
    """Publishes what happened to containers, networks and volumes."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    def container(self, action: str, container: Container, **extra: str) -> None:
        """Attributes: the labels, image and name, then ``extra``."""
        attributes = {
            **container.spec.labels,
            "image": container.spec.image,
            "name": container.name,
            **extra,
        }
        self._bus.publish(Event("container", action, container.id, attributes))

    def network(self, action: str, network: Network, container_id: str = "") -> None:
        attributes = {"name": network.name, "type": network.driver}
        if container_id:
            attributes["container"] = container_id
        self._bus.publish(Event("network", action, network.id, attributes))

    def volume(self, action: str, volume: Volume, **extra: str) -> None:
        self._bus.publish(Event("volume", action, volume.name, {"driver": volume.driver, **extra}))
