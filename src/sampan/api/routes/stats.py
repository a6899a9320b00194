"""What a container uses, and what it has changed."""

from __future__ import annotations

from contextlib import suppress
from typing import cast

from aiohttp import web

from sampan.api.docker_request import DockerRequest, closing, encode
from sampan.api.translate.stats import stats as stats_out
from sampan.api.types.containers import FilesystemChange
from sampan.engine.contract import NoSuchContainer, Sample
from sampan.http.router import Route

_KINDS = {"modified": 0, "added": 1, "deleted": 2}


async def stats(call: DockerRequest) -> web.StreamResponse:
    """One sample a second. Without ``stream``, the second one (processor shares need two); with
    ``one-shot``, the first."""
    engine = call.services.engine
    container = engine.get(call.path["id"])
    stream = call.flag("stream", True)
    one_shot = call.flag("one-shot") and not stream
    before: Sample | None = None
    response: web.StreamResponse | None = None
    async with closing(engine.stats(container.id)) as samples:
        if stream:
            response = await call.stream("application/json")
        with suppress(NoSuchContainer):
            async for sample in samples:
                if response is not None:
                    await response.write(encode(stats_out(sample, before)) + b"\n")
                elif one_shot or before is not None or sample.usage is None:
                    return call.json(stats_out(sample, before))
                before = sample
    return response if response is not None else call.json(stats_out(cast(Sample, before), None))


async def changes(call: DockerRequest) -> web.Response:
    container = call.services.engine.get(call.path["id"])
    found = await call.services.engine.changes(container.id)
    body = [FilesystemChange(path=change.path, kind=_KINDS[change.kind]) for change in found]
    return call.json(body or None)


ROUTES = (
    Route("GET", "/containers/{id:path}/stats", stats, streams=True),
    Route("GET", "/containers/{id:path}/changes", changes),
)
