"""What every node has left, moved on by each change of a task or node.

Two counts differ on purpose. *Reserved* things (memory, processors, host ports, devices) are held
until the end of a task has been seen. *Load*, by which nodes are ranked, counts only tasks that are
meant to go on: those about to stop are no reason to avoid a node.

Whatever a task holds is a ``Hold``, read off its record; to take it away is the exact reverse of
adding it. So the index is, after any history, what it would be if it were read off the state anew.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from sampan.cluster.model import Change, State
from sampan.cluster.records import Node, Plugin, Task
from sampan.cluster.scheduler.wanted import HostPort, Wanted, host_ports, reserved
from sampan.cluster.spec import (
    DiscreteGenericResource,
    GenericResource,
    NamedGenericResource,
    Resources,
)
from sampan.cluster.states import TaskState

K = TypeVar("K")

ORDERS = 16
"""Orders of the nodes that are kept; those asked for longest ago go."""

Standing = Callable[["NodeInfo"], tuple[float, ...]]
"""How a node stands among others, whatever is to be placed; smaller is better."""
Entry = tuple[Any, ...]
"""A standing, and after it the node's id."""

_NOWHERE: Mapping[str, int] = MappingProxyType({})


class Hold(NamedTuple):
    """What one task takes of its node."""

    nano_cpus: int
    memory_bytes: int
    generic: tuple[GenericResource, ...]
    ports: frozenset[HostPort]
    affinity: str
    goes_on: bool
    """It counts as load."""


def hold_of(task: Task) -> Hold | None:
    """None: nothing. A task that is bound to its node but has not been confirmed there holds
    nothing yet, and one that only stands for a container of somebody's is no load of ours."""
    if not TaskState.ASSIGNED <= task.status.state <= TaskState.RUNNING:
        return None
    if not task.node_id or task.spec.network_attachment_spec is not None:
        return None
    wanted = reserved(task.spec)
    return Hold(
        wanted.nano_cpus,
        wanted.memory_bytes,
        task.generic_resources,
        host_ports(task.endpoint.ports),
        task.service_id,
        task.desired <= TaskState.RUNNING,
    )


