"""Building an image from a context in the request's body; pruning what builds left."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
from aiohttp import web

from sampan.aio import in_thread, shielded
from sampan.api import context, credentials, timestamps
from sampan.api.docker_request import DockerRequest
from sampan.api.filters import Filters
from sampan.api.json_stream import ProgressStream, answer
from sampan.api.routes.transfer import body_chunks
from sampan.api.types.common import PruneReport
from sampan.api.types.hostconfig import Ulimit as WireUlimit
from sampan.api.types.images import Line
from sampan.build.contract import BuildOutput, BuildRequest, anything
from sampan.errors import InvalidArgument, Unsupported
from sampan.http.router import Route
from sampan.store.records import BuildCacheEntry, Ulimit

_ARGS = msgspec.json.Decoder(dict[str, str | None] | None)
_LABELS = msgspec.json.Decoder(dict[str, str] | None)
_STRINGS = msgspec.json.Decoder(list[str] | None)
_ULIMITS = msgspec.json.Decoder(list[WireUlimit] | None)
_CLEANUP_S = 60.0
CACHE_FILTERS = (
    "description", "id", "inuse", "label", "label!", "parent", "private", "shared", "type", "until",
    "unused-for",
)  # fmt: skip


class _BuildResult(msgspec.Struct):
    id: str = msgspec.field(name="ID")


def _json(call: DockerRequest, name: str, decoder: msgspec.json.Decoder[object]) -> object:
    """A query parameter that is JSON."""
    written = call.text(name)
    if not written:
        return None
    try:
        return decoder.decode(written)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"invalid value for parameter {name}: {error}") from error


def _extra_hosts(call: DockerRequest) -> tuple[str, ...]:
    """ "name:address", repeated or joined by commas; docker-py sends "name:address" too."""
    written = [part for one in call.query.getall("extrahosts", []) for part in one.split(",")]
    return tuple(part for part in written if part)


def request_of(call: DockerRequest, directory: Path) -> BuildRequest:
    """Every parameter of the query.

    Raises:
        InvalidArgument, Unsupported
    """
    if call.text("version", "1") not in ("", "1"):
        raise Unsupported(
            "this daemon has the classic builder only: set DOCKER_BUILDKIT=0 and build again"
        )
    if call.text("remote") not in ("", "client-session"):
        raise Unsupported(
            "building from a URL is not supported: fetch it and build from the directory"
        )
    args = _json(call, "buildargs", _ARGS)
    labels = _json(call, "labels", _LABELS)
    cache_from = _json(call, "cachefrom", _STRINGS)
    ulimits = _json(call, "ulimits", _ULIMITS)
    return BuildRequest(
        context=directory,
        dockerfile=call.text("dockerfile") or "Dockerfile",
        tags=tuple(tag for tag in call.query.getall("t", []) if tag),
        build_args=args if isinstance(args, dict) else {},
        labels=labels if isinstance(labels, dict) else {},
        target=call.text("target"),
        no_cache=call.flag("nocache"),
        pull=call.flag("pull"),
        cache_from=tuple(cache_from) if isinstance(cache_from, list) else (),
        network_mode=call.text("networkmode") or "default",
        extra_hosts=_extra_hosts(call),
        memory=call.number("memory", 0) or 0,
        shm_size=call.number("shmsize", 0) or 0,
        ulimits=tuple(
            Ulimit(name=limit.name, soft=limit.soft, hard=limit.hard)
            for limit in (ulimits if isinstance(ulimits, list) else ())
        ),
        platform=call.text("platform"),
        squash=call.flag("squash"),
        credentials=credentials.from_config_header(
            call.request.headers.get("X-Registry-Config", "")
        ),
    )


async def build(call: DockerRequest) -> web.StreamResponse:
    services = call.services
    directory = services.system.scratch / f"context-{secrets.token_hex(8)}"
    request = request_of(call, directory)
    quiet = call.flag("q")
    lines = ProgressStream()

    def emit(output: BuildOutput) -> None:
        if output.image_id:
            lines.put(Line(aux=_BuildResult(id=output.image_id)))
        elif quiet:
            return
        elif output.progress is not None:
            lines.progress(output.progress)
        else:
            lines.put(Line(stream=output.text))

    async def run() -> None:
        try:
            await context.receive(body_chunks(call), directory)
            image_id = await services.builder.build(request, emit)
            if quiet:
                lines.put(Line(stream=f"{image_id}\n"))
        finally:
            await shielded(in_thread(_remove, directory), deadline_s=_CLEANUP_S)

    return await answer(call, run(), lines)


def _remove(directory: Path) -> None:
    with suppress(FileNotFoundError):  # the disk may have had no room even for the directory
        shutil.rmtree(directory)


async def prune(call: DockerRequest) -> web.Response:
    filters = Filters.parse(call.text("filters"), CACHE_FILTERS)
    keys, reclaimed = await call.services.builder.prune(
        _cache_filter(call, filters) if filters else anything, all=call.flag("all")
    )
    return call.json(PruneReport(caches_deleted=keys or None, space_reclaimed=max(0, reclaimed)))


def _cache_filter(call: DockerRequest, filters: Filters) -> Callable[[BuildCacheEntry], bool]:
    """As BuildKit has them: ``until`` is of the last use, several of one key are alternatives. A
    step has no labels and no parent, is of the type "regular", and is shared with nobody."""
    users = {container.image_id for container in call.services.engine.all()}
    now = call.services.clock.now()
    until = [
        timestamps.parse_ns(value, name, now=now) / 1e9
        for name in ("until", "unused-for")
        for value in filters.get(name, ())
    ]
    flags = {name: filters.flag(name) for name in ("inuse", "shared", "private") if name in filters}
    always = (
        filters.labels({})
        and filters.exact("type", "regular")
        and "parent" not in filters
        and flags.get("shared", False) is False
        and flags.get("private", True) is True
    )

    def matches(entry: BuildCacheEntry) -> bool:
        return (
            always
            and all(entry.last_used_at < moment for moment in until)
            and filters.prefix("id", entry.key)
            and filters.pattern("description", entry.image_id)
            and flags.get("inuse", entry.image_id in users) is (entry.image_id in users)
        )

    return matches


ROUTES = (
    Route("POST", "/build", build, streams=True),
    Route("POST", "/build/prune", prune),
)
