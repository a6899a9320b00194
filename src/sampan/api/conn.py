"""One client's connection: HTTP by aiohttp, until a request may turn it into a raw byte stream.

``attach`` and ``exec start`` hand the connection over to a container's stdio. What the client sends
behind such a request is stdin, not HTTP, and some clients send it without waiting for the answer.
So the split is made here, before aiohttp's parser sees a byte too many: from the end of a request
that *may* be hijacked on, everything goes into a ``RawInput``. When the request turns out to be
answered in plain HTTP (no such container ...), the bytes go back to the parser.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

HIJACKABLE = re.compile(
    rb"POST (?:/v[0-9.]+)?/(?:containers/[^/ ]+/attach|exec/[^/ ]+/start)[? ]", re.ASCII
)
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
HEAD_LIMIT = 1 << 20
"""Bytes of such a request (a head and a small JSON body) that are held back at most."""
INPUT_HIGH = 256 * 1024
"""Above this many unread bytes the client is not read any more, until half of it is consumed."""


class RawInput:
    """What the client sent after the request, in order, bounded by not reading the socket."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._ready = asyncio.Event()
        self._paused = False
        self.eof = False
        self.taken = False

    def feed(self, data: bytes) -> None:
        """Called by the transport."""
        self._chunks.append(data)
        self._size += len(data)
        self._ready.set()
        if self._size > INPUT_HIGH and not self._paused and self._conn.transport is not None:
            self._paused = True
            self._conn.transport.pause_reading()

    def feed_eof(self) -> None:
        """The client has shut its sending side, or is gone."""
        self.eof = True
        self._ready.set()

    async def read(self) -> bytes:
        """The next bytes; empty at the end."""
        while not self._chunks:
            if self.eof:
                return b""
            self._ready.clear()
            await self._ready.wait()
        data = self._chunks.popleft()
        self._size -= len(data)
        if self._paused and self._size <= INPUT_HIGH // 2 and self._conn.transport is not None:
            self._paused = False
            self._conn.transport.resume_reading()
        return data

    def rest(self) -> bytes:
        """Everything unread, at once."""
        data = b"".join(self._chunks)
        self._chunks.clear()
        return data


class Connection(RequestHandler):
    """aiohttp's protocol, with the split described above."""

    __slots__ = ("_held", "raw")

    def __init__(self, server: web.Server, **kwargs: Any) -> None:
        super().__init__(server, **kwargs)
        self.raw: RawInput | None = None
        self._held = b""

    def data_received(self, data: bytes) -> None:
        if self.raw is not None:
            if data:
                self.raw.feed(data)
            return
        if self._held:
            data, self._held = self._held + data, b""
        # Only between requests: a body may well contain the text of a request.
        if data[:5] == b"POST "[: len(data)] and data and self._idle():
            end = self._end_of_hijackable(data)
            if end is None:
                self._held = data
                return
            if end:
                self.raw = RawInput(self)
                if len(data) > end:
                    self.raw.feed(data[end:])
                data = data[:end]
        super().data_received(data)

    def _idle(self) -> bool:
        if self._request_count == 0:
            return True
        return self._waiter is not None and not self._waiter.done()

    @staticmethod
    def _end_of_hijackable(data: bytes) -> int | None:
        """Where the request ends: 0 when it is none of ours, None when more bytes are needed."""
        if len(data) > HEAD_LIMIT:
            return 0
        if not HIJACKABLE.match(data):
            return None if b"\r\n" not in data and len(data) < 8192 else 0
        head = data.find(b"\r\n\r\n")
        if head < 0:
            return None
        length = CONTENT_LENGTH.search(data, 0, head + 2)
        end = head + 4 + (int(length[1]) if length else 0)
        return end if len(data) >= end else None

    def release(self) -> None:
        """The request was answered as HTTP after all: what came behind it is HTTP too."""
        raw, self.raw = self.raw, None
        if raw is not None and (rest := raw.rest()):
            self.data_received(rest)

    async def drain(self) -> None:
        """Wait until the client has taken enough of what was written.

        Raises:
            ConnectionError: it is gone.
        """
        await self._drain_helper()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        if self.raw is None:
            return None
        self.raw.feed_eof()
        return True  # keep our side open: output goes on after the end of stdin

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.raw is not None:
            self.raw.feed_eof()
            if self.raw.taken:
                # Not cancelled: what came before the end still belongs to the container's stdin.
                self._task_handler = None
        super().connection_lost(exc)


class ApiServer(web.Server):
    """aiohttp's low-level server with our connections."""

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)
