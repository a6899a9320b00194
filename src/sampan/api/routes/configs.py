"""Configs of the cluster."""

from __future__ import annotations

from aiohttp import web

from sampan.api import cluster, decode
from sampan.api.call import Call
from sampan.api.filters import Filters
from sampan.api.router import Route
from sampan.api.translate import cluster as out
from sampan.api.types import cluster as wire
from sampan.cluster.control import data
from sampan.cluster.control.find import find
from sampan.cluster.records import Config
from sampan.cluster.spec import ConfigSpec

FILTERS = ("id", "label", "name", "names")


async def list_configs(call: Call) -> web.Response:
    state = (await cluster.to_read(call)).store.state
    filters = Filters.parse(call.text("filters"), FILTERS)
    found = [
        out.config(one)
        for one in sorted(state.configs.values(), key=lambda one: (one.created_at, one.id))
        if filters.prefix("id", one.id)
        and filters.prefix("name", one.name)
        and filters.exact("names", one.name)
        and filters.labels(one.spec.labels)
    ]
    return call.json(found)


async def create(call: Call) -> web.Response:
    parts = cluster.to_write(call)
    id = await data.create_config(parts, await decode.body(call, ConfigSpec))
    return call.json(wire.CreatedObject(id=id), status=201)


async def inspect(call: Call) -> web.Response:
    state = (await cluster.to_read(call)).store.state
    return call.json(out.config(find(state, Config, call.path["id"])))


async def update(call: Call) -> web.Response:
    parts = cluster.to_write(call)
    spec = await decode.body(call, ConfigSpec)
    await data.update_config(parts, call.path["id"], cluster.version(call, "config"), spec)
    return call.empty(200)


async def remove(call: Call) -> web.Response:
    await data.remove_config(cluster.to_write(call), call.path["id"])
    return call.empty()


ROUTES = (
    Route("GET", "/configs", list_configs),
    Route("POST", "/configs/create", create),
    Route("GET", "/configs/{id}", inspect),
    Route("POST", "/configs/{id}/update", update),
    Route("DELETE", "/configs/{id}", remove),
)
