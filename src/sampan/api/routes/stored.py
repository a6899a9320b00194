"""Secrets and configs, which are alike but for what they are made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from aiohttp import web

from sampan.api import cluster, decode
from sampan.api.docker_request import DockerRequest
from sampan.api.filters import Filters
from sampan.api.translate import cluster as out
from sampan.api.types import cluster as wire
from sampan.cluster.control import data
from sampan.cluster.find import find
from sampan.cluster.manager_parts import ManagerParts
from sampan.cluster.records import Config, Secret
from sampan.cluster.spec import ConfigSpec, SecretSpec
from sampan.http.router import Route

FILTERS = ("id", "label", "name", "names")

R = TypeVar("R", Secret, Config)
S = TypeVar("S", SecretSpec, ConfigSpec)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind(Generic[R, S]):
    record: type[R]
    spec: type[S]
    shown: Callable[[R], wire.DataBody]
    create_one: Callable[[ManagerParts, S], Awaitable[str]]
    update_one: Callable[[ManagerParts, str, int, S], Awaitable[None]]
    remove_one: Callable[[ManagerParts, str], Awaitable[None]]

    async def list_all(self, call: DockerRequest) -> web.Response:
        state = (await cluster.to_read(call)).store.state
        filters = Filters.parse(call.text("filters"), FILTERS)
        found = [
            self.shown(one)
            for one in sorted(state.all(self.record).values(), key=lambda r: (r.created_at, r.id))
            if filters.prefix("id", one.id)
            and filters.prefix("name", one.name)
            and filters.exact("names", one.name)
            and filters.labels(one.spec.labels)
        ]
        return call.json(found)

    async def create(self, call: DockerRequest) -> web.Response:
        parts = cluster.to_write(call)
        id = await self.create_one(parts, await decode.body(call, self.spec))
        return call.json(wire.CreatedObject(id=id), status=201)

    async def inspect(self, call: DockerRequest) -> web.Response:
        state = (await cluster.to_read(call)).store.state
        return call.json(self.shown(find(state, self.record, call.path["id"])))

    async def update(self, call: DockerRequest) -> web.Response:
        parts = cluster.to_write(call)
        spec = await decode.body(call, self.spec)
        version = cluster.version(call, self.record.kind)
        await self.update_one(parts, call.path["id"], version, spec)
        return call.empty(200)

    async def remove(self, call: DockerRequest) -> web.Response:
        await self.remove_one(cluster.to_write(call), call.path["id"])
        return call.empty()

    def routes(self) -> tuple[Route[DockerRequest], ...]:
        root = f"/{self.record.kind}s"
        return (
            Route("GET", root, self.list_all),
            Route("POST", f"{root}/create", self.create),
            Route("GET", f"{root}/{{id}}", self.inspect),
            Route("POST", f"{root}/{{id}}/update", self.update),
            Route("DELETE", f"{root}/{{id}}", self.remove),
        )


_SECRETS = _Kind(
    record=Secret,
    spec=SecretSpec,
    shown=out.secret,
    create_one=data.create_secret,
    update_one=data.update_secret,
    remove_one=data.remove_secret,
)
_CONFIGS = _Kind(
    record=Config,
    spec=ConfigSpec,
    shown=out.config,
    create_one=data.create_config,
    update_one=data.update_config,
    remove_one=data.remove_config,
)
ROUTES = (*_SECRETS.routes(), *_CONFIGS.routes())
