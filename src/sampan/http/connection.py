"""One client's connection: HTTP by aiohttp, until a request may turn it into a raw byte stream.

What a client sends behind a request that is hijacked is no HTTP, and some clients send it without
waiting for the answer. So the split is made here, before aiohttp's parser sees a byte too many:
from the end of a request that *may* be hijacked on, everything goes into a ``RawInput``. When the
request turns out to be answered in plain HTTP, the bytes go back to the parser.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from sampan.errors import Internal
from sampan.http.status import MalformedRequest

log = logging.getLogger(__name__)

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding[ \t]*:", re.IGNORECASE)
HEAD_LIMIT = 1 << 20
"""Bytes of such a request (a head and a small JSON body) that are held back at most."""
PIECE = 16 * 1024
"""Bytes that are parsed at once while a head may be among them."""
INPUT_HIGH = 256 * 1024
"""Above this many unread bytes the client is no longer read, until half of it is consumed."""


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
    """aiohttp's protocol, with the split described above.

    ``hijackable`` matches the beginning of the requests that may be taken over (None: there are
    none), ``failure`` makes the answer to what is no HTTP.
    """

    __slots__ = (
        "_answered",
        "_deaf",
        "_failure",
        "_held",
        "_hijackable",
        "_lingering",
        "ended",
        "raw",
        "streaming",
    )

    def __init__(
        self,
        server: web.Server,
        hijackable: re.Pattern[bytes] | None,
        failure: Callable[[web.BaseRequest, Exception], web.Response],
        **kwargs: Any,
    ) -> None:
        super().__init__(server, **kwargs)
        self.raw: RawInput | None = None
        self.streaming = False
        """The answer under way has no end of its own."""
        self.ended = False
        """The client has shut its sending side, and waits for answers."""
        self._lingering: asyncio.Event | None = None
        """What comes is dropped; set when the client's end of file does."""
        self._deaf = False
        """The client has sent something that is no HTTP: its answer is the last thing here."""
        self._held = b""
        self._answered = 0
        """Requests whose handlers are through."""
        self._hijackable = hijackable
        self._failure = failure

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what aiohttp refuses by itself, in the front's own form."""
        if request.writer.output_size > 0:
            raise ConnectionResetError("the head of another answer is out")
        error: Exception
        if isinstance(exc, HttpProcessingError):
            why = (message or exc.message or type(exc).__name__).strip().splitlines()[0]
            log.info(
                "%s sent something that is not valid HTTP: %s", request.remote or "a client", why
            )
            error = MalformedRequest(why.rstrip(":"))
        else:
            error = exc if isinstance(exc, Exception) else Internal(message or "")
        return _LastWord(self, self._failure(request, error))

    async def linger(self) -> None:
        """Say end of file, and drop what the client sends until it has seen it: closing a socket
        with unread bytes in it turns the client's next read into an error."""
        transport = self.transport
        if transport is None or not self._half_closes():
            return
        self._lingering = asyncio.Event()
        transport.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._lingering_time):
                await self._lingering.wait()

    def data_received(self, data: bytes) -> None:
        if self._lingering is not None or self._deaf:
            return
        if self.raw is not None:
            if data:
                self.raw.feed(data)
            else:
                # The parser holds back a body larger than its buffer, and asks for its next part.
                super().data_received(data)
            return
        if self._held:
            data, self._held = self._held + data, b""
        # Only between requests: a body may well contain the text of a request.
        if (
            self._hijackable is not None
            and data[:5] == b"POST "[: len(data)]
            and data
            and self._idle()
        ):
            end = self._end_of_hijackable(data)
            if end is None:
                self._held = data
                return
            if end:
                self.raw = RawInput(self)
                if len(data) > end:
                    self.raw.feed(data[end:])
                data = data[:end]
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        """Hand over to the parser. Where it meets something that is no HTTP, it makes texts of all
        that it was given last, several times over, and it would do so again with what comes after:
        so a head is given to it in pieces, and then no more."""
        start = 0
        while len(data) - start > PIECE and self._idle():
            super().data_received(data[start : start + PIECE])
            start += PIECE
            if self._refused():
                return
        super().data_received(data[start:] if start else data)
        self._refused()

    def _refused(self) -> bool:
        """Whether the parser has given up; what comes from now on is dropped."""
        if self._messages and not isinstance(self._messages[-1][0], RawRequestMessage):
            self._deaf = True
        return self._deaf

    def _idle(self) -> bool:
        if self._request_count == 0:
            return True
        return self._waiter is not None and not self._waiter.done()

    def _end_of_hijackable(self, data: bytes) -> int | None:
        """Where the request ends: 0 when it cannot be hijacked, None when more bytes are needed."""
        if len(data) > HEAD_LIMIT or self._hijackable is None:
            return 0
        if not self._hijackable.match(data):
            return None if b"\r\n" not in data and len(data) < 8192 else 0
        head = data.find(b"\r\n\r\n")
        if head < 0:
            return None
        if CHUNKED.search(data, 0, head + 2):
            return 0  # only the parser knows where it ends
        length = CONTENT_LENGTH.search(data, 0, head + 2)
        end = head + 4 + (int(length[1]) if length else 0)
        return end if len(data) >= end else None

    def release(self) -> None:
        """The request was answered as HTTP after all: what came behind it is HTTP too."""
        raw, self.raw = self.raw, None
        if raw is None:
            return
        if rest := raw.rest():
            self.data_received(rest)
        self.ended = self.ended or raw.eof

    async def drain(self) -> None:
        """Wait until the client has taken enough of what was written.

        Raises:
            ConnectionError: it is gone.
        """
        await self._drain_helper()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """True keeps our side open."""
        if self._lingering is not None:
            self._lingering.set()
            return None
        if self.raw is not None:
            self.raw.feed_eof()
            return True  # output goes on after the end of stdin
        idle = self._request_count == 0 or (self._waiter is not None and not self._waiter.done())
        if self.streaming or not self._half_closes() or (idle and not self._messages):
            return None
        request = self._current_request
        if request is not None and not request.content.is_eof():
            return None  # only half of it was asked
        if self._answered < self._request_count:
            self.ended = True
        else:
            self.close()  # the last answer is being sent, or was sent a moment ago
        return True

    def _half_closes(self) -> bool:
        """Whether we can still send after the client's end: over asyncio's TLS we cannot."""
        return self.transport is not None and self.transport.can_write_eof()

    def answered(self) -> None:
        """A handler is through. After the last one the connection ends, if its client's side has
        ended."""
        self._answered += 1
        if self.ended and not self._messages:
            self.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._lingering is not None:
            self._lingering.set()
        if self.raw is not None:
            self.raw.feed_eof()
            if self.raw.taken:
                # Not cancelled: what came before the end still belongs to the stream.
                self._task_handler = None
        super().connection_lost(exc)


class _LastWord(web.Response):
    """An answer after which nothing more is read."""

    def __init__(self, conn: Connection, answer: web.Response) -> None:
        super().__init__(status=answer.status, body=answer.body, headers=answer.headers)
        self.force_close()
        self._conn = conn

    async def write_eof(self, data: bytes = b"") -> None:
        await super().write_eof(data)
        await self._conn.linger()
