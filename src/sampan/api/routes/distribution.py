"""What an image is, without pulling it."""

from __future__ import annotations

from aiohttp import web

from sampan.api import credentials
from sampan.api.call import Call
from sampan.api.types.images import DescriptorBody, DistributionBody, PlatformBody
from sampan.errors import Unsupported
from sampan.http.router import Route
from sampan.image.distribution import Describes
from sampan.image.reference import parse


def describer(call: Call) -> Describes:
    """Who answers. Raises: Unsupported (images of a kind that cannot)."""
    if call.services.describes is not None:
        return call.services.describes
    images = call.services.images
    if not isinstance(images, Describes):
        raise Unsupported("asking a registry about an image is not supported: pull it")
    return images


async def inspect(call: Call) -> web.Response:
    reference = parse(call.path["name"])
    login = credentials.from_header(call.request.headers.get("X-Registry-Auth", ""))
    found = await describer(call).describe(reference, login)
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
