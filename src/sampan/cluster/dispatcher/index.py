"""What the nodes are to be told, derived from the cluster's state and kept up to date by its feed.

Changes only *mark*; what is marked is derived anew from the state as it is then. So it does not
matter that the state may already be ahead of the batch that is being looked at, and a task that
changed five times is looked at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from sampan.cluster.dispatcher.tables import NetworkTable
from sampan.cluster.loop import SLICE, sliced
from sampan.cluster.model import Change, State
from sampan.cluster.records import ClusterNetwork, Node, Service, Task
from sampan.cluster.spec import MTU_OPTION
from sampan.cluster.states import TaskState
from sampan.cluster.templates import PlaceholderValues, TemplateError, expand
from sampan.network.overlay.contract import (
    IngressNode,
    OverlayMember,
    OverlayNetwork,
    PublishedTarget,
    ServiceEntry,
)


class AssignmentIndex:
    """``tasks`` and ``networks`` are what has changed since ``taken``."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.tables: dict[str, NetworkTable] = {}
        self.ingress_nodes: tuple[IngressNode, ...] = ()
        self._places: dict[str, tuple[str, ...]] = {}
        """Task id -> networks in whose tables it is."""
        self._entries: dict[str, tuple[str, ...]] = {}
        """Service id -> networks in whose tables it is."""

    def rebuild(self) -> Iterator[None]:
        """Everything from the state; between two slices of it the caller lets others have their
        turn. Changes meanwhile are applied as ever: each thing is derived from the state as it is
        then. Tables keep their numbers, so that nodes get differences."""
        state = self._state
        gone = [id for id in self._places if id not in state.tasks]
        everything: list[tuple[Callable[[str], object], Sequence[str]]] = [
            (self._network, list({*self.tables, *state.networks})),
            (self._service, list({*self._entries, *state.services})),
            (self._task, [*state.tasks, *gone]),
        ]
        room = SLICE
        for derive, ids in everything:
            for some in sliced(ids):
                if (room := room - len(some)) < 0:
                    room = SLICE - len(some)
                    yield
                for id in some:
                    derive(id)
        self._ingress()

    def apply(self, changes: Iterable[Change]) -> Touched:
        """Take a batch in; what the sessions must look at."""
        touched = Touched()
        tasks, services, networks, nodes = set[str](), set[str](), set[str](), set[str]()
        for change in changes:
            match change.kind:
                case "task":
                    tasks.add(change.id)
                    for task in (change.before, change.after):
                        if task is not None and task.node_id:
                            touched.tasks.setdefault(task.node_id, set()).add(change.id)
                case "service":
                    services.add(change.id)
                case "network":
                    networks.add(change.id)
                    touched.records = True
                case "node":
                    if _managers_part(change.before) != _managers_part(change.after):
                        touched.managers = True
                    touched.nodes.add(change.id)
                    if change.before is None or _tunnel(change.before) != _tunnel(change.after):
                        nodes.add(change.id)
                case "cluster":
                    touched.cluster = True
        for id in nodes:
            tasks.update(self._state.tasks_on(id))
        touched.networks.update(id for id in networks if self._network(id))
        for id in services:
            touched.networks |= self._service(id)
        for id in tasks:
            touched.networks |= self._task(id)
        if nodes or networks:
            touched.ingress = self._ingress()
        return touched

    def ingress(self) -> str:
        """Id of the ingress network; empty: there is none (yet)."""
        for id, table in self.tables.items():
            if table.header is not None and table.header.ingress:
                return id
        return ""

    # -- one thing each; they say what changed

    def _table(self, id: str) -> NetworkTable:
        return self.tables.setdefault(id, NetworkTable(id))

    def _network(self, id: str) -> bool:
        record = self._state.networks.get(id)
        table = self._table(id)
        changed = table.set_header(None if record is None else header_of(record))
        if table.empty:
            del self.tables[id]
        return changed

    def _service(self, id: str) -> set[str]:
        service = self._state.services.get(id)
        entries = entries_of(service, self._state) if service is not None else {}
        changed = set[str]()
        for network_id in {*self._entries.get(id, ()), *entries}:
            if self._table(network_id).set_service(id, entries.get(network_id)):
                changed.add(network_id)
        _remember(self._entries, id, tuple(entries))
        return changed

    def _task(self, id: str) -> set[str]:
        task = self._state.tasks.get(id)
        members = members_of(task, self._state) if task is not None else {}
        changed = set[str]()
        for network_id in {*self._places.get(id, ()), *members}:
            if self._table(network_id).set_member(id, members.get(network_id)):
                changed.add(network_id)
        _remember(self._places, id, tuple(members))
        return changed

    def _ingress(self) -> bool:
        nodes = tuple(
            IngressNode(
                node_id=node.id, ipv4=node.ingress_ipv4, node_address=node.data_path_address
            )
            for node in self._state.nodes.values()
            if node.ingress_ipv4 and node.data_path_address
        )
        changed = nodes != self.ingress_nodes
        self.ingress_nodes = nodes
        return changed


