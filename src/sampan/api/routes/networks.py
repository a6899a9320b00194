"""Networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aiohttp import web
from msgspec import UNSET

from sampan.api import cluster, timestamps
from sampan.api.docker_request import DockerRequest
from sampan.api.filters import Filters
from sampan.api.translate import cluster_network, create, network
from sampan.api.types import networks as wire
from sampan.api.types.common import Endpoint, PruneReport
from sampan.cluster.control import networks as control
from sampan.cluster.control.networks import tasks_on
from sampan.cluster.control.references import users_of_network
from sampan.cluster.find import find
from sampan.cluster.model import State
from sampan.cluster.records import ClusterNetwork
from sampan.errors import Conflict, InvalidArgument, NotFound
from sampan.http.router import Route
from sampan.network.contract import DEFAULT_DRIVER, PREDEFINED
from sampan.store.records import Network

FILTERS = ("dangling", "driver", "id", "label", "name", "scope", "type")


def _body(call: DockerRequest, found: Network, *, with_containers: bool) -> wire.NetworkBody:
    body = network.network_out(found)
    if with_containers:
        engine = call.services.engine
        for container_id, endpoint in engine.network_users(found).items():
            body.containers[container_id] = network.container_out(
                endpoint, engine.get(container_id).name
            )
    return body


@dataclass(frozen=True, slots=True)
class _Known:
    """A network that a client may see: of this host, of the cluster, or (a part of a network of
    the cluster that is on this host) both."""

    body: wire.NetworkBody
    local: Network | None
    record: ClusterNetwork | None


def _known(call: DockerRequest) -> Iterator[_Known]:
    """Every network once. The host's part of a cluster's network is shown as the cluster says."""
    state = cluster.copy_at_hand(call)
    records = dict(state.networks) if state is not None else {}
    for one in call.services.engine.networks():
        record = records.pop(one.id, None)
        body = _body(call, one, with_containers=call.version < (1, 28))
        yield _Known(_merged(body, record) if record is not None else body, one, record)
    for record in records.values():
        yield _Known(cluster_network.network_out(record), None, record)


def _merged(body: wire.NetworkBody, record: ClusterNetwork) -> wire.NetworkBody:
    whole = cluster_network.network_out(record)
    whole.containers = body.containers
    return whole


async def list_networks(call: DockerRequest) -> web.Response:
    filters = Filters.parse(call.text("filters"), FILTERS)
    for kind in filters.get("type", ()):
        if kind not in ("custom", "builtin"):
            raise InvalidArgument(f"invalid filter: 'type'='{kind}'")
    found = [
        one.body
        for one in _known(call)
        if filters.prefix("id", one.body.id)
        and filters.pattern("name", one.body.name)
        and filters.exact("driver", one.body.driver)
        and filters.exact("scope", one.body.scope)
        and filters.labels(one.body.labels)
        and filters.exact("type", "builtin" if _predefined(one.local) else "custom")
        and ("dangling" not in filters or _dangling(call, one) == filters.flag("dangling"))
    ]
    return call.json(found)


def _predefined(one: Network | None) -> bool:
    return one is not None and (one.predefined or one.name in PREDEFINED)


def _dangling(call: DockerRequest, one: _Known) -> bool:
    if one.record is not None:
        state = cluster.copy_at_hand(call)
        return state is not None and not (
            one.record.spec.ingress
            or users_of_network(state, one.record)
            or tasks_on(state, one.record.id)
        )
    return (
        one.local is not None
        and not _predefined(one.local)
        and not call.services.engine.network_users(one.local)
    )


async def inspect(call: DockerRequest) -> web.Response:
    ref, scope = call.path["id"], call.text("scope")
    state, record = await _looked_up(call, ref)
    local = _of_host(call, record.id if record is not None else ref)
    if record is not None and (local is None or local.id == record.id) and scope != "local":
        assert state is not None
        body = cluster_network.network_out(record)
        if local is not None:
            body.containers = _body(call, local, with_containers=True).containers
        body.peers = cluster_network.peers(state, record) or UNSET
        if call.flag("verbose"):
            body.services = cluster_network.services(state, record)
        return call.json(body)
    local = _of_host(call, ref)
    if local is None:
        raise NotFound(f"network {ref} not found")
    body = _body(call, local, with_containers=True)
    if local.scope == "swarm" and call.services.cluster is not None:
        body.peers = cluster_network.peers_seen(call.services.cluster.view, local.id) or UNSET
    if scope == "swarm" and local.name in PREDEFINED and state is not None:
        # Every node has it under this name: a service may use it, and clients ask for it so.
        body.scope = "swarm"
    elif scope and scope != body.scope:
        raise NotFound(f"network {ref} not found")
    return call.json(body)


async def _looked_up(call: DockerRequest, ref: str) -> tuple[State | None, ClusterNetwork | None]:
    """The cluster, and its network of that name. The host's own networks must not wait for a
    quorum; a name that nobody here knows may be one that another manager was just given."""
    state = cluster.copy_at_hand(call)
    if state is None:
        return None, None
    record = _of_cluster(state, ref)
    if record is None and _of_host(call, ref) is None:
        state = (await cluster.to_read(call)).store.state
        record = _of_cluster(state, ref)
    return state, record


def _of_cluster(state: State, ref: str) -> ClusterNetwork | None:
    try:
        return find(state, ClusterNetwork, ref)
    except NotFound:
        return None


def _of_host(call: DockerRequest, ref: str) -> Network | None:
    try:
        return call.services.engine.network(ref)
    except NotFound:
        return None


def _spans_hosts(call: DockerRequest, driver: str, scope: str | None) -> bool:
    """Whether the cluster makes such a network: it was said so, or its driver makes no others."""
    return "swarm" in (scope, call.services.system.network_scope(driver))


async def create_network(call: DockerRequest) -> web.Response:
    body = await call.body(wire.CREATE_DECODER)
    if _spans_hosts(call, body.driver or DEFAULT_DRIVER, body.scope):
        parts = cluster.to_write(call)
        spec = cluster_network.wanted(body)
        made_id = await control.create(parts, spec, local=cluster.local_networks(call))
        warning = _without_effect(call, spec.name, spec.driver, spec.options)
        return call.json(wire.CreatedNetwork(id=made_id, warning=warning), status=201)
    state = cluster.copy_at_hand(call)
    if state is not None and state.named(ClusterNetwork, body.name or "") is not None:
        raise Conflict(f"network with name {body.name} already exists")
    wanted = network.wanted(body, now=call.services.clock.now())
    made = await call.services.engine.network_create(wanted)
    warning = _without_effect(call, made.name, made.driver, made.options)
    return call.json(wire.CreatedNetwork(id=made.id, warning=warning), status=201)


def _without_effect(call: DockerRequest, name: str, driver: str, options: Mapping[str, str]) -> str:
    """A warning of the options that nobody heeds; empty: there are none."""
    heeded = call.services.system.network_options(driver)
    idle = [] if heeded is None else sorted(options.keys() - heeded)
    if not idle:
        return ""
    return f"network {name}: its driver {driver} has no option {', '.join(idle)}: without effect"


async def remove(call: DockerRequest) -> web.Response:
    ref = call.path["id"]
    _, record = await _looked_up(call, ref)
    local = _of_host(call, ref)
    if record is not None and (local is None or local.id == record.id):
        # This host's part of it, if any, goes when the last task there has ended.
        await control.remove(cluster.to_write(call), record.id)
    else:
        if local is not None and local.scope == "swarm":
            cluster.to_write(call)  # raises what this host is instead of a manager
        await call.services.engine.network_remove(ref)
    return call.empty()


async def connect(call: DockerRequest) -> web.Response:
    body = await call.body(wire.CONNECT_DECODER)
    if not body.container:
        raise InvalidArgument("the field Container is empty: name the container to connect")
    ref = call.path["id"]
    wanted = create.endpoint_record(ref, body.endpoint_config or Endpoint())
    await call.services.engine.network_connect(ref, body.container, wanted)
    return call.empty(200)


async def disconnect(call: DockerRequest) -> web.Response:
    body = await call.body(wire.DISCONNECT_DECODER)
    if not body.container:
        raise InvalidArgument("the field Container is empty: name the container to disconnect")
    await call.services.engine.network_disconnect(
        call.path["id"], body.container, force=bool(body.force)
    )
    return call.empty(200)


async def prune(call: DockerRequest) -> web.Response:
    engine = call.services.engine
    filters = Filters.parse(call.text("filters"), ("label", "label!", "until"))
    now = call.services.clock.now()
    until = [timestamps.parse_ns(v, "until", now=now) / 1e9 for v in filters.get("until", ())]
    used = {name for container in engine.all() for name in container.networks}
    deleted: list[str] = []
    for one in list(engine.networks()):
        if _predefined(one) or one.name in used or engine.network_users(one):
            continue
        if one.scope == "swarm":
            continue
        if not (filters.labels(one.labels) and filters.without_labels(one.labels)):
            continue
        if any(one.created_at >= moment for moment in until):
            continue
        try:
            await engine.network_remove(one.id)
        except (Conflict, NotFound):
            continue  # taken into use, or removed, since we looked: not ours to prune any more
        deleted.append(one.name)
    deleted += await _prune_cluster(call, filters, until)
    return call.json(PruneReport(networks_deleted=deleted or None))


async def _prune_cluster(call: DockerRequest, filters: Filters, until: list[float]) -> list[str]:
    state = cluster.copy_at_hand(call)
    deleted = []
    for record in list(state.networks.values()) if state is not None else ():
        labels = record.spec.labels
        if record.spec.ingress or any(record.created_at >= moment for moment in until):
            continue
        if not (filters.labels(labels) and filters.without_labels(labels)):
            continue
        try:
            await control.remove(cluster.to_write(call), record.id)
        except (InvalidArgument, NotFound):
            continue  # in use, or removed since we looked
        deleted.append(record.name)
    return deleted


ROUTES = (
    Route("GET", "/networks", list_networks),
    Route("GET", "/networks/", list_networks),
    Route("POST", "/networks/create", create_network),
    Route("POST", "/networks/prune", prune),
    Route("GET", "/networks/{id}", inspect),
    Route("DELETE", "/networks/{id}", remove),
    Route("POST", "/networks/{id}/connect", connect),
    Route("POST", "/networks/{id}/disconnect", disconnect),
)
