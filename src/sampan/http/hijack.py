"""A connection that has become a byte stream.

The client's bytes come from the connection's ``RawInput`` (nothing that was sent early is lost,
and a half-closed connection still takes our output); ours go straight to the transport, with its
flow control in both directions. The handler runs until the stream is over and returns ``Hijacked``,
a response of which nothing is left to send.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from sampan.errors import InvalidArgument
from sampan.http.connection import Connection, RawInput

LINGER_S = 2.0
"""How long a client may go on sending after our end of file, before the connection is closed."""


class Hijacked(web.StreamResponse):
    """Stands for an answer that was already given on the raw connection."""

    def __init__(self) -> None:
        super().__init__()
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


@dataclass(frozen=True, slots=True)
class RawConnection:
    """Both directions of a taken-over connection."""

    conn: Connection
    input: RawInput

    async def write(self, data: bytes) -> None:
        """Send, waiting while the client is slow.

        Raises:
            ConnectionError: the client is gone.
        """
        transport = self.conn.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        transport.write(data)
        if self.conn.writing_paused:
            await self.conn.drain()

    async def finish(self) -> None:
        """Say end of file and give the client a moment to see it: closing a unix socket with
        unread bytes in it makes the other side's last read an error."""
        transport = self.conn.transport
        if transport is None:
            return
        if self.conn.raw is not None and not self.input.eof and transport.can_write_eof():
            transport.write_eof()
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    while await self.input.read():
                        pass


def take_over(request: web.BaseRequest, head: bytes) -> RawConnection:
    """Send ``head``, a complete head of an answer, and take the request's connection over.

    Anything that can fail as HTTP must have been tried before.

    Raises:
        InvalidArgument: the request has a chunked body. Where that ends is only known to the
        parser, which has eaten what came behind it, too.
    """
    conn = request.protocol
    if not isinstance(conn, Connection) or conn.raw is None or conn.transport is None:
        raise InvalidArgument("this connection cannot be hijacked: send a Content-Length")
    conn.raw.taken = True
    conn.keep_alive(False)
    conn.transport.write(head)
    return RawConnection(conn, conn.raw)
