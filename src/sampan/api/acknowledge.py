"""The answer to a change means: it is on disk.

Every request but the reading ones waits for the store before the first word of its answer that can
be taken for "done": the whole of a plain answer, each write of a streamed one. What a handler did
on the way need not be known here, as waiting for the newest transaction waits for all of them; when
nothing has changed, nothing is waited for. docs/design/store.md argues it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from aiohttp import web

from sampan.api.engine_like import System
from sampan.http.context import RequestContext
from sampan.http.front import Around
from sampan.http.router import Handler

C = TypeVar("C", bound=RequestContext)

READING = frozenset(("GET", "HEAD", "OPTIONS"))
"""They promise nothing: what they show may be some milliseconds ahead of the disk."""


def durably(system: System) -> Around[C]:
    """A guard: what was changed survives a power cut when the answer begins. Its answers are
    errors (StoreFailed) when the disk refuses."""

    async def guard(call: C, handler: Handler[C]) -> web.StreamResponse:
        response = await handler(call)
        if call.method not in READING and not response.prepared:
            await system.durable()
        return response

    return guard


class DurableStream(web.StreamResponse):
    """A streamed answer that says nothing that is not on disk yet."""

    def __init__(self, system: System, headers: Mapping[str, str]) -> None:
        super().__init__(headers=headers)
        self._system = system

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await self._system.durable()
        await super().write(data)


def stream(
    request: web.BaseRequest, system: System, headers: Mapping[str, str]
) -> web.StreamResponse:
    """A streamed answer to ``request``, not begun yet."""
    if request.method in READING:
        return web.StreamResponse(headers=headers)
    return DurableStream(system, headers)
