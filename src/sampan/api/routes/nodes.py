"""Nodes of the cluster."""

from __future__ import annotations

from aiohttp import web

from sampan.api import cluster, decode
from sampan.api.docker_request import DockerRequest
from sampan.api.filters import Filters
from sampan.api.translate import cluster as out
from sampan.cluster.control import nodes as control
from sampan.cluster.find import find_node, node_name
from sampan.cluster.spec import NodeSpec
from sampan.errors import InvalidArgument
from sampan.http.router import Route

FILTERS = ("id", "label", "name", "node.label", "membership", "role")


async def list_nodes(call: DockerRequest) -> web.Response:
    state = (await cluster.to_read(call)).store.state
    filters = Filters.parse(call.text("filters"), FILTERS)
    for role in filters.get("role", ()):
        if role not in ("worker", "manager"):
            raise InvalidArgument(f"Invalid role filter: '{role}'")
    for membership in filters.get("membership", ()):
        if membership not in ("accepted", "pending"):
            raise InvalidArgument(f"Invalid membership filter: '{membership}'")
    # A node is in the list once its certificate is issued: there are no pending ones.
    accepted = filters.exact("membership", "accepted")
    found = [
        out.node(one, state)
        for one in sorted(state.nodes.values(), key=lambda node: (node.created_at, node.id))
        if accepted
        and filters.prefix("id", one.id)
        and filters.prefix("name", node_name(one))
        and filters.labels(one.description.engine_labels)
        and filters.labels(one.spec.labels, "node.label")
        and filters.exact("role", one.spec.role)
    ]
    return call.json(found)


async def inspect(call: DockerRequest) -> web.Response:
    parts = await cluster.to_read(call)
    state = parts.store.state
    return call.json(out.node(find_node(state, call.path["id"], parts.node_id), state))


async def update(call: DockerRequest) -> web.Response:
    parts = cluster.to_write(call)
    spec = await decode.body(call, NodeSpec, needs=("Role", "Availability"))
    await control.update(parts, call.path["id"], cluster.version(call, "node"), spec)
    return call.empty(200)


async def remove(call: DockerRequest) -> web.Response:
    parts = cluster.to_write(call)
    await control.remove(parts, call.path["id"], force=call.flag("force"))
    return call.empty(200)


ROUTES = (
    Route("GET", "/nodes", list_nodes),
    Route("GET", "/nodes/{id}", inspect),
    Route("POST", "/nodes/{id}/update", update),
    Route("DELETE", "/nodes/{id}", remove),
)
