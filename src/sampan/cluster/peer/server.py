"""``Server`` on a TCP port.

Connections are accepted here and not by asyncio's server, because what an unknown peer may cost is
decided before the TLS handshake, and because each connection takes the context of the moment: a
renewed certificate needs no new listener.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from aiohttp import web
from aiohttp.client_exceptions import ClientError
from aiohttp.web_protocol import RequestHandler

from sampan.aio import Clock, SystemClock, Tasks
from sampan.cluster.peer.contract import MESSAGE_LIMIT, Identity, PeerRequest, Reply, SocketClosed
from sampan.cluster.peer.limits import Gate, Limits
from sampan.cluster.peer.routes import PeerRoute, RoleOf, Routes, no_such_call
from sampan.cluster.peer.sockets import HttpSocket, keep_alive, listener
from sampan.cluster.peer.tls import Tls, identity_of
from sampan.cluster.peer.wire import ERROR_HEADER, ERROR_TYPE, dump, load, to_header
from sampan.errors import InvalidArgument, SampanError, Unavailable
from sampan.http.context import RequestContext
from sampan.http.front import Front
from sampan.http.front import Limits as HttpLimits
from sampan.http.router import Route as HttpRoute
from sampan.http.server import HttpServer
from sampan.http.status import NoSuchRoute

log = logging.getLogger(__name__)

LIMITS = HttpLimits(
    line_bytes=8190,
    field_bytes=16380,
    headers=64,
    # longer than the client keeps an idle connection, so that no request meets its end
    keepalive_s=75.0,
    linger_s=1.0,
)
_CHUNK = 256 * 1024
_STOP_S = 2.0
_LOG_EVERY_S = 5.0


@dataclass(eq=False, slots=True)
class _Connection:
    address: str
    identity: Identity | None
    transport: asyncio.Transport
    member: bool = False
    deadline: asyncio.TimerHandle | None = None


class PeerServer(Routes):
    """See the contract. ``role_of`` says what the cluster's state knows of a node."""

    def __init__(
        self,
        tls: Tls,
        role_of: RoleOf,
        *,
        limits: Limits | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(role_of)
        self._tls = tls
        self._clock = clock or SystemClock()
        self._gate = Gate(limits or Limits())
        self._tasks = Tasks()
        self._listener: socket.socket | None = None
        self._http: _Http | None = None
        self._connections: dict[object, _Connection] = {}
        self._channels: set[asyncio.Transport] = set()
        """Connections that have become sockets."""
        self._seen: set[object] = set()
        """Protocols that HTTP has begun on, while their handshake's task is not through."""
        self._refused, self._log_at = 0, 0.0
        """Handshakes that failed and were not told of; when the next may be."""

    @property
    def port(self) -> int:
        """The port it listens on (of use when it was started on port 0)."""
        assert self._listener is not None, "not started"
        return int(self._listener.getsockname()[1])

    @property
    def gate(self) -> Gate:
        """Who is connected, in numbers."""
        return self._gate

    async def start(self, host: str, port: int) -> None:
        """Listen on ``host``, an IP address: ``0.0.0.0`` for all of version 4, ``::`` for all.

        Raises:
            Conflict: the address is taken or not this host's.
        """
        made = listener(host, port)
        self._http = _Http(self.front(), self._tasks, self)
        self._listener = made
        self._tasks.spawn(self._accept(made), name=f"peers/{self.port}")

    async def stop(self) -> None:
        """Close the port and every connection. Sockets end at once; answers on their way have
        two seconds before their handlers are cancelled."""
        if self._listener is not None:
            self._listener.close()
        await self._tasks.close()
        for transport in list(self._channels):
            transport.abort()
        if self._http is not None:
            # Connections that only wait for another request have nothing to be given time for.
            self._http.pre_shutdown()
            await self._http.shutdown(_STOP_S)
        for connection in list(self._connections.values()):
            connection.transport.abort()

    async def disconnect(self, node_id: str) -> None:
        """Close every connection of a node."""
        for connection in list(self._connections.values()):
            if connection.identity is not None and connection.identity.node_id == node_id:
                connection.transport.abort()

    # -- connections

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                found, peer = await loop.sock_accept(listener)
            except OSError as error:  # of one connection, or out of file descriptors: not the end
                log.warning("cannot accept a connection of another node: %s", error)
                await self._clock.sleep(0.1)
                continue
            address = str(peer[0]).removeprefix("::ffff:")
            if self._gate.arrive(address, self._clock.monotonic()):
                self._tasks.spawn(self._shake(found, address), name=f"peers/handshake/{address}")
            else:
                found.close()
            # A connection that is waiting already is accepted without a turn of the loop: a
            # flood of them would be all that this process does.
            await asyncio.sleep(0)

    async def _shake(self, found: socket.socket, address: str) -> None:
        http = self._http
        assert http is not None
        shaken: list[RequestHandler] = []

        def protocol() -> RequestHandler:
            shaken.append(http())
            return shaken[0]

        try:
            keep_alive(found)
            found.setblocking(False)
            await asyncio.get_running_loop().connect_accepted_socket(
                protocol,
                found,
                ssl=self._tls.server,
                ssl_handshake_timeout=self._gate.limits.handshake_s,
                ssl_shutdown_timeout=1.0,
            )
        except OSError as error:  # what TLS refuses, time-outs and resets are OSErrors, too
            self._log_refused(address, error)
        finally:
            # One that got as far as HTTP is counted out by ``lost``, whenever that comes.
            if not shaken or shaken[0] not in self._seen:
                self._gate.leave(address, member=False)
            self._seen.difference_update(shaken)

    def _log_refused(self, address: str, error: OSError) -> None:
        """Once in a while: unknown peers could fill the log."""
        self._refused += 1
        now = self._clock.monotonic()
        if now >= self._log_at:
            more = f" ({self._refused - 1} more were refused)" if self._refused > 1 else ""
            log.info("no connection with %s: %s%s", address, str(error) or "it broke off", more)
            self._refused, self._log_at = 0, now + _LOG_EVERY_S

    def connected(self, protocol: object, transport: asyncio.Transport) -> None:
        """The handshake is through (called by the HTTP server)."""
        address = str((transport.get_extra_info("peername") or ("",))[0]).removeprefix("::ffff:")
        identity = self._identity(transport)
        self._seen.add(protocol)
        connection = _Connection(address, identity, transport)
        self._connections[protocol] = connection
        if not self._recognise(connection):
            connection.deadline = asyncio.get_running_loop().call_later(
                self._gate.limits.unknown_s, self._unknown_out, connection
            )

    def _recognise(self, connection: _Connection) -> bool:
        """Count a connection as a member's, if it is one's and there are not too many."""
        identity = connection.identity
        if identity is None or self._role_of(identity.node_id) is None:
            return False
        connection.member = self._gate.recognise(connection.address)
        return connection.member

    def _unknown_out(self, connection: _Connection) -> None:
        # the state may have caught up since: a node that has just joined, over another manager
        if not self._recognise(connection):
            connection.transport.abort()

    def lost(self, protocol: object) -> None:
        """A connection ended (called by the HTTP server)."""
        if (connection := self._connections.pop(protocol, None)) is not None:
            if connection.deadline is not None:
                connection.deadline.cancel()
            self._gate.leave(connection.address, member=connection.member)

    def _identity(self, transport: asyncio.BaseTransport) -> Identity | None:
        found = identity_of(transport.get_extra_info("peercert"))
        if found is None or found.cluster_id != self._tls.credentials.identity.cluster_id:
            return None
        return found

    # -- requests

    def front(self) -> Front[RequestContext]:
        """What was registered until now, as HTTP."""
        return Front(
            name="peers",
            routes=tuple(
                HttpRoute(route.method, route.pattern, partial(self._answer, route))
                for route in self.routes
            ),
            context=RequestContext,
            error=_failure,
            limits=LIMITS,
            cancels=False,
        )

    async def _answer(self, route: PeerRoute, context: RequestContext) -> web.StreamResponse:
        raw = context.request
        assert raw.transport is not None
        request = PeerRequest(
            method=raw.method,
            path=raw.rel_url.raw_path,
            match=context.path,
            query=dict(raw.rel_url.query),
            headers={name.lower(): value for name, value in raw.headers.items()},
            identity=self.admit(route, self._identity(raw.transport)),
            remote=(raw.remote or "").removeprefix("::ffff:"),
            body=_chunks(context),
        )
        if route.socket is not None:
            return await self._open_socket(raw, route, request)
        assert route.handler is not None
        return await _send(raw, await route.handler(request))

    async def _open_socket(
        self, raw: web.BaseRequest, route: PeerRoute, request: PeerRequest
    ) -> web.StreamResponse:
        assert route.socket is not None
        response = web.WebSocketResponse(max_msg_size=MESSAGE_LIMIT, compress=False, timeout=1.0)
        if not response.can_prepare(raw):
            raise InvalidArgument(f"{request.path} is for WebSockets")
        await response.prepare(raw)
        channel, reason = HttpSocket(response), ""
        transport = raw.transport
        assert transport is not None
        self._channels.add(transport)
        try:
            await route.socket(request, channel)
        except SocketClosed:
            pass  # the handler was told, and that ended it
        except SampanError as error:
            reason = str(error)
        except Exception as error:
            log.exception("the handler of socket %s failed", request.path)
            reason = str(load(dump(error)[1]))
        finally:
            self._channels.discard(transport)
        await channel.close(reason)
        return response


class _Http(HttpServer[RequestContext]):
    """A server that says when connections come and go."""

    def __init__(self, front: Front[RequestContext], tasks: Tasks, owner: PeerServer) -> None:
        super().__init__(front, tasks)
        self._owner = owner

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._owner.connected(handler, transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._owner.lost(handler)


async def _chunks(context: RequestContext) -> AsyncIterator[bytes]:
    try:
        async for chunk in context.chunks():
            yield chunk
    except (ClientError, web.RequestPayloadError, OSError) as error:
        raise Unavailable("the caller's connection broke in the middle of its request") from error


def _failure(raw: web.BaseRequest, error: Exception) -> web.Response:
    if isinstance(error, NoSuchRoute):
        error = no_such_call(error)
    if not isinstance(error, SampanError):
        log.error("%s %s failed", raw.method, raw.path, exc_info=error)
    status, body = dump(error)
    response = web.Response(
        status=status,
        body=body,
        content_type=ERROR_TYPE,
        headers={ERROR_HEADER: to_header(body)} if "upgrade" in raw.headers else None,
    )
    if raw.content is not None and not raw.content.is_eof():
        response.force_close()  # do not read what nobody wants
    return response


async def _send(raw: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    if isinstance(reply.body, bytes):
        return web.Response(status=reply.status, headers=dict(reply.headers), body=reply.body)
    response = web.StreamResponse(status=reply.status, headers=dict(reply.headers))
    try:
        await response.prepare(raw)
        async for chunk in reply.body:
            # small writes, so that a slow reader is noticed
            for start in range(0, len(chunk), _CHUNK):
                await response.write(chunk[start : start + _CHUNK])
        await response.write_eof()
    except ConnectionError:
        log.debug("%s went away while %s was sent", raw.remote, raw.path)
    except Exception:
        # Half of the answer is out: only a broken connection still says that it is not whole.
        log.exception("sending %s to %s failed", raw.path, raw.remote)
        if raw.transport is not None:
            raw.transport.abort()
    finally:
        if (close := getattr(reply.body, "aclose", None)) is not None:
            with suppress(RuntimeError):  # it is running: whoever runs it ends it
                await close()
    return response
