"""What a node must have to be considered, in the order in which it is asked.

A filter is three things: *bind* looks at what is wanted and returns the test of a node, or None
when that does not ask for what it checks; *explain* says to the user how many nodes it refused, in
Docker's words. Filters keep nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from sampan.cluster.placement import architecture, bound
from sampan.cluster.scheduler.node_index import NodeInfo, generic_wanted
from sampan.cluster.scheduler.wanted import Wanted

Test = Callable[[NodeInfo], bool]


class Filter(Protocol):
    def bind(self, wanted: Wanted) -> Test | None: ...

    def explain(self, nodes: int) -> str: ...


def _nodes(nodes: int) -> str:
    return "1 node" if nodes == 1 else f"{nodes} nodes"


class Ready:
    """The node is there, and takes new tasks."""

    def bind(self, wanted: Wanted) -> Test | None:
        return lambda info: info.takes_more

    def explain(self, nodes: int) -> str:
        return f"{_nodes(nodes)} not available for new tasks"


class Enough:
    """What the task reserves is free."""

    def bind(self, wanted: Wanted) -> Test | None:
        asked = wanted.reservations
        generic = generic_wanted(asked)
        if not (asked.nano_cpus or asked.memory_bytes or generic):
            return None
        return lambda info: (
            asked.nano_cpus <= info.nano_cpus
            and asked.memory_bytes <= info.memory
            and all(count <= info.free_of(kind) for kind, count in generic.items())
        )

    def explain(self, nodes: int) -> str:
        return f"insufficient resources on {_nodes(nodes)}"


class Plugins:
    """Volume, network and log drivers, where the node tells which of a kind it has."""

    def bind(self, wanted: Wanted) -> Test | None:
        drivers = frozenset((kind, name.removesuffix(":latest")) for kind, name in wanted.drivers)
        if not drivers:
            return None

        return lambda info: all(
            (kind, name) in info.drivers or kind not in info.driver_kinds for kind, name in drivers
        )

    def explain(self, nodes: int) -> str:
        return f"missing plugin on {_nodes(nodes)}"


class Constraints:
    def bind(self, wanted: Wanted) -> Test | None:
        if not wanted.placement.constraints:
            return None
        holds = bound(wanted.placement.constraints)
        return (lambda _: False) if holds is None else lambda info: holds(info.node)

    def explain(self, nodes: int) -> str:
        return f"scheduling constraints not satisfied on {_nodes(nodes)}"


class Platforms:
    """The image has been built for the node's machine."""

    def bind(self, wanted: Wanted) -> Test | None:
        platforms = wanted.placement.platforms
        if not platforms:
            return None
        built = {(p.os.lower(), architecture(p.architecture)) for p in platforms}

        def runs(info: NodeInfo) -> bool:
            platform = info.node.description.platform
            mine = (platform.os.lower(), architecture(platform.architecture))
            return any(os in ("", mine[0]) and machine in ("", mine[1]) for os, machine in built)

        return runs

    def explain(self, nodes: int) -> str:
        return f"unsupported platform on {_nodes(nodes)}"


class HostPorts:
    def bind(self, wanted: Wanted) -> Test | None:
        ports = wanted.ports
        if not ports:
            return None
        return lambda info: ports.isdisjoint(info.ports)

    def explain(self, nodes: int) -> str:
        return f"host-mode port already in use on {_nodes(nodes)}"


class MaxReplicas:
    def bind(self, wanted: Wanted) -> Test | None:
        most, affinity = wanted.placement.max_replicas, wanted.affinity
        if not most:
            return None
        return lambda info: info.by_affinity.get(affinity, 0) < most

    def explain(self, nodes: int) -> str:
        return "max replicas per node limit exceed"


def standard() -> tuple[Filter, ...]:
    """What a task of a service has to pass, in the order in which it is told to the user."""
    return (
        Ready(),
        Enough(),
        Plugins(),
        Constraints(),
        Platforms(),
        HostPorts(),
        MaxReplicas(),
    )


class Bound:
    """The filters that one kind of thing needs."""

    def __init__(self, filters: Sequence[Filter], wanted: Wanted) -> None:
        self._filters: list[Filter] = []
        self._tests: list[Test] = []
        for one in filters:
            test = one.bind(wanted)
            if test is not None:
                self._filters.append(one)
                self._tests.append(test)
        self._refused = [0] * len(self._tests)

    def fits(self, info: NodeInfo) -> bool:
        return all(test(info) for test in self._tests)

    def admits(self, info: NodeInfo) -> bool:
        """``fits``, and a refusal is remembered for ``explain``."""
        for test in self._tests:
            if not test(info):
                self._refused[self._tests.index(test)] += 1
                return False
        return True

    def explain(self) -> str:
        """Which filter has refused how many nodes; the most frequent first."""
        # stable: of filters that refused as many, the earlier one first
        order = sorted(range(len(self._refused)), key=lambda number: -self._refused[number])
        return "; ".join(
            self._filters[number].explain(self._refused[number])
            for number in order
            if self._refused[number]
        )
