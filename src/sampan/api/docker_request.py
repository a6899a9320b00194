"""A request to Docker's API: the request, and the engine that it is for."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from sampan.api import acknowledge
from sampan.api.engine_like import EngineLike
from sampan.api.translate.summary import Summaries
from sampan.http.context import RequestContext, closing, encode
from sampan.http.front import Matched


class DockerRequest(RequestContext):
    """What Docker's handlers get."""

    __slots__ = ("services", "summaries")

    def __init__(
        self,
        request: web.BaseRequest,
        matched: Matched,
        services: EngineLike,
        summaries: Summaries,
    ) -> None:
        super().__init__(request, matched)
        self.services = services
        self.summaries = summaries
        """Rows of ``docker ps`` that need not be made again; the front's own."""

    def streamed(self, headers: Mapping[str, str]) -> web.StreamResponse:
        """What a stream says of a change is on disk when it is said."""
        return acknowledge.stream(self.request, self.services.system, headers)


__all__ = ["DockerRequest", "closing", "encode"]
