"""From a request to its handler and back: versions, routes, errors, hang-ups."""

from __future__ import annotations

import asyncio
import logging
import platform

from aiohttp import web

from sampan import __version__
from sampan.api import acknowledge, routes, versions
from sampan.api.call import COMMON_HEADERS, Call, json_response
from sampan.api.conn import ApiServer, Connection
from sampan.api.errors import sentence_of, status_of
from sampan.api.router import Router, split_version
from sampan.api.services import Services
from sampan.api.types.common import ErrorBody

log = logging.getLogger(__name__)

COMMON_HEADERS.update(
    {
        "Api-Version": versions.text(versions.NEWEST),
        "Docker-Experimental": "false",
        "Ostype": "linux",
        "Server": f"sampan/{__version__} ({platform.system().lower()})",
    }
)


class Api:
    """The request handler of the HTTP server."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._router = Router(routes.every())
        self._streams: set[asyncio.Task[object]] = set()

    def hang_up(self) -> None:
        """End every stream: they have no end of their own that a stopping daemon could await."""
        for task in tuple(self._streams):
            task.cancel()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._dispatch(request)
        except asyncio.CancelledError:
            raise
        except ConnectionError:
            raise  # the client is gone; aiohttp closes our side
        except Exception as error:
            if request.writer.output_size > 0:
                # The head is out: all that is left is to break off, so that the client sees it.
                sentence_of(error)
                log.warning("%s %s broke off: %s", request.method, request.path, error)
                raise ConnectionResetError(str(error)) from error
            status = status_of(error)
            if status == 304:
                return web.Response(status=304, headers=COMMON_HEADERS)
            message = sentence_of(error)
            log.debug("%s %s: %d %s", request.method, request.path_qs, status, message)
            return json_response(ErrorBody(message=message), status=status)
        finally:
            conn = request.protocol
            if isinstance(conn, Connection) and conn.raw is not None and not conn.raw.taken:
                conn.release()

    async def _dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        written, path = split_version(request.rel_url.raw_path)
        version = versions.parse(written) if written else versions.NEWEST
        route, variables = self._router.resolve(request.method, path)
        call = Call(request, self._services, version, variables)
        if route.streams:
            task = asyncio.current_task()
            assert task is not None
            self._streams.add(task)
            try:
                response = await route.handler(call)
                if not response.prepared:
                    await acknowledge.durable(request, self._services.store)
                return response
            finally:
                self._streams.discard(task)
        # Shielded: a client that hangs up in the middle must not leave half a change behind.
        verb = self._services.tasks.spawn(_run(route.handler, call), name=path)
        outcome = await asyncio.shield(verb)
        if isinstance(outcome, Exception):
            raise outcome
        await acknowledge.durable(request, self._services.store)
        return outcome


async def _run(handler: routes.Handler, call: Call) -> web.StreamResponse | Exception:
    """Errors are values here: ``Tasks`` would log them as a task's death."""
    try:
        return await handler(call)
    except Exception as error:  # noqa: BLE001 - raised again by the one who waits
        return error


def make_server(api: Api) -> ApiServer:
    """The HTTP server, not listening yet."""
    return ApiServer(
        api.handle,
        handler_cancellation=True,
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=3600.0,
        lingering_time=2.0,
        max_line_size=64 * 1024,
        max_field_size=64 * 1024,
        read_bufsize=256 * 1024,
    )
