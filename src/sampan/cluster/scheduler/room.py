"""What a node has left: read off the tasks anew for each pass, then counted on as tasks are placed.

Two counts differ on purpose. *Reserved* things (memory, processors, host ports, devices) are held
until the end of a task has been seen. *Load*, by which nodes are ranked, counts only tasks that are
meant to go on: those about to stop are no reason to avoid a node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from sampan.cluster.model import State
from sampan.cluster.records import Node, Task
from sampan.cluster.spec import (
    DiscreteGenericResource,
    GenericResource,
    NamedGenericResource,
    PortConfig,
    Resources,
    TaskSpec,
)
from sampan.cluster.states import TaskState

NOTHING = Resources()
HostPort = tuple[str, int]


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


def generic_wanted(resources: Resources) -> Counter[str]:
    """Kind -> how many."""
    wanted: Counter[str] = Counter()
    for one in resources.generic_resources:
        if one.discrete_resource_spec is not None:
            wanted[one.discrete_resource_spec.kind] += one.discrete_resource_spec.value
        elif one.named_resource_spec is not None:
            wanted[one.named_resource_spec.kind] += 1
    return wanted


@dataclass(slots=True)
class Room:
    """A node and what is left on it."""

    node: Node
    nano_cpus: int
    memory: int
    discrete: Counter[str]
    named: dict[str, list[str]]
    ports: set[HostPort] = field(default_factory=set)
    load: int = 0
    by_service: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, node: Node, tasks: Iterable[Task]) -> Room:
        resources = node.description.resources
        discrete: Counter[str] = Counter()
        named: dict[str, list[str]] = {}
        for one in resources.generic_resources:
            if one.discrete_resource_spec is not None:
                discrete[one.discrete_resource_spec.kind] += one.discrete_resource_spec.value
            elif one.named_resource_spec is not None:
                named.setdefault(one.named_resource_spec.kind, []).append(
                    one.named_resource_spec.value
                )
        room = cls(node, resources.nano_cpus, resources.memory_bytes, discrete, named)
        for task in tasks:
            state = task.status.state
            # a task that is bound to its node but has not been confirmed there holds nothing yet
            # (one that only stands for a container of somebody's is no load of ours)
            by_hand = task.spec.network_attachment_spec is not None
            if TaskState.ASSIGNED <= state <= TaskState.RUNNING and not by_hand:
                room._hold(task)
        return room

    def _hold(self, task: Task) -> None:
        wanted = reserved(task.spec)
        self.nano_cpus -= wanted.nano_cpus
        self.memory -= wanted.memory_bytes
        for one in task.generic_resources:
            if one.discrete_resource_spec is not None:
                self.discrete[one.discrete_resource_spec.kind] -= one.discrete_resource_spec.value
            elif (spec := one.named_resource_spec) is not None:
                free = self.named.get(spec.kind, [])
                if spec.value in free:
                    free.remove(spec.value)
        self.ports |= host_ports(task.endpoint.ports)
        if task.desired <= TaskState.RUNNING:
            self.load += 1
            self.by_service[task.service_id] += 1

    def free_of(self, kind: str) -> int:
        return self.discrete[kind] + len(self.named.get(kind, ()))

    def place(self, task: Task) -> tuple[GenericResource, ...]:
        """Count ``task`` in; returns the generic resources that it is given. That it fits has been
        tested."""
        wanted = reserved(task.spec)
        self.nano_cpus -= wanted.nano_cpus
        self.memory -= wanted.memory_bytes
        given: list[GenericResource] = []
        for kind, count in generic_wanted(wanted).items():
            names = self.named.get(kind, [])
            for name in names[:count]:
                given.append(
                    GenericResource(named_resource_spec=NamedGenericResource(kind=kind, value=name))
                )
            rest = count - min(count, len(names))
            del names[:count]
            if rest:
                self.discrete[kind] -= rest
                given.append(
                    GenericResource(
                        discrete_resource_spec=DiscreteGenericResource(kind=kind, value=rest)
                    )
                )
        self.ports |= host_ports(task.endpoint.ports)
        self.load += 1
        self.by_service[task.service_id] += 1
        return tuple(given)


def rooms_of(state: State) -> dict[str, Room]:
    """By node id."""
    return {
        node.id: Room.of(node, state.tasks_on(node.id).values()) for node in state.nodes.values()
    }
