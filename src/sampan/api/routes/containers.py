"""Containers as objects: create, list, inspect, rename, update, remove, prune, top."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from sampan.api import timestamps
from sampan.api.docker_request import DockerRequest
from sampan.api.filters import Filters
from sampan.api.translate import create, hostconfig
from sampan.api.translate.container import NetworkIds, inspect, state_name
from sampan.api.translate.summary import FILTERS, Matcher, shown_image
from sampan.api.types import containers as wire
from sampan.api.types.common import CreatedBody, PruneReport
from sampan.api.types.hostconfig import UPDATE_DECODER, HostConfig
from sampan.engine.contract import Engine
from sampan.errors import NotFound, SampanError
from sampan.http.router import Route
from sampan.store.records import Container


def network_ids(engine: Engine) -> NetworkIds:
    """Network name -> id, looked up at most once a name."""
    known: dict[str, str] = {}

    def find(name: str) -> str:
        if name not in known:
            try:
                known[name] = engine.network(name).id
            except SampanError:
                known[name] = ""  # removed since, or never made: shown as empty, as Docker does
        return known[name]

    return find


def _image_ids(call: DockerRequest) -> Callable[[str], str]:
    known: dict[str, str] = {}

    def find(ref: str) -> str:
        if ref not in known:
            try:
                known[ref] = call.services.images.get(ref).id
            except SampanError:
                known[ref] = ""
        return known[ref]

    return find


def _ancestors(call: DockerRequest) -> Callable[[str], frozenset[str]]:
    def find(ref: str) -> frozenset[str]:
        try:
            image = call.services.images.get(ref)
        except NotFound:
            return frozenset()
        ids = {image.id}
        for other in call.services.images.all():
            if other.layers[: len(image.layers)] == image.layers and image.layers:
                ids.add(other.id)
        return frozenset(ids)

    return find


async def create_container(call: DockerRequest) -> web.Response:
    body = await call.body(wire.CREATE_DECODER)
    request = create.request(body, name=call.text("name"), platform=call.text("platform"))
    created = await call.services.engine.create(request)
    warnings = [*created.warnings, *hostconfig.discarded(body.host_config or HostConfig())]
    return call.json(CreatedBody(id=created.id, warnings=warnings), status=201)


async def list_containers(call: DockerRequest) -> web.Response:
    engine = call.services.engine
    filters = Filters.parse(call.text("filters"), FILTERS)
    limit = call.number("limit") or 0
    if limit <= 0:
        # Docker takes -1 and 0 for "no limit"; the old since and before parameters as filters.
        limit = 0
    for old in ("since", "before"):
        if call.text(old):
            filters[old] = (call.text(old),)
    matcher = Matcher(filters, find=engine.get, ancestors=_ancestors(call))
    everything = call.flag("all") or limit > 0 or matcher.wants_stopped
    with_size = call.flag("size")
    now = call.services.clock.now()
    network_id, image_id = network_ids(engine), _image_ids(call)
    containers = engine.all()
    rows: list[wire.Summary] = []
    for container in containers:
        # What crashes again and again is what one opens the list for.
        shown = everything or container.running or state_name(container) == "restarting"
        if not shown or not matcher.matches(container):
            continue
        row = call.summaries.row(container, now, network_id)
        row.image = shown_image(container, image_id)
        rows.append(row)
        if limit and len(rows) == limit:
            break
    if with_size:
        rows = [await _with_size(call, row) for row in rows]
    present = {container.id for container in containers}
    call.summaries.keep(present.__contains__, len(present))
    return call.json(rows)


async def _with_size(call: DockerRequest, row: wire.Summary) -> wire.Summary:
    import copy

    written, whole = await call.services.engine.size(row.id)
    sized = copy.copy(row)
    sized.size_rw, sized.size_root_fs = written, whole
    return sized


async def inspect_container(call: DockerRequest) -> web.Response:
    engine = call.services.engine
    container = engine.get(call.path["id"])
    host = call.services.system.host_side(container)
    body = inspect(container, host, network_id=network_ids(engine))
    if call.flag("size"):
        body.size_rw, body.size_root_fs = await engine.size(container.id)
    return call.json(body)


async def rename_container(call: DockerRequest) -> web.Response:
    await call.services.engine.rename(call.path["id"], call.needs("name"))
    return call.empty()


async def update_container(call: DockerRequest) -> web.Response:
    body = await call.body(UPDATE_DECODER)
    restart = None
    if body.restart_policy is not None and body.restart_policy.name:
        restart = hostconfig.restart_policy(body.restart_policy)
    warnings = await call.services.engine.update(
        call.path["id"], hostconfig.resources(body), restart
    )
    return call.json(wire.UpdateResponse(warnings=[*warnings, *hostconfig.discarded(body)]))


async def remove_container(call: DockerRequest) -> web.Response:
    await call.services.engine.remove(
        call.path["id"], force=call.flag("force"), volumes=call.flag("v"), link=call.flag("link")
    )
    return call.empty()


async def prune_containers(call: DockerRequest) -> web.Response:
    filters = Filters.parse(call.text("filters"), ("label", "label!", "until"))
    until = [
        timestamps.parse_ns(value, "until", now=call.services.clock.now()) / 1e9
        for value in filters.get("until", ())
    ]

    def matches(container: Container) -> bool:
        labels = container.spec.labels
        return (
            filters.labels(labels)
            and filters.without_labels(labels)
            and all(container.created_at < moment for moment in until)
        )

    deleted, reclaimed = await call.services.engine.prune(matches)
    return call.json(PruneReport(containers_deleted=deleted or None, space_reclaimed=reclaimed))


async def top(call: DockerRequest) -> web.Response:
    titles, processes = await call.services.engine.top(call.path["id"], call.text("ps_args", "-ef"))
    return call.json(
        wire.TopBody(titles=list(titles), processes=[list(p.values) for p in processes])
    )


ROUTES = (
    Route("POST", "/containers/create", create_container),
    Route("GET", "/containers/json", list_containers),
    Route("POST", "/containers/prune", prune_containers),
    Route("GET", "/containers/{id:path}/json", inspect_container),
    Route("POST", "/containers/{id:path}/rename", rename_container),
    Route("POST", "/containers/{id:path}/update", update_container),
    Route("DELETE", "/containers/{id:path}", remove_container),
    Route("GET", "/containers/{id:path}/top", top),
)

__all__ = ["ROUTES", "network_ids"]
