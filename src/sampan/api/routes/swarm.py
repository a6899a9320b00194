"""The cluster as a whole, and this host's membership of it."""

from __future__ import annotations

from aiohttp import web

from sampan.api import cluster, decode
from sampan.api.docker_request import DockerRequest
from sampan.api.translate import cluster as out
from sampan.api.types import cluster as wire
from sampan.cluster.control import cluster as control
from sampan.cluster.node.contract import InitRequest, JoinRequest, NotManager
from sampan.cluster.spec import SwarmSpec
from sampan.errors import InvalidArgument, Unsupported
from sampan.http.router import Route


async def inspect(call: DockerRequest) -> web.Response:
    # Imported here: a daemon without a cluster has no use for it.
    from sampan.cluster.ca.tokens import join_token

    parts = await cluster.to_read(call)
    state = parts.store.state
    found = control.the_cluster(state)
    return call.json(
        out.swarm(
            found,
            state.nodes.get(parts.node_id),
            worker=join_token(found, "worker"),
            manager=join_token(found, "manager"),
        )
    )


async def init(call: DockerRequest) -> web.Response:
    from msgspec.structs import replace

    member = cluster.membership(call)
    request = await decode.body(call, InitRequest)
    _check_availability(request.availability)
    spec = control.normal(request.spec)
    control.check_spec(spec)
    if request.auto_lock_managers:
        raise Unsupported("locking managers (autolock) is not supported")
    return call.json(await member.init(replace(request, spec=spec)))


async def join(call: DockerRequest) -> web.Response:
    member = cluster.membership(call)
    request = await decode.body(call, JoinRequest)
    _check_availability(request.availability)
    if not request.remote_addrs:
        raise InvalidArgument("at least 1 RemoteAddr is required to join")
    await member.join(request)
    return call.empty(200)


def _check_availability(written: str) -> None:
    if written not in ("", "active", "pause", "drain"):
        raise InvalidArgument(f'invalid Availability: "{written}"')


async def leave(call: DockerRequest) -> web.Response:
    await cluster.membership(call).leave(force=call.flag("force"))
    return call.empty(200)


async def update(call: DockerRequest) -> web.Response:
    parts = cluster.to_write(call)
    spec = await decode.body(call, SwarmSpec)
    await control.update(
        parts,
        cluster.version(call, "swarm"),
        spec,
        rotate_worker_token=call.flag("rotateWorkerToken"),
        rotate_manager_token=call.flag("rotateManagerToken"),
        rotate_unlock_key=call.flag("rotateManagerUnlockKey"),
    )
    return call.empty(200)


async def unlock_key(call: DockerRequest) -> web.Response:
    member = cluster.membership(call)
    _ = member.manager  # raises what this host is instead
    return call.json(wire.UnlockKey(unlock_key=await member.unlock_key()))


async def unlock(call: DockerRequest) -> web.Response:
    member = cluster.membership(call)
    state = member.info().state
    if state == "inactive":
        raise NotManager
    if state != "locked":
        raise InvalidArgument("swarm is not locked")
    raise Unsupported("unlocking a manager is not supported: it is never locked by this daemon")


ROUTES = (
    Route("GET", "/swarm", inspect),
    Route("POST", "/swarm/init", init),
    Route("POST", "/swarm/join", join),
    Route("POST", "/swarm/leave", leave),
    Route("POST", "/swarm/update", update),
    Route("GET", "/swarm/unlockkey", unlock_key),
    Route("POST", "/swarm/unlock", unlock),
)
