"""The loop that gives out subnets, addresses, ports and VXLAN identifiers.

It writes: a network's ``vni``, ``subnet``, ``gateway``, ``error``; a service's ``endpoint`` and
``allocated_spec_version``; a node's ``ingress_ipv4``; a task's ``attachments``, ``endpoint`` and
its step from NEW to PENDING. One pass is one transaction for everything marked (several, where that
is very much). The order inside is what depends on what: networks, then services and nodes, then
tasks. What is in use already the *ledger* knows, which each change moves on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import ClassVar

from msgspec.structs import replace

from sampan.aio import breathe
from sampan.cluster.allocator.addresses import within
from sampan.cluster.allocator.ledger import Ledger, holds_addresses
from sampan.cluster.allocator.ports import PortTaken, allocate_ports, by_mesh
from sampan.cluster.allocator.subnets import ChosenSubnet, choose_subnet, choose_vni, parsed
from sampan.cluster.contract import Draft
from sampan.cluster.loop import Loop, Term, sliced
from sampan.cluster.model import Change
from sampan.cluster.records import (
    ClusterNetwork,
    Endpoint,
    Node,
    Object,
    Service,
    Task,
    TaskAttachment,
    TaskStatus,
    VirtualAddress,
)
from sampan.cluster.spec import EndpointSpec, NetworkAttachmentConfig, TaskSpec
from sampan.cluster.states import TaskState
from sampan.network.contract import PREDEFINED

AT_MOST = 500
"""Objects in one transaction: some milliseconds of the event loop."""


class Waits(Exception):
    """It cannot have what it needs yet; ``str`` is for the user."""


def networks_of(spec: TaskSpec) -> list[NetworkAttachmentConfig]:
    """The cluster's networks that a task wants; for the node's own there is nothing to give out."""
    return [wanted for wanted in spec.networks if wanted.target not in PREDEFINED]


def service_networks(service: Service) -> tuple[NetworkAttachmentConfig, ...]:
    return service.spec.task_template.networks or service.spec.networks


class Allocator(Loop):
    name: ClassVar[str] = "allocator"
    kinds: ClassVar[tuple[str, ...]] = ("network", "service", "node", "task", "cluster")

    def __init__(self, term: Term) -> None:
        super().__init__(term)
        self.ledger = Ledger()
        self._port_cursor = 0
        self._subnet_cursor = 0
        self._vni_cursor = 0
        self._waiting: set[str] = set()
        """Keys that could not be served: tried again whenever something was given back."""

    # -- what to look at

    def everything(self) -> Iterator[Iterable[str]]:
        state = self.state
        networks, services = tuple(state.networks.values()), tuple(state.services.values())
        nodes, tasks = tuple(state.nodes.values()), state.every_task()
        self.ledger, self._waiting = Ledger(), set()
        for records in chain(sliced(networks), sliced(services), sliced(nodes), sliced(tasks)):
            for record in records:
                self.ledger.apply(Change(record.kind, record.id, None, record))
            yield [_key(record) for record in records if _lacks(record)]

    def touched(self, change: Change) -> Iterable[str]:
        self.ledger.apply(change)
        after = change.after
        if after is None:
            freed = self._waiting
            self._waiting = set()
            return freed
        if isinstance(after, Task):
            if _lacks_addresses(after):
                return (_key(after),)
            if (
                self._waiting
                and change.before is not None
                and holds_addresses(change.before)
                and not holds_addresses(after)
            ):
                freed, self._waiting = self._waiting, set()
                return freed
            return ()
        if isinstance(after, Service):
            if _lacks_endpoint(after):
                return (_key(after),)
            served, self._waiting = self._waiting, set()
            return served
        if isinstance(after, ClusterNetwork):
            if _lacks_subnet(after):
                return (_key(after),)
            served, self._waiting = self._waiting, set()
            if after.spec.ingress:
                served |= {_key(n) for n in self.state.nodes.values()}
            return served
        if isinstance(after, Node):
            return () if after.ingress_ipv4 else (_key(after),)
        waiting, self._waiting = self._waiting, set()
        return waiting  # the cluster's pools have changed

    # -- a pass

    async def act(self, keys: frozenset[str]) -> None:
        by_kind: dict[str, list[str]] = {"network": [], "service": [], "node": [], "task": []}
        for key in keys:
            kind, _, id = key.partition("/")
            by_kind[kind].append(id)
        state = self.state
        by_kind["network"] = _oldest_first(state.networks, by_kind["network"])
        by_kind["service"] = _oldest_first(state.services, by_kind["service"])
        by_kind["task"] = _oldest_first(state.tasks, by_kind["task"])
        ordered = [(kind, id) for kind, ids in by_kind.items() for id in ids]
        for some in sliced(ordered, AT_MOST):
            await self.term.update(partial(self._write, keys=some))
            await breathe()

    def _write(self, draft: Draft, keys: Sequence[tuple[str, str]]) -> None:
        self.catch_up()
        by_kind = {
            kind: [id for of, id in keys if of == kind]
            for kind in ("network", "service", "node", "task")
        }
        # before the commit: what is freed while it is under way must find them waiting
        self._waiting |= _Pass(self, draft).run(by_kind)


class _Pass:
    """One transaction."""

    def __init__(self, loop: Allocator, draft: Draft) -> None:
        self.loop = loop
        self.draft = draft
        self.state = draft.state
        self.ledger = loop.ledger
        self.drawn = self.ledger.draw()
        self.given: dict[str, ClusterNetwork] = {}
        self.endpoints: dict[str, Service] = {}
        self.refused: dict[str, str] = {}
        """Services that could not be served in this pass, and why."""
        self.waiting: set[str] = set()

    def run(self, keys: dict[str, list[str]]) -> set[str]:
        for id in _oldest_first(self.state.networks, keys["network"]):
            self.network(id)
        keys["service"] += [
            service.id
            for id in self.given
            for service in self.state.services.values()
            if _lacks_endpoint(service) and id in self._vip_networks(service)
        ]
        for id in dict.fromkeys(_oldest_first(self.state.services, keys["service"])):
            self.service(id)
        for id in keys["node"]:
            self.node(id)
        # a new reason is told by every task that waits for it
        told = [t.id for id in self.refused for t in self.state.tasks_of(id).values()]
        for id in _oldest_first(self.state.tasks, dict.fromkeys([*keys["task"], *told])):
            self.task(id)
        return self.waiting

    # networks

    def network(self, id: str) -> None:
        network = self.draft.get(ClusterNetwork, id)
        cluster = self.state.cluster
        if network is None or cluster is None or not _lacks_subnet(network):
            return
        others = [*(n for n in self.state.networks.values() if n.id not in self.given)]
        others += self.given.values()
        chosen = choose_subnet(
            network,
            others,
            cluster,
            set(self.ledger.routes),
            self.loop._subnet_cursor,
        )
        vni = choose_vni(network, others, self.loop._vni_cursor)
        if not isinstance(chosen, ChosenSubnet) or not isinstance(vni, int):
            refused = chosen if not isinstance(chosen, ChosenSubnet) else vni
            why = "" if isinstance(refused, int | ChosenSubnet) else refused.why
            if network.error != why:
                self.draft.put(replace(network, error=why))
            self.waiting.add(_key(network))
            return
        if not network.spec.ipam_configs and (net := parsed(chosen.subnet)) is not None:
            self.loop._subnet_cursor = int(net.network_address)
        self.loop._vni_cursor = max(self.loop._vni_cursor, vni)
        network = replace(network, vni=vni, subnet=chosen.subnet, gateway=chosen.gateway, error="")
        self.draft.put(network)
        self.given[id] = network

    def ready(self, id: str) -> ClusterNetwork:
        """Raises: Waits."""
        network = self.given.get(id) or self.state.networks.get(id)
        if network is None:
            raise Waits(f"network {id} not found")
        if _lacks_subnet(network):
            raise Waits(network.error or f"network {network.name} has no subnet yet")
        return network

    def ingress(self) -> ClusterNetwork | None:
        return self.state.networks.get(self.ledger.ingress)

    def address(self, network: ClusterNetwork) -> str:
        """Raises: Waits."""
        address = self.drawn.give(network)
        if address is None:
            raise Waits(
                f"no address is left on network {network.name} ({network.subnet}): make a network "
                "with a larger subnet (--subnet)"
            )
        return address

    # services

    def service(self, id: str) -> None:
        service = self.draft.get(Service, id)
        if service is None or not _lacks_endpoint(service):
            return
        try:
            endpoint = self._endpoint(service)
        except (Waits, PortTaken) as why:
            self.waiting.add(_key(service))
            self.refused[id] = str(why)
            return
        service = replace(service, endpoint=endpoint, allocated_spec_version=service.spec_version)
        self.draft.put(service)
        self.endpoints[id] = service

    def _vip_networks(self, service: Service) -> list[str]:
        spec = service.spec.endpoint_spec or EndpointSpec()
        if spec.mode == "dnsrr":
            return []
        wanted = [n.target for n in service_networks(service) if n.target not in PREDEFINED]
        if any(by_mesh(port) for port in spec.ports) and (ingress := self.ingress()):
            wanted.insert(0, ingress.id)
        return list(dict.fromkeys(wanted))

    def _endpoint(self, service: Service) -> Endpoint:
        """Raises: Waits, PortTaken."""
        spec = service.spec.endpoint_spec or EndpointSpec()
        old = service.endpoint or Endpoint()
        ports, self.loop._port_cursor = allocate_ports(
            spec,
            old.ports,
            self.ledger.ports.besides(service.id, self.endpoints),
            self.loop._port_cursor,
        )
        had = {place.network_id: place for place in old.virtual_addresses if place.address}
        places: list[VirtualAddress] = []
        for network_id in self._vip_networks(service):
            network = self.ready(network_id)
            if network_id in had:
                places.append(had[network_id])
                continue
            prefix = network.subnet.partition("/")[2]
            places.append(
                VirtualAddress(network_id=network_id, address=f"{self.address(network)}/{prefix}")
            )
        return Endpoint(spec=spec, ports=ports, virtual_addresses=tuple(places))

    # nodes

    def node(self, id: str) -> None:
        ingress = self.ingress()
        if ingress is None or (id not in self.state.nodes):
            return
        try:
            network = self.ready(ingress.id)
            node = self.draft.get(Node, id)
            # an address may be left of an ingress network that was removed and made anew
            if node is not None and not within(node.ingress_ipv4, network.subnet):
                self.draft.put(replace(node, ingress_ipv4=self.address(network)))
        except Waits:
            self.waiting.add(f"node/{id}")

    # tasks

    def task(self, id: str) -> None:
        task = self.draft.get(Task, id)
        if task is None or not _lacks_addresses(task):
            return
        if task.spec.network_attachment_spec is not None:
            self.attachment(task)
            return
        try:
            endpoint = self._task_endpoint(task)
            places = self._places(task, endpoint)
        except Waits as why:
            self.waiting.add(_key(task))
            self._say(task, str(why))
            return
        status = TaskStatus(
            state=TaskState.PENDING,
            timestamp=self.loop.term.clock.now(),
            message="pending task scheduling",
        )
        self.draft.put(replace(task, attachments=places, endpoint=endpoint, status=status))

    def attachment(self, task: Task) -> None:
        """Of a container that somebody is starting by hand: it has its node already, and an
        address now or never."""
        (config,) = networks_of(task.spec)
        now = self.loop.term.clock.now()
        try:
            network = self.ready(config.target)
        except Waits as why:
            self.waiting.add(_key(task))
            self._say(task, str(why))
            return
        address: str | None = task.address_wanted
        try:
            if not address:
                address = self.address(network)
            elif not self.drawn.take(network, address):
                raise Waits(f"Address already in use: {address} on network {network.name}")
        except Waits as why:
            status = TaskStatus(state=TaskState.REJECTED, timestamp=now, err=str(why))
            self.draft.put(replace(task, status=status))
            return
        place = TaskAttachment(
            network_id=network.id,
            ipv4=address,
            prefix=int(network.subnet.partition("/")[2]),
            aliases=config.aliases,
            driver_opts=config.driver_opts,
        )
        status = TaskStatus(state=TaskState.ASSIGNED, timestamp=now, message="attached by hand")
        self.draft.put(replace(task, attachments=(place,), status=status))

    def _task_endpoint(self, task: Task) -> EndpointSpec:
        """Raises: Waits: its service has not got its own."""
        if not task.service_id:
            return task.endpoint
        service = self.endpoints.get(task.service_id) or self.state.services.get(task.service_id)
        if service is None:
            raise Waits("its service is gone")
        if _lacks_endpoint(service):
            if service.id not in self.refused:
                self.service(service.id)
            if service.id in self.refused:
                raise Waits(self.refused[service.id])
            service = self.endpoints[service.id]
        assert service.endpoint is not None
        return replace(service.endpoint.spec, ports=service.endpoint.ports)

    def _places(self, task: Task, endpoint: EndpointSpec) -> tuple[TaskAttachment, ...]:
        """Raises: Waits."""
        wanted = networks_of(task.spec)
        ingress = self.ingress()
        if ingress is not None and any(by_mesh(port) for port in endpoint.ports):
            wanted.insert(0, NetworkAttachmentConfig(target=ingress.id))
        found: dict[str, TaskAttachment] = {}
        # nothing is taken before it is known that everything is there
        networks = [(config, self.ready(config.target)) for config in wanted]
        for config, network in networks:
            if network.id in found:
                continue
            found[network.id] = TaskAttachment(
                network_id=network.id,
                ipv4=self.address(network),
                prefix=int(network.subnet.partition("/")[2]),
                aliases=config.aliases,
                driver_opts=config.driver_opts,
            )
        return tuple(found.values())

    def _say(self, task: Task, why: str) -> None:
        """Why it is not served, where the user looks for it."""
        current = self.draft.get(Task, task.id)
        if current is not None and current.status.err != why:
            self.draft.put(replace(current, status=replace(current.status, err=why)))


def _key(record: Object) -> str:
    return f"{record.kind}/{record.id}"


def _lacks(record: Object) -> bool:
    """The first pass has to look at it."""
    match record:
        case ClusterNetwork():
            return _lacks_subnet(record)
        case Service():
            return _lacks_endpoint(record)
        case Task():
            return _lacks_addresses(record)
        case _:
            return isinstance(record, Node)


def _lacks_subnet(network: ClusterNetwork) -> bool:
    return not (network.vni and network.subnet)


def _lacks_endpoint(service: Service) -> bool:
    return service.endpoint is None or service.allocated_spec_version != service.spec_version


def _lacks_addresses(task: Task) -> bool:
    return task.status.state == TaskState.NEW and task.desired <= TaskState.RUNNING


def _oldest_first(table: Mapping[str, Object], ids: Iterable[str]) -> list[str]:
    """So that of two who want the same the one who came first has it."""
    known = [id for id in ids if id in table]
    return sorted(known, key=lambda id: (table[id].created_at, id))
