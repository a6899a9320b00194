"""What is in use, read off the state anew for each pass.

A ledger of its own would have to be told of every end: a leader that dies between the end of a task
and the note of it leaks an address for ever. What objects say of themselves cannot leak. What a
pass gives out it notes here, so that the next object of the same pass does not get it again.
"""

from __future__ import annotations

from collections.abc import Iterable

from sampan.cluster.allocator.addresses import Pool, number_of
from sampan.cluster.model import State
from sampan.cluster.records import ClusterNetwork, Service, Task
from sampan.cluster.states import TaskState


def holds_addresses(task: Task) -> bool:
    """Its container may still use them: the end has not been seen, and it may have begun."""
    state = task.status.state
    if state.ended:
        return False
    return not (state < TaskState.ASSIGNED and task.desired > TaskState.RUNNING)


class Ledger:
    """Pools of addresses, made when first asked for.

    Args:
        hands: network id -> the address number given last. Kept by the caller from pass to pass;
            for a network that is not in it the youngest address in the state counts.
    """

    def __init__(self, state: State, hands: dict[str, int]) -> None:
        self._state = state
        self._hands = hands
        self._pools: dict[str, Pool] = {}
        self._held: dict[str, list[str]] | None = None
        self._youngest: dict[str, tuple[float, str]] = {}

    def give(self, network: ClusterNetwork) -> str | None:
        """A free address of ``network``; None: there is none left."""
        pool = self._pool(network)
        address = pool.take()
        if address is not None:
            self._hands[network.id] = pool.hand
        return address

    def take(self, network: ClusterNetwork, address: str) -> bool:
        """Give out this very ``address``; whether it was free."""
        pool, number = self._pool(network), number_of(address)
        if number in pool.used:
            return False
        pool.used.add(number)
        return True

    def _pool(self, network: ClusterNetwork) -> Pool:
        pool = self._pools.get(network.id)
        if pool is not None:
            return pool
        configs = network.spec.ipam_configs
        pool = Pool.of(network.subnet, within=configs[0].range if configs else "")
        pool.hold([network.gateway])
        for config in configs:
            pool.hold(config.auxiliary_addresses.values())
        if self._held is None:
            self._held = self._read()
        pool.hold(self._held.get(network.id, ()))
        if network.spec.ingress:
            pool.hold(node.ingress_ipv4 for node in self._state.nodes.values())
        if network.id not in self._hands and network.id in self._youngest:
            # younger ones may have come and gone under the leader before: keep well away from them
            youngest = number_of(self._youngest[network.id][1])
            self._hands[network.id] = pool.ahead(youngest)
        pool.hand = self._hands.get(network.id, 0)
        self._pools[network.id] = pool
        return pool

    def _read(self) -> dict[str, list[str]]:
        held: dict[str, list[str]] = {}
        for network_id, address, since in _virtual_addresses(self._state.services.values()):
            held.setdefault(network_id, []).append(address)
            self._remember(network_id, address, since)
        for task in self._state.tasks.values():
            holding = holds_addresses(task)
            for place in task.attachments:
                if holding:
                    held.setdefault(place.network_id, []).append(place.ipv4)
                self._remember(place.network_id, place.ipv4, task.created_at)
        return held

    def _remember(self, network_id: str, address: str, since: float) -> None:
        known = self._youngest.get(network_id)
        if known is None or known[0] <= since:
            self._youngest[network_id] = (since, address)


def _virtual_addresses(services: Iterable[Service]) -> Iterable[tuple[str, str, float]]:
    for service in services:
        if service.endpoint is not None:
            for place in service.endpoint.virtual_addresses:
                if place.address:
                    yield place.network_id, place.address, service.created_at
