"""HTTP/1.1 as far as a client of the Engine API needs it.

``http.client`` costs 21 ms to import, a third of what a whole ``sampan ps`` may take; this file
costs less than one. It reads what daemons and the proxies before them send: fixed, chunked and
until-close bodies. It takes bytes from a socket in whatever pieces they come.
"""

from __future__ import annotations

from sampan.client.errors import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class Source(Protocol):
        """The one method of a socket that reading needs."""

        def recv(self, size: int, /) -> bytes: ...


PIECE = 65536
"""Bytes asked of the socket at once."""
_MAX_LINE = 65536
_MAX_HEADERS = 200
_UNRESERVED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
_HEX = frozenset(b"0123456789abcdefABCDEF")


class Reader:
    """Bytes of a socket, buffered."""

    __slots__ = ("_buffer", "_source", "ended")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._buffer = bytearray()
        self.ended = False

    def fill(self) -> bool:
        """Wait for more bytes; False when the other side has closed."""
        data = self._source.recv(PIECE)
        if not data:
            self.ended = True
            return False
        self._buffer += data
        return True

    def line(self) -> bytes:
        """The next line without its end (LF or CRLF). Raises ProtocolError at the end of input."""
        scanned = 0
        while (end := self._buffer.find(b"\n", scanned)) < 0:
            scanned = len(self._buffer)
            if scanned > _MAX_LINE:
                raise ProtocolError("the daemon sent a header line that never ends")
            if not self.fill():
                raise ProtocolError("the daemon closed the connection before it had answered")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line[:-1] if line.endswith(b"\r") else line

    def some(self, limit: int) -> bytes:
        """Between 1 and ``limit`` bytes, as soon as there are any; empty at the end of input."""
        if not self._buffer and not self.fill():
            return b""
        if len(self._buffer) <= limit:
            return self.rest()
        data = bytes(self._buffer[:limit])
        del self._buffer[:limit]
        return data

    def rest(self) -> bytes:
        """What has been received and not read yet; does not wait."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    @property
    def pending(self) -> bool:
        """Whether bytes lie in the buffer."""
        return bool(self._buffer)


class Head:
    """Status and headers of an answer. Header names are lower case."""

    __slots__ = ("headers", "reason", "status", "version")

    def __init__(self, version: bytes, status: int, reason: str, headers: dict[str, str]) -> None:
        self.version = version
        self.status = status
        self.reason = reason
        self.headers = headers

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request once the body was read."""
        connection = self.headers.get("connection", "").lower()
        return self.version == b"HTTP/1.1" and "close" not in connection


def read_head(reader: Reader) -> Head:
    """Read one status line with headers; interim answers (100, 103) are skipped.

    Raises ProtocolError.
    """
    while True:
        head = _read_one_head(reader)
        if head.status >= 200 or head.status == 101:
            return head


def _read_one_head(reader: Reader) -> Head:
    words = reader.line().split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise ProtocolError("the other side does not speak HTTP: is this a daemon's address?")
    headers: dict[str, str] = {}
    for _ in range(_MAX_HEADERS):
        line = reader.line()
        if not line:
            break
        name, colon, value = line.partition(b":")
        if not colon:
            raise ProtocolError("the daemon sent a malformed header")
        headers[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
    else:
        raise ProtocolError("the daemon sent too many headers")
    reason = words[2].decode("latin-1") if len(words) > 2 else ""
    return Head(words[0], int(words[1]), reason, headers)


def body(reader: Reader, head: Head, method: str) -> Iterator[bytes]:
    """The pieces of the body as they come. Exhausting it leaves the reader at the next answer.

    Raises ProtocolError when the connection ends before the body does.
    """
    if method == "HEAD" or head.status in (204, 304):
        return iter(())
    if "chunked" in head.headers.get("transfer-encoding", "").lower():
        return _chunked(reader)
    length = head.headers.get("content-length")
    if length is None:
        return _until_close(reader)
    if not length.isdecimal():
        raise ProtocolError(f"the daemon sent the content length {length!r}")
    return _counted(reader, int(length))


def delimited(head: Head) -> bool:
    """Whether the body says where it ends, so that the connection outlives it."""
    headers = head.headers
    return (
        head.status in (204, 304) or "content-length" in headers or "transfer-encoding" in headers
    )


def _counted(reader: Reader, left: int) -> Iterator[bytes]:
    while left:
        data = reader.some(min(left, PIECE))
        if not data:
            raise ProtocolError("the daemon closed the connection in the middle of its answer")
        left -= len(data)
        yield data


def _chunked(reader: Reader) -> Iterator[bytes]:
    while True:
        digits = reader.line().split(b";", 1)[0].strip()
        if not digits or not _HEX.issuperset(digits) or len(digits) > 16:
            raise ProtocolError("the daemon sent a malformed chunk")
        size = int(digits, 16)
        if not size:
            while reader.line():
                pass  # trailers
            return
        yield from _counted(reader, size)
        if reader.line():
            raise ProtocolError("the daemon sent a chunk longer than it said")


def _until_close(reader: Reader) -> Iterator[bytes]:
    while data := reader.some(PIECE):
        yield data


def quote(text: str, keep: bytes = b"") -> str:
    """Percent-encode for a path segment or a query value; bytes in ``keep`` stay as they are."""
    raw = text.encode("utf-8", "surrogateescape")
    if _UNRESERVED.issuperset(raw):
        return text
    return "".join(chr(b) if b in _UNRESERVED or b in keep else f"%{b:02X}" for b in raw)
