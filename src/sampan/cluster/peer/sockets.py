"""Message channels over aiohttp's WebSockets, and the settings of the TCP below."""

from __future__ import annotations

import socket
from typing import Any

import aiohttp
from aiohttp import web

from sampan.cluster.peer.contract import SocketClosed
from sampan.errors import Conflict

_BACKLOG = 512
_NORMAL, _FAILED = 1000, 4000
_REASON_LIMIT = 120
"""Bytes that a close frame has room for."""
_BROKEN = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED)


class HttpSocket:
    """``Socket`` of either side."""

    def __init__(self, ws: web.WebSocketResponse | aiohttp.ClientWebSocketResponse[bool]) -> None:
        self._ws = ws
        self._reason = ""

    async def send(self, message: bytes) -> None:
        if self._ws.closed:
            raise SocketClosed(self._reason)
        try:
            await self._ws.send_bytes(message)
        except (ConnectionError, RuntimeError, aiohttp.ClientError) as error:
            raise SocketClosed(self._reason or str(error)) from error

    async def receive(self) -> bytes:
        while not self._ws.closed:
            message = await self._ws.receive()
            if message.type is aiohttp.WSMsgType.BINARY:
                return bytes(message.data)
            if message.type in _BROKEN:
                self._reason = self._reason or (message.extra or "")
            elif message.type is aiohttp.WSMsgType.ERROR:
                self._reason = self._reason or f"the connection broke: {message.data}"
                await self._ws.close()
            else:  # text: nobody of us sends that
                await self.close("only binary messages are understood here")
        raise SocketClosed(self._reason)

    async def close(self, reason: str = "") -> None:
        if self._ws.closed:
            return
        self._reason = self._reason or reason
        code = _FAILED if reason else _NORMAL
        said = reason.encode()[:_REASON_LIMIT].decode(errors="ignore").encode()
        await self._ws.close(code=code, message=said)


def keep_alive(found: socket.socket) -> None:
    """Notice within about ten seconds that the host at the other end is gone. Whoever needs it
    sooner sends heartbeats; this is what frees the rest: idle connections, half-sent blobs."""
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def dialler(info: tuple[Any, ...]) -> socket.socket:
    """A socket for a new connection to another node."""
    family, kind, protocol = info[0], info[1], info[2]
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    keep_alive(made)
    return made


def listener(host: str, port: int) -> socket.socket:
    """A socket for the connections of other nodes.

    Raises:
        Conflict: the address is taken or not this host's.
    """
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setblocking(False)
        made.bind((host, port))
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        why = (error.strerror or str(error)).lower()
        raise Conflict(f"cannot listen on {host}:{port} for other nodes: {why}") from error
    return made
