"""The daemon itself: ping, version, info, events, disk usage, login."""

from __future__ import annotations

import asyncio
import copy
import platform
from collections import Counter
from contextlib import suppress
from itertools import takewhile

from aiohttp import web

from sampan import __version__
from sampan.api import credentials, facts, timestamps, versions
from sampan.api.disk import disk_usage
from sampan.api.docker_request import DockerRequest, encode
from sampan.api.filters import Filters
from sampan.api.routes.containers import network_ids
from sampan.api.routes.volumes import body_of
from sampan.api.translate import image as image_out
from sampan.api.translate.event import FILTERS, event_out, wants
from sampan.api.translate.summary import Summaries
from sampan.api.types import system as wire
from sampan.api.types.images import AUTH_DECODER, AuthAnswer, ImageSummary
from sampan.api.types.volumes import UsageData
from sampan.errors import InvalidArgument
from sampan.http.router import Route
from sampan.store.events import FeedLagged
from sampan.store.records import Image

_PING = {
    "Builder-Version": "1",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
    "Content-Type": "text/plain; charset=utf-8",
}


async def ping(call: DockerRequest) -> web.Response:
    return web.Response(body=b"OK", headers={**call.headers, **_PING, "Swarm": _swarm(call)})


async def ping_head(call: DockerRequest) -> web.Response:
    headers = {**call.headers, **_PING, "Swarm": _swarm(call), "Content-Length": "0"}
    return web.Response(headers=headers)


def _swarm(call: DockerRequest) -> str:
    """``active/manager``: clients hide commands by it."""
    if call.services.cluster is None:
        return "inactive"
    info = call.services.cluster.info()
    if info.state != "active":
        return info.state
    return "active/manager" if info.control_available else "active/worker"


async def version(call: DockerRequest) -> web.Response:
    details = {
        "ApiVersion": versions.text(versions.NEWEST),
        "MinAPIVersion": versions.text(versions.OLDEST),
        "Arch": facts.architecture(),
        "Os": "linux",
        "KernelVersion": platform.release(),
        "PythonVersion": platform.python_version(),
        "GitCommit": "",
        "GoVersion": "",
        "BuildTime": "",
        "Experimental": "false",
    }
    return call.json(
        wire.Version(
            platform=wire.PlatformName(name="sampan"),
            components=[wire.Component(name="Engine", version=__version__, details=details)],
            version=__version__,
            api_version=details["ApiVersion"],
            min_api_version=details["MinAPIVersion"],
            git_commit="",
            go_version="",
            os="linux",
            arch=details["Arch"],
            kernel_version=details["KernelVersion"],
            build_time="",
        )
    )


async def info(call: DockerRequest) -> web.Response:
    return call.json(await call.services.system.info())


async def events(call: DockerRequest) -> web.StreamResponse:
    """JSON lines, until ``until`` or until the client hangs up."""
    clock = call.services.clock
    now = clock.now()
    since = timestamps.parse_ns(call.text("since"), "since", now=now)
    until = timestamps.parse_ns(call.text("until"), "until", now=now)
    if since and until and since > until:
        raise InvalidArgument("until cannot be before since")
    filters = Filters.parse(call.text("filters"), FILTERS)
    question = wants(filters)
    with call.services.events.feed(
        lambda event: question(event) and not (until and event.time_ns > until),
        # Only "until" and no "since": from the beginning of what is known, as "since 0" is.
        since_ns=since if since or call.text("since") else None,
    ) as feed:
        response = await call.stream("application/json")
        left = until / 1e9 - clock.now() if until else None
        if left is not None:
            # What history holds is in the feed already; nothing newer counts once it is late.
            asyncio.get_running_loop().call_later(max(left, 0), feed.close)
        with suppress(FeedLagged):
            async for event in feed:
                # Who acts on an event must not be ahead of the disk.
                await call.services.system.durable()
                await response.write(encode(event_out(event, call.version)) + b"\n")
        return response


async def df(call: DockerRequest) -> web.Response:
    services = call.services
    images, engine = services.images, services.engine
    kinds = set(call.query.getall("type", [])) or {"container", "image", "volume", "build-cache"}
    users = Counter(container.image_id for container in engine.all())
    body = wire.DiskUsage(
        layers_size=images.disk_usage(),
        images=None,
        containers=None,
        volumes=None,
        build_cache=None,
    )
    if "image" in kinds:
        body.images = [_image_usage(call, image, users) for image in images.all()]
    if "container" in kinds:
        summaries, body.containers = Summaries(), []
        network_id = network_ids(engine)
        for container in engine.all():
            row = copy.copy(summaries.row(container, services.clock.now(), network_id))
            row.size_rw, row.size_root_fs = await engine.size(container.id)
            body.containers.append(row)
    if "volume" in kinds:
        body.volumes = [
            body_of(
                volume,
                engine.volume_scope(volume),
                UsageData(
                    ref_count=len(engine.volume_users(volume.name)),
                    # Not what is a plugin's: it may be on another host, or gone.
                    size=await disk_usage(volume.mountpoint)
                    if engine.volume_is_engine_owned(volume)
                    else -1,
                ),
            )
            for volume in engine.volumes()
        ]
    if "build-cache" in kinds:
        body.build_cache = [
            wire.CacheRecord(
                id=entry.key,
                type="regular",
                description=entry.image_id,
                in_use=entry.image_id in users,
                shared=False,
                size=0,
                created_at=timestamps.rfc3339(entry.created_at),
                last_used_at=timestamps.rfc3339(entry.last_used_at),
                usage_count=1,
            )
            for entry in services.builder.cache()
        ]
    if call.version < (1, 42):
        body.builder_size = 0
    return call.json(body)


def _image_usage(call: DockerRequest, image: Image, users: Counter[str]) -> ImageSummary:
    """An image with what it shares with others: layers that other images have, too."""
    images = call.services.images
    row = image_out.summary(
        image,
        images.config(image),
        tags=images.tags(image.id),
        digests=images.digests(image.id),
        containers=users[image.id],
        version=call.version,
    )
    others = (other.layers for other in images.all() if other.id != image.id)
    common = max((_common(image.layers, layers) for layers in others), default=0)
    row.shared_size = sum(images.layer_sizes(image)[:common])
    return row


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many layers two stacks have in common."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return sum(1 for _ in same)


async def auth(call: DockerRequest) -> web.Response:
    body = await call.body(AUTH_DECODER)
    await call.services.images.login(body.serveraddress or "docker.io", credentials.from_body(body))
    return call.json(AuthAnswer(status="Login Succeeded"))


ROUTES = (
    Route("GET", "/_ping", ping),
    Route("HEAD", "/_ping", ping_head),
    Route("GET", "/version", version),
    Route("GET", "/info", info),
    Route("GET", "/events", events, streams=True),
    Route("GET", "/system/df", df),
    Route("POST", "/auth", auth),
)
