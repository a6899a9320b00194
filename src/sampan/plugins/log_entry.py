"""The stream of log entries that a log plugin reads from its FIFO and answers ``ReadLogs`` with.

    length of the message, 4 bytes, the most significant first
    message LogEntry {                        (protobuf, version 3)
        string source = 1;                    stdout or stderr
        int64 time_nano = 2;
        bytes line = 3;                       without its newline
        bool partial = 4;                     the line goes on in the next entry
        PartialLogEntryMetadata partial_log_metadata = 5 {
            bool last = 1; string id = 2; int32 ordinal = 3; }
    }

Written by hand: it is five fields, and the protobuf runtime is a dependency of megabytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from sampan.errors import InvalidArgument

MESSAGE_LIMIT = 1 << 20
"""Bytes of one message; Docker's own reader has the same bound (a million, in round numbers)."""
_LENGTH = struct.Struct(">I")
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_U64 = (1 << 64) - 1


class BadEntry(InvalidArgument):
    """Bytes that are not a stream of log entries."""


@dataclass(frozen=True, slots=True)
class Partial:
    """Which piece of a line that was cut because of its length an entry is."""

    id: str
    ordinal: int
    """From 1."""
    last: bool


@dataclass(frozen=True, slots=True)
class LogEntry:
    source: str
    time_ns: int
    line: bytes
    partial: bool = False
    piece: Partial | None = None


def encode(entry: LogEntry) -> bytes:
    """The entry with its length in front. Fields that have their zero value are left out."""
    out = bytearray(4)
    _put_bytes(out, 1, entry.source.encode())
    _put_number(out, 2, entry.time_ns)
    _put_bytes(out, 3, entry.line)
    _put_number(out, 4, entry.partial)
    if (piece := entry.piece) is not None:
        inner = bytearray()
        _put_number(inner, 1, piece.last)
        _put_bytes(inner, 2, piece.id.encode())
        _put_number(inner, 3, piece.ordinal)
        out += bytes((5 << 3 | _BYTES,)) + _varint(len(inner)) + inner
    _LENGTH.pack_into(out, 0, len(out) - 4)
    return bytes(out)


def _put_number(out: bytearray, field: int, value: int) -> None:
    if value:
        out.append(field << 3 | _VARINT)
        out += _varint(value & _U64)


def _put_bytes(out: bytearray, field: int, value: bytes) -> None:
    if value:
        out.append(field << 3 | _BYTES)
        out += _varint(len(value))
        out += value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(message: bytes) -> LogEntry:
    """A message without its length. Fields that are not known are passed over.

    Raises:
        BadEntry: not a protobuf message, or a field of another type.
    """
    source, time_ns, line, partial, piece = "", 0, b"", False, None
    for field, value in _fields(message):
        match field, value:
            case 1, bytes():
                source = value.decode("utf-8", "replace")
            case 2, int():
                time_ns = value - (1 << 64) if value >> 63 else value
            case 3, bytes():
                line = value
            case 4, int():
                partial = bool(value)
            case 5, bytes():
                piece = _piece(value)
            case ((1 | 2 | 3 | 4 | 5), _):
                raise BadEntry(f"field {field} of a log entry has another type")
    return LogEntry(source, time_ns, line, partial, piece)


def _piece(message: bytes) -> Partial:
    last, name, ordinal = False, "", 0
    for field, value in _fields(message):
        match field, value:
            case 1, int():
                last = bool(value)
            case 2, bytes():
                name = value.decode("utf-8", "replace")
            case 3, int():
                ordinal = value & 0x7FFFFFFF
    return Partial(name, ordinal, last)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(message):
        key, at = _number(message, at)
        field, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _number(message, at)
            yield field, value
            continue
        if kind == _BYTES:
            size, at = _number(message, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise BadEntry(f"a log entry has a field of wire type {kind}")
        if at + size > len(message):
            raise BadEntry("a log entry ends in the middle of a field")
        yield field, message[at : at + size]
        at += size


def _number(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _U64, at
        shift += 7
    raise BadEntry("a log entry has a number that does not end")


class Entries:
    """A stream of entries, fed in pieces of any size."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[LogEntry]:
        """Every entry that is whole now. Iterate to the end.

        Raises:
            BadEntry: see ``decode``; or a length above ``MESSAGE_LIMIT``.
        """
        self._buffer += data
        at = 0
        try:
            while len(self._buffer) - at >= 4:
                (size,) = _LENGTH.unpack_from(self._buffer, at)
                if size > MESSAGE_LIMIT:
                    raise BadEntry(f"a log entry of {size} bytes: the limit is {MESSAGE_LIMIT}")
                if len(self._buffer) - at - 4 < size:
                    break
                message = bytes(self._buffer[at + 4 : at + 4 + size])
                at += 4 + size
                yield decode(message)
        finally:
            del self._buffer[:at]

    def finish(self) -> None:
        """The stream has ended.

        Raises:
            BadEntry: in the middle of an entry.
        """
        if self._buffer:
            raise BadEntry("the stream ended in the middle of a log entry")
