"""One front, listening: from a request to its handler and back."""

from __future__ import annotations

import asyncio
import logging
from typing import Generic, TypeVar

from aiohttp import web
from aiohttp.client_exceptions import ClientPayloadError
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDict

from sampan.aio import Tasks
from sampan.http.connection import Connection
from sampan.http.front import UNVERSIONED, Front, Matched, guarded, hijackable
from sampan.http.router import Handler, Router
from sampan.http.status import MalformedRequest

log = logging.getLogger(__name__)

C = TypeVar("C")


class HttpServer(web.Server, Generic[C]):
    """The server of one front; ``web.ServerRunner`` takes it, and ``server()`` is the protocol of
    a new connection. ``tasks`` holds the requests that go on when their client has hung up: its
    owner closes it before what the handlers stand on."""

    def __init__(self, front: Front[C], tasks: Tasks) -> None:
        limits = front.limits
        super().__init__(
            self._handle,
            handler_cancellation=front.cancels,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=limits.keepalive_s,
            lingering_time=limits.linger_s,
            max_line_size=limits.line_bytes,
            max_field_size=limits.field_bytes,
            max_headers=limits.headers,
            read_bufsize=limits.read_bytes,
        )
        routes = tuple(front.routes)
        self.front = front
        self.hijackable = hijackable(front, routes)
        self._router = Router(routes)
        self._handlers: dict[int, Handler[C]] = {
            id(route): guarded(route, front.around) for route in routes
        }
        self._headers: CIMultiDict[str] = CIMultiDict(front.headers)
        self._tasks = tasks
        self._streams: set[asyncio.Task[object]] = set()

    def __call__(self) -> RequestHandler:
        return Connection(self, self.hijackable, self.failure, loop=self._loop, **self._kwargs)

    def hang_up(self) -> None:
        """End every stream: they have no end of their own that a stopping daemon could await."""
        for task in tuple(self._streams):
            task.cancel()

    def failure(self, request: web.BaseRequest, error: Exception) -> web.Response:
        """The answer that tells of ``error``, with the headers of the front."""
        answer = self.front.error(request, error)
        for name, value in self._headers.items():
            answer.headers.setdefault(name, value)
        return answer

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        conn = request.protocol
        assert isinstance(conn, Connection)
        try:
            if conn.ended and not request.content.is_eof():
                # It may still read: whoever shuts its sending side waits for an answer.
                raise MalformedRequest("the connection ends before the body does")
            return await self._dispatch(request, conn)
        except ConnectionError:
            raise  # the client is gone; aiohttp closes our side
        except Exception as raised:
            error = _blamed(raised)
            answer = self.failure(request, error)
            if request.writer.output_size > 0:
                # The head is out: all that is left is to break off, so that the client sees it.
                log.warning("%s %s broke off: %s", request.method, request.path, error)
                raise ConnectionResetError(str(error)) from raised
            log.debug("%s %s: %d %s", request.method, request.path_qs, answer.status, error)
            return answer
        finally:
            if conn.raw is not None and not conn.raw.taken:
                conn.release()
            conn.answered()

    async def _dispatch(self, request: web.BaseRequest, conn: Connection) -> web.StreamResponse:
        front, path, version = self.front, request.rel_url.raw_path, UNVERSIONED
        if "%00" in request.path_qs:
            # No name, path or text of ours has one: C ends its strings with it.
            raise MalformedRequest("the request's target has a NUL character (%00): leave it out")
        if front.versions is not None:
            version, path = front.versions.split(path)
        method = request.method
        route, variables = self._router.resolve(method, path)
        context = front.context(
            request, Matched(version, variables, self._headers, method, route.pattern)
        )
        handler = self._handlers[id(route)]
        if route.streams:
            task = asyncio.current_task()
            assert task is not None
            self._streams.add(task)
            conn.streaming = True
            try:
                return await handler(context)
            finally:
                conn.streaming = False
                self._streams.discard(task)
        if not (route.shielded and front.cancels):
            return await handler(context)
        # A client that hangs up in the middle must not leave half a change behind.
        verb = self._tasks.spawn(_outcome(handler, context), name=f"{front.name}{path}")
        outcome = await asyncio.shield(verb)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def _blamed(error: Exception) -> Exception:
    """A body that breaks HTTP's rules is its sender's mistake, wherever it came to light."""
    if isinstance(error, (web.RequestPayloadError, HttpProcessingError, ClientPayloadError)):
        return MalformedRequest(f"the body cannot be read: {error}".splitlines()[0])
    return error


async def _outcome(handler: Handler[C], context: C) -> web.StreamResponse | Exception:
    """Errors are values here: ``Tasks`` would log them as a task's death."""
    try:
        return await handler(context)
    except Exception as error:  # noqa: BLE001 - raised again by the one who waits
        return error