class Touched:
    """What a batch has changed for the nodes."""

    def __init__(self) -> None:
        self.tasks: dict[str, set[str]] = {}
        """Node id -> ids of its tasks that changed."""
        self.networks: set[str] = set()
        self.nodes: set[str] = set()
        self.ingress = False
        self.managers = False
        self.cluster = False
        self.records = False
        """A network's record changed."""


def _remember(table: dict[str, tuple[str, ...]], id: str, networks: tuple[str, ...]) -> None:
    if networks:
        table[id] = networks
    else:
        table.pop(id, None)


def _managers_part(node: Node | None) -> object:
    """What others are told of a node: where it is, whether it answers, whether it is a manager.
    (The period of heartbeats follows from the number of nodes.)"""
    if node is None:
        return None
    manager = node.manager.address if node.manager is not None else ""
    ready = node.status.state == "ready"
    return node.address, node.description.hostname, ready, node.role, manager


def _tunnel(node: Node | None) -> object:
    """What members and ingress nodes tell of a node."""
    if node is None:
        return None
    return node.data_path_address, node.ingress_ipv4, node.status.state == "down"


def header_of(record: ClusterNetwork) -> OverlayNetwork | None:
    """None: it has no place in the kernel yet."""
    spec = record.spec
    if not record.vni or not record.subnet:
        return None
    mtu = spec.options.get(MTU_OPTION, "")
    return OverlayNetwork(
        id=record.id,
        name=spec.name,
        vni=record.vni,
        subnet=record.subnet,
        gateway=record.gateway.partition("/")[0],
        mtu=int(mtu) if mtu.isdecimal() else 0,
        internal=spec.internal,
        ingress=spec.ingress,
    )


def entries_of(service: Service, state: State) -> dict[str, ServiceEntry]:
    """The service on each of its networks."""
    endpoint = service.endpoint
    if endpoint is None:
        return {}
    aliases = {n.target: n.aliases for n in service.spec.networks}
    aliases |= {n.target: n.aliases for n in service.spec.task_template.networks}
    places = {v.network_id: v.address for v in endpoint.virtual_addresses}
    if endpoint.spec.mode == "dnsrr":
        places = dict.fromkeys(aliases, "")
    ports = tuple(
        PublishedTarget(
            protocol=port.protocol or "tcp", published=port.published_port, target=port.target_port
        )
        for port in endpoint.ports
        if port.publish_mode != "host" and port.published_port
    )
    found = {}
    for network_id, address in places.items():
        network = state.networks.get(network_id)
        if network is None:
            continue
        found[network_id] = ServiceEntry(
            service_id=service.id,
            name=service.spec.name,
            aliases=aliases.get(network_id, ()),
            vip=address.partition("/")[0],
            ports=ports if network.spec.ingress else (),
        )
    return found


def members_of(task: Task, state: State) -> dict[str, OverlayMember]:
    """The task on each of its networks, from its assignment to its end."""
    if not task.attachments or not TaskState.ASSIGNED <= task.status.state <= TaskState.RUNNING:
        return {}
    node = state.nodes.get(task.node_id)
    if node is None:
        return {}
    serving = (
        task.status.state is TaskState.RUNNING
        and task.desired <= TaskState.RUNNING
        and node.status.state != "down"
    )
    hostname = _hostname(task, node)
    by_hand = task.spec.network_attachment_spec is not None
    return {
        attachment.network_id: OverlayMember(
            task_id=task.id,
            # What stands for a container is called as the container is.
            task_name=attachment.aliases[0] if by_hand and attachment.aliases else _name(task),
            service_id=task.service_id,
            ipv4=attachment.ipv4.partition("/")[0],
            node_id=task.node_id,
            node_address=node.data_path_address,
            hostname=hostname,
            # A service's aliases are in its entry: they stand for its virtual address.
            aliases=() if task.service_id else attachment.aliases,
            serving=serving,
        )
        for attachment in task.attachments
    }


def _name(task: Task) -> str:
    return task.annotated_name if task.service_id else ""


def _hostname(task: Task, node: Node) -> str:
    spec = task.spec.container_spec
    if spec is None or "{{" not in spec.hostname:
        return spec.hostname if spec is not None else ""
    try:
        return expand(
            spec.hostname,
            PlaceholderValues(
                service_id=task.service_id,
                service_name=task.service_name,
                service_labels=task.service_labels,
                node_id=task.node_id,
                node_hostname=node.description.hostname,
                node_os=node.description.platform.os,
                node_architecture=node.description.platform.architecture,
                task_id=task.id,
                task_name=task.annotated_name,
                task_slot=str(task.slot or task.node_id),
            ),
        )
    except TemplateError:
        return ""  # the agent says so; a task that cannot be made needs no name
