"""Docker's front: its routes, its errors, its headers and its versions, on ``sampan.http``."""

from __future__ import annotations

import platform

from aiohttp import web

from sampan import __version__
from sampan.api import routes, versions
from sampan.api.acknowledge import durably
from sampan.api.docker_request import DockerRequest
from sampan.api.engine_like import EngineLike
from sampan.api.errors import sentence_of, status_of
from sampan.api.translate.summary import Summaries
from sampan.api.types.common import ErrorBody
from sampan.http.context import encode
from sampan.http.front import Around, Front, Limits, Matched

LIMITS = Limits()


def docker_front(
    services: EngineLike, around: tuple[Around[DockerRequest], ...] = ()
) -> Front[DockerRequest]:
    """The Docker Engine API over ``services``, each handler inside of the guards ``around``."""
    summaries = Summaries()

    def context(request: web.BaseRequest, matched: Matched) -> DockerRequest:
        return DockerRequest(request, matched, services, summaries)

    return Front(
        name="docker",
        routes=tuple(routes.every()),
        context=context,
        error=error_answer,
        headers=common_headers(),
        versions=versions.DockerVersions(),
        # the innermost: a guard that looks at an answer looks at one that holds
        around=(*around, durably(services.system)),
        limits=LIMITS,
    )


def common_headers() -> dict[str, str]:
    """On every answer."""
    return {
        "Api-Version": versions.text(versions.NEWEST),
        "Docker-Experimental": "false",
        "Ostype": "linux",
        "Server": f"sampan/{__version__} ({platform.system().lower()})",
    }


def error_answer(request: web.BaseRequest, error: Exception) -> web.Response:
    """``{"message": sentence}``; a 304 has no body."""
    status = status_of(error)
    if status == 304:
        return web.Response(status=status)
    message = sentence_of(error)
    return web.Response(
        status=status,
        body=encode(ErrorBody(message=message)) + b"\n",
        content_type="application/json",
    )