def plain_hold(wanted: Wanted) -> Hold:
    """What it would hold on every node: all but devices, which are given by name."""
    resources = wanted.reservations
    return Hold(
        resources.nano_cpus,
        resources.memory_bytes,
        (),
        wanted.ports,
        wanted.affinity,
        goes_on=True,
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


class NodeInfo:
    """A node and what is held of it; ``nano_cpus`` and ``memory`` are what is left."""

    __slots__ = (
        "all_cpus",
        "all_memory",
        "by_affinity",
        "discrete_held",
        "driver_kinds",
        "drivers",
        "held_cpus",
        "held_memory",
        "holds",
        "load",
        "memory",
        "named_held",
        "nano_cpus",
        "node",
        "ports",
        "takes_more",
    )

    def __init__(self, node: Node) -> None:
        self.held_cpus = 0
        self.held_memory = 0
        self.describe(node)
        self.discrete_held: Counter[str] = Counter()
        self.named_held: Counter[tuple[str, str]] = Counter()
        self.ports: Counter[HostPort] = Counter()
        self.load = 0
        self.holds = 0
        """How many tasks hold something."""
        self.by_affinity: Counter[str] = Counter()

    def describe(self, node: Node) -> None:
        """Its record, as it is now."""
        self.node = node
        self.all_cpus = node.description.resources.nano_cpus
        self.all_memory = node.description.resources.memory_bytes
        self.nano_cpus = self.all_cpus - self.held_cpus
        self.memory = self.all_memory - self.held_memory
        self.takes_more = node.status.state == "ready" and node.spec.availability == "active"
        self.drivers, self.driver_kinds = _drivers(node.description.plugins)

    # -- what is left

    @property
    def share_held(self) -> float:
        """Of processors and memory together, 0 to 1 (more where a node has shrunk)."""
        cpus = self.held_cpus / self.all_cpus if self.all_cpus else 0.0
        memory = self.held_memory / self.all_memory if self.all_memory else 0.0
        return (cpus + memory) / 2

    def discrete(self, kind: str) -> int:
        return (
            sum(
                one.discrete_resource_spec.value
                for one in self.node.description.resources.generic_resources
                if one.discrete_resource_spec is not None
                and one.discrete_resource_spec.kind == kind
            )
            - self.discrete_held[kind]
        )

    def names(self, kind: str) -> list[str]:
        """Of the devices of this kind that nobody holds, in the order in which the node tells
        them."""
        taken = Counter({name: n for (of, name), n in self.named_held.items() if of == kind})
        free: list[str] = []
        for one in self.node.description.resources.generic_resources:
            spec = one.named_resource_spec
            if spec is None or spec.kind != kind:
                continue
            if taken[spec.value] > 0:
                taken[spec.value] -= 1
            else:
                free.append(spec.value)
        return free

    def free_of(self, kind: str) -> int:
        return self.discrete(kind) + len(self.names(kind))

    # -- taking and giving back

    def share_for(self, wanted: Wanted) -> Hold:
        """What ``wanted`` would hold here. That it fits has been tested."""
        plain = plain_hold(wanted)
        return plain._replace(generic=self._devices(wanted.reservations))

    def _devices(self, resources: Resources) -> tuple[GenericResource, ...]:
        given: list[GenericResource] = []
        for kind, count in generic_wanted(resources).items():
            names = self.names(kind)[:count]
            given += [
                GenericResource(named_resource_spec=NamedGenericResource(kind=kind, value=name))
                for name in names
            ]
            if rest := count - len(names):
                given.append(
                    GenericResource(
                        discrete_resource_spec=DiscreteGenericResource(kind=kind, value=rest)
                    )
                )
        return tuple(given)

    def change(self, hold: Hold, by: int) -> None:
        """Add ``hold`` (``by`` 1) or take it away (-1)."""
        self.holds += by
        self.held_cpus += by * hold.nano_cpus
        self.held_memory += by * hold.memory_bytes
        self.nano_cpus -= by * hold.nano_cpus
        self.memory -= by * hold.memory_bytes
        for one in hold.generic:
            if (some := one.discrete_resource_spec) is not None:
                _count(self.discrete_held, some.kind, by * some.value)
            elif (spec := one.named_resource_spec) is not None:
                _count(self.named_held, (spec.kind, spec.value), by)
        for port in hold.ports:
            _count(self.ports, port, by)
        if hold.goes_on:
            self.load += by
            _count(self.by_affinity, hold.affinity, by)

    def held(self) -> tuple[object, ...]:
        """All of it as a value: for tests that compare."""
        return (
            self.held_cpus,
            self.held_memory,
            self.nano_cpus + self.held_cpus == self.all_cpus,
            self.memory + self.held_memory == self.all_memory,
            dict(self.discrete_held),
            dict(self.named_held),
            dict(self.ports),
            self.load,
            self.holds,
            dict(self.by_affinity),
        )


@lru_cache(maxsize=256)
def _drivers(
    plugins: tuple[Plugin, ...],
) -> tuple[frozenset[tuple[str, str]], frozenset[str]]:
    """(kind, name) of each, and the kinds of which any is told. Most nodes tell the same."""
    return (
        frozenset((one.type, one.name.removesuffix(":latest")) for one in plugins),
        frozenset(one.type for one in plugins),
    )


def _count(counter: Counter[K], key: K, by: int) -> None:
    """Without leaving zeros behind: thousands of services come and go."""
    counter[key] += by
    if not counter[key]:
        del counter[key]


class Order:
    """The nodes in the order of a standing, apart by the values of some labels."""

    def __init__(self, standing: Standing, descriptors: tuple[str, ...]) -> None:
        self._standing, self._descriptors = standing, descriptors
        self.branches: dict[tuple[str, ...], list[Entry]] = {}
        self._where: dict[str, tuple[tuple[str, ...], Entry]] = {}

    def fill(self, nodes: Iterable[NodeInfo]) -> None:
        for info in nodes:
            branch, entry = self._place(info)
            self.branches.setdefault(branch, []).append(entry)
            self._where[info.node.id] = branch, entry
        for entries in self.branches.values():
            entries.sort()

    def move(self, info: NodeInfo) -> None:
        """It is new, or stands otherwise now."""
        place = self._place(info)
        if self._where.get(info.node.id) == place:
            return
        self.remove(info.node.id)
        branch, entry = place
        insort(self.branches.setdefault(branch, []), entry)
        self._where[info.node.id] = place

    def remove(self, node_id: str) -> None:
        found = self._where.pop(node_id, None)
        if found is not None:
            branch, entry = found
            entries = self.branches[branch]
            del entries[bisect_left(entries, entry)]
            if not entries:
                del self.branches[branch]

    def _place(self, info: NodeInfo) -> tuple[tuple[str, ...], Entry]:
        node = info.node
        return (
            tuple(branch_of(node, descriptor) for descriptor in self._descriptors),
            (*self._standing(info), node.id),
        )


def branch_of(node: Node, descriptor: str) -> str:
    """The value by which a spread preference tells nodes apart; without the label: empty."""
    lower = descriptor.lower()
    if lower.startswith("node.labels."):
        return node.spec.labels.get(descriptor[len("node.labels.") :], "")
    if lower.startswith("engine.labels."):
        return node.description.engine_labels.get(descriptor[len("engine.labels.") :], "")
    return ""


class NodeIndex:
    """All nodes of the cluster, and what their tasks hold."""

    def __init__(self) -> None:
        self._infos: dict[str, NodeInfo] = {}
        """Also of a node without record, while tasks hold something there."""
        self.nodes: dict[str, NodeInfo] = {}
        """By id; those that have a record. Read only."""
        self._spread: dict[str, Counter[str]] = {}
        """Affinity -> node -> how many."""
        self._orders: dict[tuple[Standing, tuple[str, ...]], Order] = {}
        self._moved: set[str] = set()
        """Nodes that may stand otherwise than in the orders: they are put right when one is asked
        for, so that many changes of a node are one."""
        self.changes = 0
        """Records taken in since it was made: what it has cost."""

    @classmethod
    def of(cls, state: State) -> NodeIndex:
        """Read off the state: what the changes since its beginning would have made of it."""
        index = cls()
        for record in (*state.nodes.values(), *state.tasks.values()):
            index.apply(Change(record.kind, record.id, None, record))
        return index

    # -- what has changed

    def apply(self, change: Change) -> None:
        """Of kinds other than ``node`` and ``task``: nothing."""
        if change.kind == "task":
            self.changes += 1
            before = hold_of(change.before) if change.before is not None else None
            after = hold_of(change.after) if change.after is not None else None
            if before == after:
                return  # it goes on running; a task never changes its node
            if before is not None:
                self._change(change.before.node_id, before, -1)
            if after is not None:
                self._change(change.after.node_id, after, 1)
        elif change.kind == "node":
            self.changes += 1
            self._node(change.id, change.after)

    def _node(self, id: str, node: Node | None) -> None:
        info = self._infos.get(id)
        if node is None:
            if self.nodes.pop(id, None) is not None:
                self._moved.discard(id)
                for order in self._orders.values():
                    order.remove(id)
            if info is not None and not info.holds:
                del self._infos[id]
            return
        if info is None:
            info = self._infos[id] = NodeInfo(node)
        info.describe(node)
        self.nodes[id] = info
        self._moved.add(id)

    def _change(self, node_id: str, hold: Hold, by: int) -> None:
        info = self._infos.get(node_id)
        if info is None:
            info = self._infos[node_id] = NodeInfo(Node(id=node_id))
        info.change(hold, by)
        if hold.goes_on:
            nodes = self._spread.get(hold.affinity)
            if nodes is None:
                nodes = self._spread[hold.affinity] = Counter()
            _count(nodes, node_id, by)
            if not nodes:
                del self._spread[hold.affinity]
        if node_id in self.nodes:
            self._moved.add(node_id)
        elif not info.holds:
            del self._infos[node_id]

    # -- questions

    def with_some_of(self, affinity: str) -> Mapping[str, int]:
        """Node id -> how many of it are meant to go on there."""
        return self._spread.get(affinity, _NOWHERE)

    def order(self, standing: Standing, descriptors: tuple[str, ...]) -> Order:
        """The nodes by ``standing``, apart by the values of ``descriptors``. Made when first asked
        for, then kept."""
        for id in self._moved:
            for known in self._orders.values():
                known.move(self.nodes[id])
        self._moved.clear()
        key = standing, descriptors
        order = self._orders.pop(key, None)
        if order is None:
            order = Order(standing, descriptors)
            order.fill(self.nodes.values())
            while len(self._orders) >= ORDERS:
                del self._orders[next(iter(self._orders))]
        self._orders[key] = order
        return order

    # -- while a plan is made

    def hold(self, node_id: str, hold: Hold) -> None:
        """Count in what has been planned and not been written yet."""
        self._change(node_id, hold, 1)

    def release(self, node_id: str, hold: Hold) -> None:
        self._change(node_id, hold, -1)

    def snapshot(self) -> dict[str, object]:
        """All of it as a value: for tests that compare."""
        return {
            "nodes": {id: info.node for id, info in self.nodes.items()},
            "held": {id: info.held() for id, info in self._infos.items()},
            "spread": {affinity: dict(nodes) for affinity, nodes in self._spread.items()},
        }
