"""``docker stats``: one answer, or one a second for as long as the client listens."""

from __future__ import annotations

from aiohttp import web

from sampan.api.call import Call, encode
from sampan.api.router import Route
from sampan.api.translate.stats import body
from sampan.engine.contract import NoSuchContainer, Sample


async def stats(call: Call) -> web.StreamResponse:
    engine = call.services.engine
    container = engine.get(call.path["id"])
    samples = engine.stats(container.id)
    before: Sample | None = None
    if not call.flag("stream", True):
        now = await anext(samples)
        # Percentages need two; a container that rests, or a client in a hurry, gets one.
        if now.usage is not None and not call.flag("one-shot"):
            before, now = now, await anext(samples)
        return call.json(body(now, before))
    response = await call.stream("application/json")
    try:
        async for now in samples:
            await response.write(encode(body(now, before)) + b"\n")
            before = now
    except NoSuchContainer:
        pass  # removed: the stream ends
    return response


ROUTES = (Route("GET", "/containers/{id}/stats", stats, streams=True),)
