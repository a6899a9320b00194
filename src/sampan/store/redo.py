"""The redo log: every transaction since the last checkpoint, appended.

A segment is a file of records behind a head that says whose they are:

    "sampanRL"               8 bytes
    identity                16 bytes, those of the database: no other one takes it in
    crc32              u32   of both

and a record is one transaction:

    bytes of payload   u32   little endian, as all of it
    crc32              u32   of the number and the payload
    number             u64   one more than the record before it
    payload                  MessagePack: [[table, key, document or nil], ...]

Segments are named by the number of their first record, so their order is that of their names.
Reading stops at the first record that is not whole, or that does not follow the one before it:
nothing behind it was ever acknowledged, as a sync of the log covers all of the log.

A segment's blocks are allocated ahead: what follows its last record is zeros, which are no record.
Of them, ``RESERVE_BYTES`` are kept for transactions that give space back: on a full disk it is
those that a user needs.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

Change = tuple[str, str, bytes | None]
"""Table, key, and the record as a document (None: deleted)."""

RESERVE_BYTES = 256 << 10
"""What is left to transactions that give space back: hundreds of removals, each of which makes
room for more. Every other one is refused when the disk has not this much beside it."""

_MAGIC = b"sampanRL"
_OPENING = struct.Struct("<8s16sI")
_HEAD = struct.Struct("<IIQ")
_SUFFIX = ".redo-"
_ASIDE = ".unread-"
_LOOKED_FOR = 64
"""Numbers that the first whole record behind a damaged place may have."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Change]).decode


def encode(number: int, changes: Sequence[Change]) -> bytes:
    """One record."""
    payload = _encode(changes)
    return _HEAD.pack(len(payload), _checksum(number, payload), number) + payload


def _checksum(number: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(number.to_bytes(8, "little")))


def opening(identity: bytes) -> bytes:
    """What a segment of the database ``identity`` (16 bytes) begins with. Empty for an empty one,
    which is a database of a schema that had none."""
    if not identity:
        return b""
    return _OPENING.pack(_MAGIC, identity, zlib.crc32(_MAGIC + identity))


@dataclass
class LogSegment:
    """A file of the log that is being written."""

    path: Path
    descriptor: int
    size: int = field(default=0)
    """Bytes of the head and of whole records."""
    allocated: int = field(default=0)
    """Bytes of the file, at least ``size``: the disk has blocks for them."""

    @classmethod
    def create(cls, database: Path, identity: bytes, first: int, expected: int) -> LogSegment:
        """Make the segment whose records begin at ``first`` or later, and make its name durable.
        The disk gives it room for ``expected`` bytes if it has them.

        Raises:
            OSError.
        """
        path = database.with_name(f"{database.name}{_SUFFIX}{first:020d}")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            segment, head = cls(path, descriptor), opening(identity)
            if not segment._allocate(expected + RESERVE_BYTES):
                segment._extend(len(head) + RESERVE_BYTES)
            segment._write(head)
            sync_directory(path.parent)
        except BaseException:
            os.close(descriptor)
            path.unlink()
            raise
        return segment

    def append(self, record: bytes, *, frees: bool = False) -> None:
        """Write ``record`` whole, or nothing of it. Survives the death of the process at once, and
        of the host once the descriptor was synced. ``frees``: what follows it gives space back, so
        it may use the reserve.

        Raises:
            OSError: with ENOSPC or EDQUOT when the disk is full. ``BrokenLog`` when what was
            written of it could not be taken back.
        """
        end = self.size + len(record)
        if not self._extend(end + RESERVE_BYTES) and not (frees and end <= self.allocated):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self._write(record)

    def _allocate(self, size: int) -> bool:
        """Have blocks for ``size`` bytes, if the file system can and has them. Blocks."""
        try:
            os.posix_fallocate(self.descriptor, 0, size)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EOPNOTSUPP, errno.EINVAL):
                raise
            # Some file systems keep what they could get.
            os.ftruncate(self.descriptor, self.allocated)
            return False
        self.allocated = size
        return True

    def _extend(self, size: int) -> bool:
        """The same by writing zeros, which is no slower than to write records. False: the disk is
        full; what could be had is kept."""
        while self.allocated < size:
            try:
                missing = bytes(size - self.allocated)
                self.allocated += os.pwrite(self.descriptor, missing, self.allocated)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                return False
        return True

    def _write(self, record: bytes) -> None:
        try:
            written = os.pwrite(self.descriptor, record, self.size)
            while written < len(record):
                # Short: usually the last blocks of the disk, and the rest says so.
                rest = memoryview(record)[written:]
                written += os.pwrite(self.descriptor, rest, self.size + written)
        except OSError as error:
            try:
                os.ftruncate(self.descriptor, self.size)
            except OSError as second:
                raise BrokenLog(f"{self.path}: {second}") from error
            self.allocated = self.size
            raise
        self.size += len(record)
        self.allocated = max(self.allocated, self.size)

    @property
    def has_reserve(self) -> bool:
        """False: the disk is full, and nothing is left to removals."""
        return self.allocated >= self.size + RESERVE_BYTES

    def finish(self) -> None:
        """Nothing more is appended: give the disk back what was allocated for it."""
        os.ftruncate(self.descriptor, self.size)

    def discard(self) -> None:
        """Remove it, with all that is in it."""
        self.close()
        self.path.unlink()

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


