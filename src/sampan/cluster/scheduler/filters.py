"""What a node must have to be considered, in the order in which it is asked.

A filter is three things: *bind* looks at the task and returns the test of a node, or None when the
task does not ask for what it checks; *explain* says to the user how many nodes it refused, in
Docker's words. Filters keep nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from sampan.cluster.placement import architecture, fulfils
from sampan.cluster.records import Task
from sampan.cluster.scheduler.room import Room, generic_wanted, host_ports, reserved

Test = Callable[[Room], bool]


class Filter(Protocol):
    def bind(self, task: Task, drivers: Sequence[str]) -> Test | None:
        """``drivers``: of the networks that the task is on."""
        ...

    def explain(self, nodes: int) -> str: ...


def _nodes(nodes: int) -> str:
    return "1 node" if nodes == 1 else f"{nodes} nodes"


class Ready:
    """The node is there, and takes new tasks."""

    def bind(self, task: Task, drivers: Sequence[str]) -> Test | None:
        return lambda room: (
            room.node.status.state == "ready" and room.node.spec.availability == "active"
        )

    def explain(self, nodes: int) -> str:
        return f"{_nodes(nodes)} not available for new tasks"


class Enough:
    """What the task reserves is free."""

    def bind(self, task: Task, drivers: Sequence[str]) -> Test | None:
        wanted = reserved(task.spec)
        generic = generic_wanted(wanted)
        if not (wanted.nano_cpus or wanted.memory_bytes or generic):
            return None
        return lambda room: (
            wanted.nano_cpus <= room.nano_cpus
            and wanted.memory_bytes <= room.memory
            and all(count <= room.free_of(kind) for kind, count in generic.items())
        )

    def explain(self, nodes: int) -> str:
        return f"insufficient resources on {_nodes(nodes)}"


class Plugins:
    """Volume, network and log drivers, where the node says which it has."""

    BUILT_IN = frozenset(
        ("", "local", "overlay", "bridge", "host", "null", "none", "json-file", "journald")
    )

    def bind(self, task: Task, drivers: Sequence[str]) -> Test | None:
        wanted: set[tuple[str, str]] = {("Network", driver) for driver in drivers}
        container = task.spec.container_spec
        for mount in container.mounts if container else ():
            options = mount.volume_options
            if mount.type == "volume" and options is not None and options.driver_config is not None:
                wanted.add(("Volume", options.driver_config.name))
        if task.spec.log_driver is not None:
            wanted.add(("Log", task.spec.log_driver.name))
        wanted = {(kind, name) for kind, name in wanted if name not in self.BUILT_IN}
        if not wanted:
            return None

        def has(room: Room) -> bool:
            plugins = room.node.description.plugins
            told = {plugin.type for plugin in plugins}
            there = {(plugin.type, plugin.name.removesuffix(":latest")) for plugin in plugins}
            return all(
                kind not in told or (kind, name.removesuffix(":latest")) in there
                for kind, name in wanted
            )

        return has

    def explain(self, nodes: int) -> str:
        return f"missing plugin on {_nodes(nodes)}"


class Constraints:
    def bind(self, task: Task, drivers: Sequence[str]) -> Test | None:
        placement = task.spec.placement
        if placement is None or not placement.constraints:
            return None
        return lambda room: fulfils(room.node, placement)

    def explain(self, nodes: int) -> str:
        return f"scheduling constraints not satisfied on {_nodes(nodes)}"


class Platforms:
    """The image has been built for the node's machine."""

    def bind(self, task: Task, drivers: Sequence[str]) -> Test | None:
        placement = task.spec.placement
        if placement is None or not placement.platforms:
            return None
        wanted = {(p.os.lower(), architecture(p.architecture)) for p in placement.platforms}

        def runs(room: Room) -> bool:
            platform = room.node.description.platform
            mine = (platform.os.lower(), architecture(platform.architecture))
            return any(os in ("", mine[0]) and machine in ("", mine[1]) for os, machine in wanted)

        return runs

    def explain(self, nodes: int) -> str:
        return f"unsupported platform on {_nodes(nodes)}"


class HostPorts:
    def bind(self, task: Task, drivers: Sequence[str]) -> Test | None:
        wanted = host_ports(task.endpoint.ports)
        if not wanted:
            return None
        return lambda room: not (wanted & room.ports)

    def explain(self, nodes: int) -> str:
        return f"host-mode port already in use on {_nodes(nodes)}"


class MaxReplicas:
    def bind(self, task: Task, drivers: Sequence[str]) -> Test | None:
        placement = task.spec.placement
        if placement is None or not placement.max_replicas:
            return None
        most, service = placement.max_replicas, task.service_id
        return lambda room: room.by_service[service] < most

    def explain(self, nodes: int) -> str:
        return "max replicas per node limit exceed"


FILTERS: tuple[Filter, ...] = (
    Ready(),
    Enough(),
    Plugins(),
    Constraints(),
    Platforms(),
    HostPorts(),
    MaxReplicas(),
)


class Bound:
    """The filters that one kind of task needs, and how often each refused."""

    def __init__(self, task: Task, drivers: Sequence[str]) -> None:
        self._tests = [
            (one, test) for one in FILTERS if (test := one.bind(task, drivers)) is not None
        ]

    def fits(self, room: Room) -> bool:
        return all(test(room) for _, test in self._tests)

    def explain(self, rooms: Sequence[Room]) -> str:
        """Which filter refused how many of ``rooms``; the most frequent first."""
        refused = [0] * len(self._tests)
        for room in rooms:
            for number, (_, test) in enumerate(self._tests):
                if not test(room):
                    refused[number] += 1
                    break
        # stable: of filters that refused as many, the earlier one first
        order = sorted(range(len(refused)), key=lambda number: -refused[number])
        return "; ".join(
            self._tests[number][0].explain(refused[number]) for number in order if refused[number]
        )
