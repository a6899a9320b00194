"""The redo log: every transaction since the last checkpoint, appended.

A segment is a file of records, and a record is one transaction:

    bytes of payload   u32   little endian, as all of it
    crc32              u32   of the number and the payload
    number             u64   one more than the record before it
    payload                  MessagePack: [[table, key, document or nil], ...]

Segments are named by the number of their first record, so their order is that of their names.
Reading stops at the first record that is not whole, or that does not follow the one before it:
nothing behind it was ever acknowledged, as a sync of the log covers all of the log.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

Change = tuple[str, str, bytes | None]
"""Table, key, and the record as a document (None: deleted)."""

_HEAD = struct.Struct("<IIQ")
_SUFFIX = ".redo-"
_ASIDE = ".unread-"
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Change]).decode


def encode(number: int, changes: Sequence[Change]) -> bytes:
    """One record."""
    payload = _encode(changes)
    return _HEAD.pack(len(payload), _checksum(number, payload), number) + payload


def _checksum(number: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(number.to_bytes(8, "little")))


@dataclass
class LogSegment:
    """A file of the log that is being written."""

    path: Path
    descriptor: int
    size: int = field(default=0)
    """Bytes of whole records."""

    @classmethod
    def create(cls, database: Path, first: int) -> LogSegment:
        """Make the segment whose records begin at ``first`` or later, and make its name durable.

        Raises:
            OSError.
        """
        path = database.with_name(f"{database.name}{_SUFFIX}{first:020d}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            sync_directory(path.parent)
        except BaseException:
            os.close(descriptor)
            path.unlink()
            raise
        return cls(path, descriptor)

    def append(self, record: bytes) -> None:
        """Write ``record`` whole, or nothing of it. Survives the death of the process at once, and
        of the host once the descriptor was synced.

        Raises:
            OSError: with ENOSPC or EDQUOT when the disk is full. ``BrokenLog`` when what was
            written of it could not be taken back.
        """
        try:
            written = os.write(self.descriptor, record)
            while written < len(record):
                # Short: usually the last blocks of the disk, and the rest says so.
                written += os.write(self.descriptor, memoryview(record)[written:])
        except OSError as error:
            try:
                os.ftruncate(self.descriptor, self.size)
            except OSError as second:
                raise BrokenLog(f"{self.path}: {second}") from error
            raise
        self.size += len(record)

    def close(self) -> None:
        os.close(self.descriptor)


class BrokenLog(OSError):
    """The log ends in half a record that cannot be taken back: nothing can be appended."""


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable. Blocks."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def segments(database: Path) -> list[Path]:
    """The segments that are there, in order."""
    return sorted(database.parent.glob(f"{database.name}{_SUFFIX}*"))


def replay(paths: Sequence[Path], after: int) -> Iterator[tuple[int, list[Change]]]:
    """The transactions of the segments ``paths`` that come after number ``after``, in order."""
    following = after + 1
    for path in paths:
        data = memoryview(path.read_bytes())
        at = 0
        while len(data) - at >= _HEAD.size:
            length, checksum, number = _HEAD.unpack_from(data, at)
            payload = bytes(data[at + _HEAD.size : at + _HEAD.size + length])
            if len(payload) < length or _checksum(number, payload) != checksum:
                break
            if number > following:
                return
            if number == following:
                yield number, _decode(payload)
                following += 1
            at += _HEAD.size + length


def first_number(path: Path) -> int:
    """The number of the first record of a segment; 0: it has none that is whole."""
    data = memoryview(path.read_bytes())
    if len(data) < _HEAD.size:
        return 0
    length, checksum, number = _HEAD.unpack_from(data, 0)
    payload = bytes(data[_HEAD.size : _HEAD.size + length])
    whole = len(payload) == length and _checksum(number, payload) == checksum
    return int(number) if whole else 0


def set_aside(path: Path) -> Path:
    """Give a segment a name under which it is no part of the log any more; returns it."""
    aside = path.with_name(path.name.replace(_SUFFIX, _ASIDE))
    serial = 0
    while aside.exists():
        serial += 1
        aside = path.with_name(f"{path.name.replace(_SUFFIX, _ASIDE)}.{serial}")
    return path.rename(aside)
