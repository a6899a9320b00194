"""The framing of a container's output where stdout and stderr share one stream.

Each frame has 8 bytes in front: the stream's number (0 stdin, 1 stdout, 2 stderr), three zeros, and
the payload's length, big-endian. Containers with a terminal are not framed.
"""

from __future__ import annotations

from sampan.client.errors import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

STDOUT = 1
STDERR = 2
_HEADER = 8


class Demultiplexer:
    """Bytes in, (stream, payload) pairs out. Payloads are handed on before a frame is complete."""

    __slots__ = ("_header", "_left", "_stream")

    def __init__(self) -> None:
        self._header = b""
        self._stream = 0
        self._left = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Raises ProtocolError on a stream that is not framed."""
        out: list[tuple[int, bytes]] = []
        at = 0
        while at < len(data):
            if not self._left:
                need = _HEADER - len(self._header)
                self._header += data[at : at + need]
                at += need
                if len(self._header) < _HEADER:
                    break
                if self._header[0] > 3 or self._header[1:4] != b"\0\0\0":
                    raise ProtocolError("the container's output is not framed as expected")
                self._stream = self._header[0]
                self._left = int.from_bytes(self._header[4:], "big")
                self._header = b""
                continue
            piece = data[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            out.append((self._stream, piece))
        return out


def split(pieces: Iterable[bytes], tty: bool) -> Iterator[tuple[int, bytes]]:
    """(stream, payload) pairs of a whole body; with a terminal everything is stdout."""
    if tty:
        for piece in pieces:
            yield STDOUT, piece
        return
    demultiplexer = Demultiplexer()
    for piece in pieces:
        yield from demultiplexer.feed(piece)
