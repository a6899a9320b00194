"""A task's log, for the managers: a stream of frames, as the container's log file has it.

    GET /tasks/{id}/logs?follow=1&tail=100&since=NS&until=NS&stdout=1&stderr=1

Each frame is a length (4 bytes, big endian) and that many bytes of msgpack: a list of entries
``[time_ns, stream, line, partial]``. An empty frame says that the stream is alive.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterator

import msgspec

from sampan.engine.contract import LogRequest
from sampan.errors import InvalidArgument
from sampan.runtime.contract import LogEntry, Stream

LOGS_PATH = "/tasks/{id}/logs"
FRAME_ENTRIES = 512
FRAME_BYTES = 64 * 1024
_LENGTH = struct.Struct(">I")


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A log entry on the wire."""

    time_ns: int
    stream: Stream
    line: bytes
    partial: bool = False


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Entry])


def frames(entries: list[LogEntry]) -> Iterator[bytes]:
    """``entries`` in frames of at most ``FRAME_ENTRIES`` and about ``FRAME_BYTES``: a manager that
    merges a hundred tasks holds several frames of each."""
    begin = size = 0
    for at, entry in enumerate(entries):
        if at > begin and (at - begin == FRAME_ENTRIES or size + len(entry.line) > FRAME_BYTES):
            yield frame(entries[begin:at])
            begin, size = at, 0
        size += len(entry.line)
    yield frame(entries[begin:])


def frame(entries: list[LogEntry]) -> bytes:
    body = _encoder.encode([Entry(e.time_ns, e.stream, e.line, e.partial) for e in entries])
    return _LENGTH.pack(len(body)) + body


async def entries(chunks: AsyncIterator[bytes]) -> AsyncIterator[list[LogEntry]]:
    """The reverse of ``frame``, from chunks that are cut anywhere.

    Raises:
        msgspec.DecodeError
    """
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        while len(buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer)
            if len(buffer) < _LENGTH.size + length:
                break
            body = bytes(buffer[_LENGTH.size : _LENGTH.size + length])
            del buffer[: _LENGTH.size + length]
            yield [LogEntry(e.time_ns, e.stream, e.line, e.partial) for e in _decoder.decode(body)]


def request_of(query: object) -> LogRequest:
    """The reverse of ``query_of``.

    Raises:
        InvalidArgument: a value makes no sense.
    """
    try:
        asked = msgspec.convert(query, _Query, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"logs: {error}") from error
    return LogRequest(
        follow=asked.follow,
        tail=asked.tail,
        since_ns=asked.since,
        until_ns=asked.until,
        stdout=asked.stdout,
        stderr=asked.stderr,
    )


def query_of(request: LogRequest) -> dict[str, str]:
    """``request`` as the query of ``LOGS_PATH``."""
    query = {
        "follow": str(int(request.follow)),
        "since": str(request.since_ns),
        "until": str(request.until_ns),
        "stdout": str(int(request.stdout)),
        "stderr": str(int(request.stderr)),
    }
    if request.tail is not None:
        query["tail"] = str(request.tail)
    return query


class _Query(msgspec.Struct):
    follow: bool = False
    tail: int | None = None
    since: int = 0
    until: int = 0
    stdout: bool = True
    stderr: bool = True
