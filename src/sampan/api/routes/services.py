"""Services of the cluster."""

from __future__ import annotations

import base64
import binascii

from aiohttp import web

from sampan.api import cluster, decode
from sampan.api.docker_request import DockerRequest
from sampan.api.filters import Filters
from sampan.api.translate import cluster as out
from sampan.api.types import cluster as wire
from sampan.cluster.control import services as control
from sampan.cluster.control.explain import explain
from sampan.cluster.control.validate import mode_name
from sampan.cluster.find import find
from sampan.cluster.records import Service
from sampan.cluster.spec import ServiceSpec
from sampan.errors import InvalidArgument
from sampan.http.router import Route

FILTERS = ("id", "label", "mode", "name", "runtime")
_MODES = ("replicated", "global", "replicated-job", "global-job")


async def list_services(call: DockerRequest) -> web.Response:
    state = (await cluster.to_read(call)).store.state
    filters = Filters.parse(call.text("filters"), FILTERS)
    for mode in filters.get("mode", ()):
        if mode not in _MODES:
            raise InvalidArgument(f"invalid filter 'mode={mode}': there are {', '.join(_MODES)}")
    with_status = call.flag("status")
    found = [
        out.service(one, counts=control.counts(state, one) if with_status else None)
        for one in sorted(state.services.values(), key=lambda one: (one.created_at, one.id))
        if filters.prefix("id", one.id)
        and filters.prefix("name", one.name)
        and filters.labels(one.spec.labels)
        and filters.exact("mode", mode_name(one.spec.mode))
        and filters.exact("runtime", one.spec.task_template.runtime or "container")
    ]
    return call.json(found)


async def create(call: DockerRequest) -> web.Response:
    parts = cluster.to_write(call)
    spec = await decode.body(call, ServiceSpec)
    made = await control.create(
        parts,
        spec,
        now=call.services.clock.now(),
        auth=_auth(call),
        local=cluster.local_networks(call),
    )
    return call.json(wire.CreatedService(id=made.id), status=201)


async def inspect(call: DockerRequest) -> web.Response:
    state = (await cluster.to_read(call)).store.state
    found = find(state, Service, call.path["id"])
    return call.json(out.service(found, defaults=call.flag("insertDefaults")))


async def update(call: DockerRequest) -> web.Response:
    parts = cluster.to_write(call)
    ref, version = call.path["id"], cluster.version(call, "service")
    now, local = call.services.clock.now(), cluster.local_networks(call)
    auth_from, rollback = call.text("registryAuthFrom"), call.text("rollback")
    if auth_from not in ("", "spec", "previous-spec"):
        raise InvalidArgument(f"unsupported registryAuthFrom {auth_from}")
    if rollback not in ("", "none", "previous"):
        raise InvalidArgument(f'unrecognized rollback option "{rollback}"')
    if rollback == "previous":
        await control.rollback(parts, ref, version, now=now, local=local)
    else:
        spec = await decode.body(call, ServiceSpec)
        await control.update(parts, ref, version, spec, now=now, auth=_auth(call), local=local)
    return call.json(wire.Warnings())


def _auth(call: DockerRequest) -> str:
    """``X-Registry-Auth`` as the nodes will send it on; empty where it says nothing.

    Raises:
        InvalidArgument: it is not base64.
    """
    written = call.request.headers.get("X-Registry-Auth", "")
    plain = written.strip().replace("-", "+").replace("_", "/")
    try:
        decoded = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidArgument(f"invalid X-Registry-Auth header: {error}") from error
    return "" if decoded.strip() in (b"", b"{}", b"null") else written


async def remove(call: DockerRequest) -> web.Response:
    await control.remove(cluster.to_write(call), call.path["id"])
    return call.empty(200)


async def why(call: DockerRequest) -> web.Response:
    """Not of Docker's: what each task of a service waits for."""
    state = (await cluster.to_read(call)).store.state
    service = find(state, Service, call.path["id"])
    return call.json(explain(state, service, now=call.services.clock.now()))


ROUTES = (
    Route("GET", "/services", list_services),
    Route("POST", "/services/create", create),
    Route("GET", "/services/{id}", inspect),
    Route("POST", "/services/{id}/update", update),
    Route("DELETE", "/services/{id}", remove),
    Route("GET", "/sampan/services/{id}/why", why),
)
