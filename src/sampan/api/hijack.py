"""A connection that has become a byte stream: take it over, pump a container's stdio through it.

The client's bytes come from the connection's ``RawInput`` (nothing that was sent early is lost,
half-close is end of file on stdin while output goes on); ours go straight to the transport, with
its flow control in both directions. The handler runs until the stream is over and returns
``Hijacked``, a response of which nothing is left to send.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from sampan.aio import Tasks
from sampan.api.conn import Connection, RawInput
from sampan.api.frames import DetachKeys, frame
from sampan.errors import InvalidArgument
from sampan.runtime.contract import AttachStream, Stream

LINGER_S = 2.0
"""How long a client may go on sending after our end of file, before the connection is closed."""

Outcome = Literal["ended", "detached", "gone"]


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


def take_over(request: web.BaseRequest, content_type: str) -> RawConnection:
    """Answer the request's head and take its connection over.

    With an ``Upgrade`` header the answer is 101, without (old clients) 200. Anything that can
    fail as HTTP must have been tried before.
    """
    conn = request.protocol
    if not isinstance(conn, Connection) or conn.raw is None or conn.transport is None:
        # A chunked body: where it ends is only known to the parser, which has eaten stdin too.
        raise InvalidArgument("this connection cannot be hijacked: send a Content-Length")
    conn.raw.taken = True
    conn.keep_alive(False)
    if "Upgrade" in request.headers:
        head = (
            "HTTP/1.1 101 UPGRADED\r\n"
            f"Content-Type: {content_type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        )
    else:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n"
    conn.transport.write(head.encode())
    return RawConnection(conn, conn.raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pumping:
    """Which of the streams a client wants, and how."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool
    close_stdin: bool
    """The client's end of file is the container's, too."""
    detach_keys: bytes = b""
    """Empty: nothing detaches."""


async def pump(raw: RawConnection, stream: AttachStream, how: Pumping) -> Outcome:
    """Copy both ways until the output ends, the client detaches or is gone.

    A client that is gone is noticed when there is something to send to it.
    """
    tasks = Tasks()
    try:
        output = tasks.spawn(_copy_output(raw, stream.output(), how), name="attach/output")
        if how.stdin:
            stdin = tasks.spawn(_copy_input(raw, stream, how), name="attach/stdin")
            await asyncio.wait({output, stdin}, return_when=asyncio.FIRST_COMPLETED)
            if not output.done():
                if stdin.result():
                    return "detached"
                if not (how.stdout or how.stderr):
                    return "ended"
        outcome = await output
        if outcome == "gone" and how.stdin and how.close_stdin:
            # The end of the connection is the end of stdin, after what was sent before it.
            await asyncio.wait({stdin}, timeout=LINGER_S)
        return outcome
    finally:
        await tasks.close()


async def _copy_output(
    raw: RawConnection, chunks: AsyncIterator[tuple[Stream, bytes]], how: Pumping
) -> Outcome:
    wanted = {"stdout": how.stdout, "stderr": how.stderr}
    try:
        async for stream, data in chunks:
            # What is not wanted is read all the same: an unread attachment holds up the monitor.
            if wanted[stream]:
                await raw.write(data if how.tty else frame(stream, data))
    except ConnectionError:
        return "gone"
    return "ended"


async def _copy_input(raw: RawConnection, stream: AttachStream, how: Pumping) -> bool:
    """True: the user typed the detach keys."""
    keys = DetachKeys(how.detach_keys) if how.detach_keys else None
    try:
        while data := await raw.input.read():
            detached = False
            if keys is not None:
                data, detached = keys.feed(data)
            if data:
                await stream.write(data)
            if detached:
                return True
        if how.close_stdin:
            await stream.close_stdin()
    except (BrokenPipeError, ConnectionError):
        # The process has closed its stdin (``head -1``): swallow the rest, so that the client is
        # not stuck in a write while it waits for the output.
        while await raw.input.read():
            pass
    return False
