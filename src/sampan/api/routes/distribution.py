"""What a registry says of an image, without pulling it."""

from __future__ import annotations

from aiohttp import web

from sampan.api import credentials
from sampan.api.call import Call
from sampan.api.router import Route
from sampan.errors import Unsupported
from sampan.image.reference import parse


async def inspect(call: Call) -> web.Response:
    reference = parse(call.path["name"])
    ask = getattr(call.services.images, "distribution", None)
    if ask is None:
        raise Unsupported("asking a registry about an image is not supported: pull it")
    login = credentials.from_header(call.request.headers.get("X-Registry-Auth", ""))
    return call.json(await ask(reference.canonical, credentials=login))


ROUTES = (Route("GET", "/distribution/{name:path}/json", inspect),)
