"""What an image is, without pulling it."""

from __future__ import annotations

from aiohttp import web

from sampan.api import credentials
from sampan.api.docker_request import DockerRequest
from sampan.api.types.images import DescriptorBody, DistributionBody, PlatformBody
from sampan.http.router import Route
from sampan.image.reference import parse


async def inspect(call: DockerRequest) -> web.Response:
    reference = parse(call.path["name"])
    login = credentials.from_header(call.request.headers.get("X-Registry-Auth", ""))
    found = await call.services.describe(reference, login)
    return call.json(
        DistributionBody(
            descriptor=DescriptorBody(
                media_type=found.media_type, digest=found.digest, size=found.size
            ),
            platforms=[
                PlatformBody(architecture=one.architecture, os=one.os, variant=one.variant)
                for one in found.platforms
            ],
        )
    )


ROUTES = (Route("GET", "/distribution/{name:path}/json", inspect),)
