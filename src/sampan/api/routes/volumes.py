"""Volumes."""

from __future__ import annotations

from aiohttp import web

from sampan.api.disk import disk_usage
from sampan.api.docker_request import DockerRequest
from sampan.api.filters import Filters
from sampan.api.timestamps import rfc3339
from sampan.api.translate.mounts import volume_name
from sampan.api.types import volumes as wire
from sampan.api.types.common import PruneReport
from sampan.errors import Conflict, NotFound, Unsupported
from sampan.http.router import Route
from sampan.store.records import Volume
from sampan.volume.contract import VolumeListing

FILTERS = ("dangling", "driver", "label", "name")


def body_of(volume: Volume, scope: str, usage: wire.UsageData | None = None) -> wire.VolumeBody:
    return wire.VolumeBody(
        created_at=rfc3339(int(volume.created_at)),
        driver=volume.driver,
        labels=volume.labels or None,
        mountpoint=volume.mountpoint,
        name=volume.name,
        options=volume.options or None,
        scope=scope,
        usage_data=usage if usage is not None else wire.UNSET,
    )


async def list_volumes(call: DockerRequest) -> web.Response:
    engine = call.services.engine
    filters = Filters.parse(call.text("filters"), FILTERS)
    # What others have made has no labels: no plugin need be asked for it.
    labelled = "label" in filters
    listing = VolumeListing(engine.volumes(), ()) if labelled else await engine.volume_listing()
    found = [
        body_of(volume, engine.volume_scope(volume))
        for volume in listing.volumes
        if filters.pattern("name", volume.name)
        and filters.exact("driver", volume.driver)
        and filters.labels(volume.labels)
        and (
            "dangling" not in filters
            or (not engine.volume_users(volume.name)) == filters.flag("dangling")
        )
    ]
    return call.json(wire.VolumeList(volumes=found, warnings=list(listing.warnings) or None))


async def create(call: DockerRequest) -> web.Response:
    body = await call.body(wire.CREATE_DECODER, default=wire.CreateBody())
    if body.cluster_volume_spec is not None:
        raise Unsupported(
            "ClusterVolumeSpec: volumes of a whole cluster are not supported: leave it out for a "
            "volume of this host, or use a volume plugin"
        )
    name = volume_name(body.name) if body.name else ""
    volume = await call.services.engine.volume_create(
        name, body.driver or "", dict(body.driver_opts or {}), dict(body.labels or {})
    )
    return call.json(body_of(volume, call.services.engine.volume_scope(volume)), status=201)


async def inspect(call: DockerRequest) -> web.Response:
    engine = call.services.engine
    volume = await engine.volume_look_up(call.path["name"])
    body = body_of(volume, engine.volume_scope(volume))
    if status := await engine.volume_status(volume):
        body.status = dict(status)
    return call.json(body)


async def remove(call: DockerRequest) -> web.Response:
    await call.services.engine.volume_remove(call.path["name"], force=call.flag("force"))
    return call.empty()


async def prune(call: DockerRequest) -> web.Response:
    """Anonymous volumes that nobody uses; all of them before 1.42 or with the filter ``all``."""
    engine = call.services.engine
    filters = Filters.parse(call.text("filters"), ("all", "label", "label!"))
    everything = call.version < (1, 42) or filters.flag("all")
    deleted: list[str] = []
    reclaimed = 0
    for volume in list(engine.volumes()):
        if engine.volume_users(volume.name) or not (everything or volume.anonymous):
            continue
        if not (filters.labels(volume.labels) and filters.without_labels(volume.labels)):
            continue
        size = await disk_usage(volume.mountpoint)
        try:
            await engine.volume_remove(volume.name)
        except (Conflict, NotFound):
            continue  # taken into use, or removed, since we looked
        deleted.append(volume.name)
        reclaimed += size
    return call.json(PruneReport(volumes_deleted=deleted or None, space_reclaimed=reclaimed))


ROUTES = (
    Route("GET", "/volumes", list_volumes),
    Route("POST", "/volumes/create", create),
    Route("POST", "/volumes/prune", prune),
    Route("GET", "/volumes/{name}", inspect),
    Route("DELETE", "/volumes/{name}", remove),
)
