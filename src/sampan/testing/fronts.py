"""A small front with nothing of Docker's: another form of errors, other headers, no versions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from sampan.aio import Tasks
from sampan.errors import Conflict
from sampan.http.context import RequestContext
from sampan.http.front import Around, Front, Limits
from sampan.http.hijack import Hijacked, take_over
from sampan.http.router import Route
from sampan.http.server import HttpServer
from sampan.http.sockets import open_unix
from sampan.http.status import NoSuchRoute, Statuses

C = TypeVar("C")


class Note(msgspec.Struct, rename="pascal"):
    text: str
    tags: dict[str, str] = {}


_NOTE = msgspec.json.Decoder(Note)
_STATUSES = Statuses({Conflict: 412})


@dataclass
class Notes:
    """What the small front serves."""

    notes: list[Note] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """``/slow`` answers when it is set."""
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client of ``/feed`` is gone."""

    async def hello(self, context: RequestContext) -> web.StreamResponse:
        return web.Response(text="hello", headers=context.headers)

    async def add(self, context: RequestContext) -> web.StreamResponse:
        note = await context.body(_NOTE)
        if note in self.notes:
            raise Conflict("that was noted already")
        self.notes.append(note)
        return context.json(note, status=201)

    async def count(self, context: RequestContext) -> web.StreamResponse:
        size = 0
        async for chunk in context.chunks():
            size += len(chunk)
        return context.json({"bytes": size})

    async def slow(self, context: RequestContext) -> web.StreamResponse:
        await self.gate.wait()
        self.notes.append(Note("slow"))
        return context.empty()

    async def feed(self, context: RequestContext) -> web.StreamResponse:
        response = await context.stream("text/plain")
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.hung_up.set()
            raise
        return response

    async def echo(self, context: RequestContext) -> web.StreamResponse:
        raw = take_over(context.request, b"HTTP/1.1 101 Switching\r\nUpgrade: echo\r\n\r\n")
        while data := await raw.input.read():
            await raw.write(data)
        await raw.finish()
        return Hijacked()

    def front(
        self, *around: Around[RequestContext], limits: Limits | None = None
    ) -> Front[RequestContext]:
        """The front, each handler inside of ``around``."""
        return Front(
            name="notes",
            routes=(
                Route("GET", "/hello", self.hello),
                Route("HEAD", "/hello", self.hello),
                Route("GET", "/notes/{name:path}", self.hello),
                Route("POST", "/notes", self.add),
                Route("PUT", "/count", self.count, streams=True),
                Route("POST", "/slow", self.slow),
                Route("GET", "/feed", self.feed, streams=True),
                Route("POST", "/echo/{name}", self.echo, streams=True, hijacks=True),
            ),
            context=RequestContext,
            error=plain_error,
            headers={"X-Notes": "yes"},
            around=around,
            limits=limits or Limits(),
        )


def plain_error(request: web.BaseRequest, error: Exception) -> web.Response:
    """One line of text, and 405 where a path has other methods."""
    status, headers = _STATUSES.of(error), {}
    if isinstance(error, NoSuchRoute) and error.allowed:
        status, headers = 405, {"Allow": ", ".join(sorted(error.allowed))}
    return web.Response(status=status, text=f"notes: {error}\n", headers=headers)


@asynccontextmanager
async def listening(front: Front[Any], path: Path) -> AsyncIterator[HttpServer[Any]]:
    """A server of ``front`` on a unix socket."""
    tasks = Tasks()
    server = HttpServer(front, tasks)
    runner = web.ServerRunner(server, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, open_unix(path, "docker")).start()
        yield server
    finally:
        server.hang_up()
        await runner.cleanup()
        await tasks.close()
