"""What wants a node: all that the scheduler knows of a task, and would know of a container."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from sampan.cluster.records import ClusterNetwork, Task
from sampan.cluster.spec import Placement, PortConfig, Resources, TaskSpec

NOTHING = Resources()
ANYWHERE = Placement()

HostPort = tuple[str, int]
"""Protocol and port of the host itself."""
Driver = tuple[Literal["Volume", "Network", "Log"], str]
"""Kind and name, as a node's description tells its drivers."""


class Wanted(Protocol):
    """Something that runs on a node and has to be given one."""

    @property
    def id(self) -> str: ...

    @property
    def alike(self) -> Hashable:
        """Those that are equal in this are equal in everything below but ``node_id``: the filters
        look at a node once for all of them."""
        ...

    @property
    def node_id(self) -> str:
        """The node that it has to run on; empty: any that fits."""
        ...

    @property
    def affinity(self) -> str:
        """What it is one of: a service. Counted on each node."""
        ...

    @property
    def reservations(self) -> Resources: ...

    @property
    def ports(self) -> frozenset[HostPort]:
        """Of the host itself, asked for by number."""
        ...

    @property
    def placement(self) -> Placement:
        """Constraints, platforms, preferences, how many on a node."""
        ...

    @property
    def drivers(self) -> frozenset[Driver]:
        """Of its volumes, networks and log: the node must have them."""
        ...


@dataclass(frozen=True, slots=True)
class WantedTask:
    """``Wanted``. A task that waits for its node."""

    task: Task
    networks: Mapping[str, ClusterNetwork]

    @property
    def id(self) -> str:
        return self.task.id

    @property
    def alike(self) -> Hashable:
        return self.task.service_id, self.task.spec_version

    @property
    def node_id(self) -> str:
        return self.task.node_id

    @property
    def affinity(self) -> str:
        return self.task.service_id

    @property
    def reservations(self) -> Resources:
        return reserved(self.task.spec)

    @property
    def ports(self) -> frozenset[HostPort]:
        return host_ports(self.task.endpoint.ports)

    @property
    def placement(self) -> Placement:
        return self.task.spec.placement or ANYWHERE

    @property
    def drivers(self) -> frozenset[Driver]:
        wanted: set[Driver] = {
            ("Network", network.spec.driver)
            for place in self.task.attachments
            if (network := self.networks.get(place.network_id)) is not None
        }
        container = self.task.spec.container_spec
        for mount in container.mounts if container else ():
            options = mount.volume_options
            if mount.type == "volume" and options is not None and options.driver_config is not None:
                wanted.add(("Volume", options.driver_config.name))
        if self.task.spec.log_driver is not None:
            wanted.add(("Log", self.task.spec.log_driver.name))
        return frozenset((kind, name) for kind, name in wanted if name)


def reserved(spec: TaskSpec) -> Resources:
    resources = spec.resources
    return (resources.reservations if resources else None) or NOTHING


def host_ports(ports: Iterable[PortConfig]) -> frozenset[HostPort]:
    """The ports of the host itself that were asked for by number."""
    return frozenset(
        (port.protocol or "tcp", port.published_port)
        for port in ports
        if port.publish_mode == "host" and port.published_port
    )
