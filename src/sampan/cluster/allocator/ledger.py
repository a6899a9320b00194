"""What is in use: addresses, published ports, routes; moved on by each change of what has them.

A ledger of the usual kind has to be told of every end: a leader that dies between the end of a task
and the note of it leaks an address for ever. Here nothing is ever noted beside the objects: each
change of one takes away exactly what the object had and adds what it has, and a leader begins by
adding up everything. So the ledger is, after any history, what the objects say of themselves.

What a transaction gives out is in a ``Draw`` of its own until it comes back as a change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from sampan.cluster.allocator.addresses import NetworkAddresses, number_of
from sampan.cluster.allocator.ports import PortTable
from sampan.cluster.allocator.subnets import Net, parsed
from sampan.cluster.model import Change, State
from sampan.cluster.records import ClusterNetwork, Node, Object, Service, Task
from sampan.cluster.states import TaskState

K = TypeVar("K")


def holds_addresses(task: Task) -> bool:
    """Its container may still use them: the end has not been seen, and it may have begun."""
    state = task.status.state
    if state.ended:
        return False
    return not (state < TaskState.ASSIGNED and task.desired > TaskState.RUNNING)


class Ledger:
    def __init__(self) -> None:
        self.ports = PortTable()
        self._held: dict[str, Counter[int]] = {}
        """Network id -> address -> how many have it: more than one only if something is wrong."""
        self._node_addresses: Counter[int] = Counter()
        """Those of the nodes on the ingress network."""
        self._routes: Counter[Net] = Counter()
        self._ingress: dict[str, None] = {}
        self._youngest: dict[str, tuple[float, int]] = {}
        """Network id -> of the youngest that was ever seen with an address: when it was made, and
        the address. Not taken back: where the search for the next one begins."""
        self._hands: dict[str, int] = {}
        """Network id -> the address given last by this leader."""
        self.changes = 0
        """Records taken in since it was made: what it has cost."""

    @classmethod
    def of(cls, state: State) -> Ledger:
        """Read off the state: what the changes since its beginning would have made of it."""
        ledger = cls()
        for table in (state.networks, state.services, state.nodes, state.tasks):
            for record in table.values():
                ledger.apply(Change(record.kind, record.id, None, record))
        return ledger

    # -- what has changed

    def apply(self, change: Change) -> None:
        """Of other kinds: nothing."""
        self.changes += 1
        if change.before is not None:
            self._count(change.before, -1)
        if change.after is not None:
            self._count(change.after, 1)

    def _count(self, record: Object, by: int) -> None:
        match record:
            case Task():
                holding = holds_addresses(record)
                for place in record.attachments:
                    if place.ipv4:
                        self._address(place.network_id, place.ipv4, record.created_at, by, holding)
            case Service():
                self.ports.count(record, by)
                for virtual in record.endpoint.virtual_addresses if record.endpoint else ():
                    if virtual.address:
                        since = record.created_at
                        self._address(virtual.network_id, virtual.address, since, by, True)
            case Node():
                if record.ingress_ipv4:
                    _add(self._node_addresses, number_of(record.ingress_ipv4), by)
                for route in record.description.routes:
                    net = parsed(route)
                    # the default route is not in the way
                    if net is not None and net.prefixlen:
                        _add(self._routes, net, by)
            case ClusterNetwork():
                if record.spec.ingress and by > 0:
                    self._ingress[record.id] = None
                elif record.spec.ingress:
                    self._ingress.pop(record.id, None)
            case _:
                pass

    def _address(self, network_id: str, address: str, since: float, by: int, holding: bool) -> None:
        number = number_of(address)
        if holding:
            held = self._held.setdefault(network_id, Counter())
            _add(held, number, by)
            if not held:
                del self._held[network_id]
        if by > 0:
            known = self._youngest.get(network_id)
            if known is None or known[0] <= since:
                self._youngest[network_id] = (since, number)

    # -- questions

    @property
    def ingress(self) -> str:
        """Id of the ingress network; empty: there is none."""
        return next(iter(self._ingress), "")

    @property
    def routes(self) -> Iterator[Net]:
        """Every route of every member."""
        return iter(self._routes)

    def snapshot(self) -> dict[str, object]:
        """What is in use as a value: for tests that compare."""
        return {
            "held": {id: dict(held) for id, held in self._held.items()},
            "nodes": dict(self._node_addresses),
            "routes": dict(self._routes),
            "ingress": set(self._ingress),
            "ports": self.ports.snapshot(),
        }

    def draw(self) -> Draw:
        return Draw(self, {}, set())

    def in_use(self, network: ClusterNetwork, number: int) -> bool:
        return number in self._held.get(network.id, ()) or (
            network.spec.ingress and number in self._node_addresses
        )

    def cursor(self, network_id: str, pool: NetworkAddresses) -> int:
        """The address after which the search begins; 0: at the beginning."""
        if network_id not in self._hands and network_id in self._youngest:
            # younger ones may have come and gone under the leader before: keep well away from them
            self._hands[network_id] = pool.ahead(self._youngest[network_id][1])
        return self._hands.get(network_id, 0)

    def move_cursor(self, network_id: str, number: int) -> None:
        self._hands[network_id] = number


@dataclass(slots=True)
class Draw:
    """What one transaction gives out."""

    _ledger: Ledger
    _pools: dict[str, NetworkAddresses]
    _empty: set[str]
    """Networks that had none left: nobody else in this transaction need search them through."""

    def give(self, network: ClusterNetwork) -> str | None:
        """A free address of ``network``; None: there is none left."""
        if network.id in self._empty:
            return None
        pool = self._pool(network)
        address = pool.take(lambda number: self._ledger.in_use(network, number))
        if address is None:
            self._empty.add(network.id)
        else:
            self._ledger.move_cursor(network.id, pool.cursor)
        return address

    def take(self, network: ClusterNetwork, address: str) -> bool:
        """Give out this very ``address``; whether it was free."""
        pool, number = self._pool(network), number_of(address)
        if number in pool.used or self._ledger.in_use(network, number):
            return False
        pool.used.add(number)
        return True

    def _pool(self, network: ClusterNetwork) -> NetworkAddresses:
        pool = self._pools.get(network.id)
        if pool is None:
            configs = network.spec.ipam_configs
            pool = NetworkAddresses.of(network.subnet, within=configs[0].range if configs else "")
            pool.hold([network.gateway])
            for config in configs:
                pool.hold(config.auxiliary_addresses.values())
            pool.cursor = self._ledger.cursor(network.id, pool)
            self._pools[network.id] = pool
        return pool


def _add(counter: Counter[K], key: K, by: int) -> None:
    counter[key] += by
    if not counter[key]:
        del counter[key]
