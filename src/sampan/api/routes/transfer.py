"""Images in and out: pull, import, push, load, save."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from sampan.api import credentials
from sampan.api.docker_request import DockerRequest
from sampan.api.json_stream import ProgressStream, answer
from sampan.api.types.images import Line
from sampan.build.changes import config_of
from sampan.errors import InvalidArgument, Unsupported
from sampan.http.router import Route
from sampan.image.reference import parse
from sampan.store.events import Event


def body_chunks(call: DockerRequest) -> AsyncIterator[bytes]:
    """The request's body as it comes; reading it slowly slows the client down."""
    return call.chunks()


async def create(call: DockerRequest) -> web.StreamResponse:
    """``docker pull`` (``fromImage``) and ``docker import`` (``fromSrc``)."""
    if call.text("fromImage"):
        return await _pull(call)
    if call.text("fromSrc"):
        return await _import(call)
    raise InvalidArgument("one of the query parameters fromImage and fromSrc is required")


async def _pull(call: DockerRequest) -> web.StreamResponse:
    images = call.services.images
    name, tag = call.text("fromImage"), call.text("tag")
    if tag:
        name += f"@{tag}" if ":" in tag else f":{tag}"
    reference = parse(name)
    login = credentials.from_header(call.request.headers.get("X-Registry-Auth", ""))
    platform = call.text("platform")
    lines = ProgressStream()

    async def pull() -> None:
        await images.pull(
            reference.canonical, credentials=login, platform=platform, report=lines.progress
        )
        attributes = {"name": reference.familiar}
        call.services.events.publish(Event("image", "pull", reference.familiar, attributes))

    return await answer(call, pull(), lines)


async def _import(call: DockerRequest) -> web.StreamResponse:
    images = call.services.images
    source = call.text("fromSrc")
    if source != "-":
        raise Unsupported(
            f"importing from {source!r} is not supported: download it and pipe it in, as in "
            "curl -L URL | docker import - NAME"
        )
    name, tag = call.text("repo"), call.text("tag")
    ref = parse(f"{name}:{tag}" if tag else name).canonical if name else ""
    changes = call.query.getall("changes", [])
    config = config_of(changes, now=call.services.clock.now()) if changes else None
    lines = ProgressStream()

    async def run() -> None:
        image = await images.import_rootfs(
            body_chunks(call),
            ref=ref,
            message=call.text("message"),
            config=config,
            platform=call.text("platform"),
        )
        call.services.events.publish(Event("image", "import", image.id, {"name": ref or image.id}))
        lines.put(Line(status=image.id))

    return await answer(call, run(), lines)


async def load(call: DockerRequest) -> web.StreamResponse:
    images = call.services.images
    quiet = call.flag("quiet", True)
    lines = ProgressStream()

    async def run() -> None:
        if quiet:
            names = await images.load(body_chunks(call))
        else:
            names = await images.load(body_chunks(call), report=lines.progress)
        for name in names:
            image = images.get(name)
            what = f"Loaded image ID: {name}" if name == image.id else f"Loaded image: {name}"
            lines.put(Line(stream=what + "\n"))
            call.services.events.publish(Event("image", "load", image.id, {"name": name}))

    # As dockerd does: the client has sent its archive, and looks into the stream.
    return await answer(call, run(), lines, errors_in_it=True)


async def save_many(call: DockerRequest) -> web.StreamResponse:
    names = [name for written in call.query.getall("names", []) for name in written.split(",")]
    if not names:
        raise InvalidArgument("the query parameter names is required")
    return await _save(call, names)


async def save_one(call: DockerRequest) -> web.StreamResponse:
    return await _save(call, [call.path["name"]])


async def _save(call: DockerRequest, names: list[str]) -> web.StreamResponse:
    images = call.services.images
    for name in names:
        image = images.get(name)
        call.services.events.publish(Event("image", "save", image.id, {"name": name}))
    return await call.send_all(images.save(names), "application/x-tar")


async def push(call: DockerRequest) -> web.StreamResponse:
    images = call.services.images
    name, tag = call.path["name"], call.text("tag")
    reference = parse(f"{name}:{tag}" if tag else name)
    login = credentials.from_header(call.request.headers.get("X-Registry-Auth", ""))
    lines = ProgressStream()

    async def run() -> None:
        await images.push(reference.canonical, credentials=login, report=lines.progress)
        attributes = {"name": reference.familiar}
        call.services.events.publish(Event("image", "push", reference.familiar, attributes))

    return await answer(call, run(), lines)


ROUTES = (
    Route("POST", "/images/create", create, streams=True),
    Route("POST", "/images/load", load, streams=True),
    Route("GET", "/images/get", save_many, streams=True),
    Route("GET", "/images/{name:path}/get", save_one, streams=True),
    Route("POST", "/images/{name:path}/push", push, streams=True),
)
