"""The tar format: one pass over a stream, and headers for writing.

Why not ``tarfile``: it spends 100 microseconds of Python on each member, seeks, keeps all of them
and does not give the header's exact bytes, which are what a layer needs in order to be written
out again with the digest it came with. Only what layers use is here: ustar, pax, and GNU's long
names and big numbers.

Light imports: the unpacking worker starts in 20 ms because of it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import MappingProxyType

BLOCK = 512
ZERO = bytes(BLOCK)
META_LIMIT = 4 * 1024 * 1024
"""Bytes of one pax or long-name header; more is an attack, not a name."""

REGULAR, LINK, SYMLINK, CHAR, DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
KINDS = MappingProxyType(
    {
        stat.S_IFREG: REGULAR,
        stat.S_IFLNK: SYMLINK,
        stat.S_IFCHR: CHAR,
        stat.S_IFBLK: DEVICE,
        stat.S_IFDIR: DIRECTORY,
        stat.S_IFIFO: FIFO,
    }
)
"""``S_IFMT`` of a mode -> the type of its member. A socket has none."""
XATTR = b"SCHILY.xattr."
_REGULAR_SPELLINGS = (b"0", b"\0", b"7")
_BODILESS = frozenset((LINK, SYMLINK, CHAR, DEVICE, DIRECTORY, FIFO))


class BadTar(Exception):
    """Not a tar, or cut short."""


@dataclass(slots=True)
class Entry:
    """One member. Names are bytes, as the kernel has them; times are nanoseconds."""

    name: bytes
    type: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    link: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)


class ByteSource:
    """Exact reads from an iterator of chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = b""
        self._at = 0

    def read(self, size: int) -> bytes:
        """``size`` bytes, or fewer at the end of the stream."""
        at = self._at
        if at + size <= len(self._buffer):
            self._at = at + size
            return self._buffer[at : at + size]
        parts = []
        while size:
            if self._at >= len(self._buffer):
                chunk = next(self._chunks, b"")
                if not chunk:
                    break
                self._buffer, self._at = chunk, 0
            part = self._buffer[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            parts.append(part)
        return b"".join(parts)

    def exactly(self, size: int) -> bytes:
        """Raises BadTar when the stream ends before."""
        found = self.read(size)
        if len(found) != size:
            raise BadTar("unexpected EOF: the archive is cut short")
        return found

    def copy(self, fd: int, size: int) -> None:
        """Write the next ``size`` bytes to ``fd`` without joining chunks."""
        while size:
            if self._at >= len(self._buffer):
                chunk = next(self._chunks, b"")
                if not chunk:
                    raise BadTar("unexpected EOF: the archive is cut short")
                self._buffer, self._at = chunk, 0
            part = memoryview(self._buffer)[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            while part:
                part = part[os.write(fd, part) :]

    def rest(self) -> Iterator[bytes]:
        """Everything up to the end."""
        if self._at < len(self._buffer):
            yield self._buffer[self._at :]
        self._buffer, self._at = b"", 0
        yield from self._chunks


def padding(size: int) -> int:
    """Bytes between a payload of ``size`` and the next block."""
    return -size % BLOCK


class Reader:
    """Headers one by one. After ``next``, ``raw`` holds the exact header bytes; the caller takes
    ``entry.size`` bytes of payload and ``padding(entry.size)`` from ``source`` itself."""

    def __init__(self, source: ByteSource) -> None:
        self.source = source
        self.raw = b""

    def next(self) -> Entry | None:
        """The next member; None at the end-of-archive mark (``raw`` then holds it) or where the
        stream ends between members.

        Raises:
            BadTar: checksum, number or length make no sense.
        """
        raw: list[bytes] = []
        extended: dict[bytes, bytes] = {}
        long_name = long_link = b""
        while True:
            block = self.source.read(BLOCK)
            if len(block) != BLOCK:
                if block or raw:
                    raise BadTar("unexpected EOF: the archive is cut short")
                self.raw = b""
                return None
            raw.append(block)
            if block == ZERO:
                self.raw = b"".join(raw)
                return None
            kind = block[156:157]
            size = _checked_size(block)
            if kind in b"xgLK":
                if size > META_LIMIT:
                    raise BadTar(f"a header of {size} bytes")
                body = self.source.exactly(size + padding(size))
                raw.append(body)
                body = body[:size]
                if kind == b"x":
                    extended.update(_pax_records(body))
                elif kind == b"L":
                    long_name = body.split(b"\0", 1)[0]
                elif kind == b"K":
                    long_link = body.split(b"\0", 1)[0]
                continue
            if kind == b"S":
                raise BadTar("sparse members are not supported: write the layer without --sparse")
            self.raw = raw[0] if len(raw) == 1 else b"".join(raw)
            return _entry(block, kind, size, extended, long_name, long_link)


def _checked_size(block: bytes) -> int:
    # The checksum takes its own field as blanks. Summing the whole block is one C call.
    if sum(block) - sum(block[148:156]) + 256 != _number(block[148:156]):
        raise BadTar("invalid tar header (checksum)")
    return _natural(block[124:136])


def _entry(
    block: bytes,
    kind: bytes,
    size: int,
    extended: dict[bytes, bytes],
    long_name: bytes,
    long_link: bytes,
) -> Entry:
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and block[345]:
        name = block[345:500].split(b"\0", 1)[0] + b"/" + name
    entry = Entry(
        name=long_name or name,
        type=REGULAR if kind in _REGULAR_SPELLINGS else kind,
        mode=_natural(block[100:108]) & 0o7777,
        uid=_natural(block[108:116]),
        gid=_natural(block[116:124]),
        size=size,
        mtime_ns=_number(block[136:148]) * 1_000_000_000,
        link=long_link or block[157:257].split(b"\0", 1)[0],
    )
    if kind in (CHAR, DEVICE):
        entry.major, entry.minor = _natural(block[329:337]), _natural(block[337:345])
    if extended:
        _extend(entry, extended)
    # The oldest tars marked a directory by its name alone.
    if entry.type == REGULAR and entry.name.endswith(b"/"):
        entry.type = DIRECTORY
    if entry.type in _BODILESS:
        entry.size = 0
    if b"\0" in entry.name or b"\0" in entry.link:
        raise BadTar("a name with a NUL byte")
    return entry


def _extend(entry: Entry, records: dict[bytes, bytes]) -> None:
    try:
        for key, value in records.items():
            if key == b"path":
                entry.name = value
            elif key == b"linkpath":
                entry.link = value
            elif key == b"size":
                entry.size = int(value)
            elif key == b"uid":
                entry.uid = int(value)
            elif key == b"gid":
                entry.gid = int(value)
            elif key == b"mtime":
                entry.mtime_ns = _nanoseconds(value)
            elif key.startswith(XATTR):
                entry.xattrs[key[len(XATTR) :]] = value
            elif key.startswith(b"GNU.sparse."):
                raise BadTar("sparse members are not supported: write the layer without --sparse")
    except ValueError as error:
        raise BadTar(f"invalid pax header: {error}") from error
    if entry.size < 0 or entry.uid < 0 or entry.gid < 0:
        raise BadTar("invalid pax header: a negative number")


def _pax_records(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(body):
        blank = body.find(b" ", at, at + 20)
        if blank < 0 or not body[at:blank].isdigit():
            raise BadTar("invalid pax header")
        end = at + int(body[at:blank])
        key, equals, value = body[blank + 1 : end - 1].partition(b"=")
        if not equals or end > len(body) or body[end - 1 : end] != b"\n":
            raise BadTar("invalid pax header")
        yield key, value
        at = end


def _number(text: bytes) -> int:
    if text and text[0] & 0x80:  # GNU: base 256, two's complement below the top bit
        value = int.from_bytes(text, "big") & ((1 << (8 * len(text) - 1)) - 1)
        return value - (1 << (8 * len(text) - 1)) if text[0] & 0x40 else value
    text = text.split(b"\0", 1)[0].strip()
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise BadTar("invalid tar header (a number)") from None


def _natural(text: bytes) -> int:
    value = _number(text)
    if value < 0:
        raise BadTar("invalid tar header (a negative number)")
    return value


def _nanoseconds(text: bytes) -> int:
    whole, _, decimals = text.partition(b".")
    part = int(decimals[:9].ljust(9, b"0") or b"0")
    seconds = int(whole)
    return seconds * 1_000_000_000 + (-part if whole.startswith(b"-") else part)


# ---------------------------------------------------------------- writing


def header(entry: Entry) -> bytes:
    """The bytes before ``entry``'s payload: ustar, with a pax header where ustar is too small."""
    records: list[tuple[bytes, bytes]] = []
    name, link = entry.name, entry.link
    if len(name) > 100 or not name.isascii():
        records.append((b"path", name))
        name = name[:100]
    if len(link) > 100 or not link.isascii():
        records.append((b"linkpath", link))
        link = link[:100]
    if entry.size >= 1 << 33:
        records.append((b"size", str(entry.size).encode()))
    for key, value in ((b"uid", entry.uid), (b"gid", entry.gid)):
        if value >= 1 << 21:
            records.append((key, str(value).encode()))
    seconds, part = divmod(entry.mtime_ns, 1_000_000_000)
    if part or not 0 <= seconds < 1 << 33:
        records.append((b"mtime", _decimal(entry.mtime_ns)))
    records += [(XATTR + key, entry.xattrs[key]) for key in sorted(entry.xattrs)]
    block = _ustar(entry, name, link, max(0, min(seconds, (1 << 33) - 1)))
    if not records:
        return block
    body = b"".join(_pax_record(key, value) for key, value in records)
    pax = Entry(name=b"PaxHeaders/" + os.path.basename(name.rstrip(b"/"))[:80], type=b"x")
    pax.size = len(body)
    return _ustar(pax, pax.name, b"", 0) + body + bytes(padding(len(body))) + block


def _ustar(entry: Entry, name: bytes, link: bytes, seconds: int) -> bytes:
    block = b"".join(
        (
            name.ljust(100, b"\0"),
            b"%07o\0" % (entry.mode & 0o7777),
            b"%07o\0" % (entry.uid if entry.uid < 1 << 21 else 0),
            b"%07o\0" % (entry.gid if entry.gid < 1 << 21 else 0),
            b"%011o\0" % (entry.size if entry.size < 1 << 33 else 0),
            b"%011o\0" % seconds,
            b"        ",
            entry.type,
            link.ljust(100, b"\0"),
            b"ustar\x0000",
            bytes(64),
            b"%07o\0" % entry.major,
            b"%07o\0" % entry.minor,
            bytes(167),
        )
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _pax_record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    total = length + len(str(length))
    # Writing the length can itself add a digit.
    total = length + len(str(total))
    return b"%d %s=%s\n" % (total, key, value)


def _decimal(nanoseconds: int) -> bytes:
    sign = b"-" if nanoseconds < 0 else b""
    seconds, part = divmod(abs(nanoseconds), 1_000_000_000)
    return sign + (b"%d.%09d" % (seconds, part)).rstrip(b"0").rstrip(b".")
