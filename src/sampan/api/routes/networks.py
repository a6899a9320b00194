"""Networks."""

from __future__ import annotations

from aiohttp import web

from sampan.api import moments
from sampan.api.call import Call
from sampan.api.filters import Filters
from sampan.api.router import Route
from sampan.api.translate import create, network
from sampan.api.types import networks as wire
from sampan.api.types.common import Endpoint, PruneReport
from sampan.errors import Conflict, InvalidArgument, NotFound
from sampan.store.records import Network

FILTERS = ("dangling", "driver", "id", "label", "name", "scope", "type")
_PREDEFINED = ("bridge", "host", "none")


def _body(call: Call, found: Network, *, with_containers: bool) -> wire.NetworkBody:
    body = network.network_out(found)
    if with_containers:
        engine = call.services.engine
        for container_id, endpoint in engine.network_users(found).items():
            body.containers[container_id] = network.container_out(
                endpoint, engine.get(container_id).name
            )
    return body


async def list_networks(call: Call) -> web.Response:
    engine = call.services.engine
    filters = Filters.parse(call.text("filters"), FILTERS)
    for kind in filters.get("type", ()):
        if kind not in ("custom", "builtin"):
            raise InvalidArgument(f"invalid filter: 'type'='{kind}'")
    found = [
        _body(call, one, with_containers=call.version < (1, 28))
        for one in engine.networks()
        if filters.prefix("id", one.id)
        and filters.pattern("name", one.name)
        and filters.exact("driver", one.driver if one.driver != "none" else "null")
        and filters.exact("scope", one.scope)
        and filters.labels(one.labels)
        and filters.exact("type", "builtin" if _predefined(one) else "custom")
        and ("dangling" not in filters or _dangling(call, one) == filters.flag("dangling"))
    ]
    return call.json(found)


def _predefined(one: Network) -> bool:
    return one.predefined or one.name in _PREDEFINED


def _dangling(call: Call, one: Network) -> bool:
    return not _predefined(one) and not call.services.engine.network_users(one)


async def inspect(call: Call) -> web.Response:
    found = call.services.engine.network(call.path["id"])
    scope = call.text("scope")
    if scope and scope != found.scope:
        raise NotFound(f"network {call.path['id']} not found")
    return call.json(_body(call, found, with_containers=True))


async def create_network(call: Call) -> web.Response:
    body = await call.body(wire.CREATE_DECODER)
    wanted = network.wanted(body, now=call.services.clock.now())
    made = await call.services.engine.network_create(wanted)
    return call.json(wire.CreatedNetwork(id=made.id), status=201)


async def remove(call: Call) -> web.Response:
    await call.services.engine.network_remove(call.path["id"])
    return call.empty()


async def connect(call: Call) -> web.Response:
    body = await call.body(wire.CONNECT_DECODER)
    if not body.container:
        raise InvalidArgument("the field Container is empty: name the container to connect")
    engine = call.services.engine
    found = engine.network(call.path["id"])
    wanted = create.endpoint_record(found.name, body.endpoint_config or Endpoint())
    await engine.network_connect(found.id, body.container, wanted)
    return call.empty(200)


async def disconnect(call: Call) -> web.Response:
    body = await call.body(wire.DISCONNECT_DECODER)
    if not body.container:
        raise InvalidArgument("the field Container is empty: name the container to disconnect")
    await call.services.engine.network_disconnect(
        call.path["id"], body.container, force=bool(body.force)
    )
    return call.empty(200)


async def prune(call: Call) -> web.Response:
    engine = call.services.engine
    filters = Filters.parse(call.text("filters"), ("label", "label!", "until"))
    now = call.services.clock.now()
    until = [moments.parse_ns(v, "until", now=now) / 1e9 for v in filters.get("until", ())]
    used = {name for container in engine.all() for name in container.networks}
    deleted: list[str] = []
    for one in list(engine.networks()):
        if _predefined(one) or one.name in used or engine.network_users(one):
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
    return call.json(PruneReport(networks_deleted=deleted or None))


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