def is_foreign(path: Path, identity: bytes) -> bool:
    """Whether the segment is that of another database than ``identity``."""
    with path.open("rb") as file:
        head = file.read(_OPENING.size)
    if len(head) < _OPENING.size:
        return False  # cut off by a power cut, before anything was acknowledged
    magic, other, checksum = _OPENING.unpack(head)
    whole = magic == _MAGIC and checksum == zlib.crc32(magic + other)
    return bool(whole and other != identity)


def replay(
    paths: Sequence[Path], after: int, identity: bytes = b""
) -> Iterator[tuple[int, list[Change]]]:
    """The transactions of the segments ``paths`` of the database ``identity`` that come after
    number ``after``, in order."""
    following = after + 1
    for path in paths:
        for number, payload in _records(path, identity):
            if number > following:
                return
            if number == following:
                yield number, _decode(payload)
                following += 1


def first_number(path: Path, identity: bytes = b"") -> int:
    """The number of the first record of a segment; 0: it has none that is whole."""
    return next((number for number, _ in _records(path, identity)), 0)


def _records(path: Path, identity: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and payload of the records that are whole, up to the first that is not."""
    data = memoryview(path.read_bytes())
    head = opening(identity)
    if data[: len(head)] != head:
        return
    at = len(head)
    while len(data) - at >= _HEAD.size:
        length, checksum, number = _HEAD.unpack_from(data, at)
        payload = bytes(data[at + _HEAD.size : at + _HEAD.size + length])
        if len(payload) < length or _checksum(number, payload) != checksum:
            return
        yield number, payload
        at += _HEAD.size + length


def whole_record_behind(path: Path, identity: bytes, committed: int) -> int:
    """The number of a whole record of the segment that comes behind one that is not, of those after
    ``committed``; 0: there is none. A log that ends in the middle of a record was cut off; one that
    goes on behind it is damaged."""
    data = path.read_bytes()
    at, head = 0, opening(identity)
    if data[: len(head)] == head:
        at = len(head) + sum(_HEAD.size + len(payload) for _, payload in _records(path, identity))
    rest = data[at:].rstrip(b"\0") + b"\0"  # no record ends with a zero
    for number in range(committed + 1, committed + 1 + _LOOKED_FOR):
        word, found = number.to_bytes(8, "little"), 7
        while (found := rest.find(word, found + 1)) >= 0:
            length, checksum, _ = _HEAD.unpack_from(rest, found - 8)
            payload = rest[found + 8 : found + 8 + length]
            if len(payload) == length and _checksum(number, payload) == checksum:
                return number
    return 0


def give_up_allocated(path: Path) -> None:
    """Give the disk back what was allocated behind the last record. Needs no space."""
    # No record ends with a zero: its last byte is a document's or MessagePack's nil.
    os.truncate(path, len(path.read_bytes().rstrip(b"\0")))


def set_aside(path: Path) -> Path:
    """Give a segment a name under which it is no part of the log any more; returns it."""
    aside = path.with_name(path.name.replace(_SUFFIX, _ASIDE))
    serial = 0
    while aside.exists():
        serial += 1
        aside = path.with_name(f"{path.name.replace(_SUFFIX, _ASIDE)}.{serial}")
    return path.rename(aside)
