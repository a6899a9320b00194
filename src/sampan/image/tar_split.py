"""How a layer's tar is put together again: the tar, without what its files contain.

    "SAMPAN1\\n"   8 bytes
    length of the whole tar, big endian   8 bytes
    gzip: every header, padding and trailer byte, in order

A layer's diff ID is the digest of its tar, and a tar made anew from the directory would have
another (order, header dialect, time stamps with or without decimals, padding). Keeping the pulled
blobs instead would double the disk that images take; the recipe is 1 to 2 % of a layer.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator

from isal import isal_zlib

from sampan.image.members import clean
from sampan.image.tar import BadTar, ByteSource, Entry, Reader, padding
from sampan.image.unpack import from_disk

MAGIC = b"SAMPAN1\n"
_HEAD = struct.Struct("!8sQ")
_CHUNK = 1 << 20


class TarSplitWriter:
    """Collects the bytes; ``finish`` makes the file valid."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._zip = isal_zlib.compressobj(1, wbits=31)
        self._waiting: list[bytes] = []
        self._bytes = 0
        os.write(self._fd, bytes(_HEAD.size))

    def record(self, data: bytes) -> None:
        """The next bytes of the tar that are not a file's contents."""
        self._waiting.append(data)
        self._bytes += len(data)
        if self._bytes >= 1 << 18:
            self._flush()

    def finish(self, tar_bytes: int) -> None:
        """``tar_bytes`` is the length of the whole tar, contents included."""
        self._flush()
        _write(self._fd, self._zip.flush())
        os.pwrite(self._fd, _HEAD.pack(MAGIC, tar_bytes), 0)
        self.close()

    def close(self) -> None:
        """Without ``finish`` the file stays invalid. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _flush(self) -> None:
        _write(self._fd, self._zip.compress(b"".join(self._waiting)))
        self._waiting.clear()
        self._bytes = 0


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def tar_bytes(path: str) -> int:
    """Length in bytes of the tar that this recipe makes.

    Raises:
        BadTar: not a finished recipe.
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD.size)
    if len(head) != _HEAD.size or not head.startswith(MAGIC):
        raise BadTar(f"{path} is not a finished layer recipe")
    return int(_HEAD.unpack(head)[1])


def _inflated(fd: int) -> Iterator[bytes]:
    unzip = isal_zlib.decompressobj(wbits=31)
    while chunk := os.read(fd, _CHUNK):
        if data := unzip.decompress(chunk):
            yield data


def assemble(fd: int, open_file: Callable[[bytes], int]) -> Iterator[bytes]:
    """The tar's bytes, from a recipe open at ``fd`` (read from where it is after its head).

    Args:
        open_file: opens the file of a member for reading.
    """
    os.lseek(fd, _HEAD.size, os.SEEK_SET)
    source = ByteSource(_inflated(fd))
    reader = Reader(source)
    while (entry := reader.next()) is not None:
        yield reader.raw
        if from_disk(entry):
            yield from _contents(open_file(b"/" + clean(entry.name)), entry)
            yield source.exactly(padding(entry.size))
        elif entry.size:
            yield source.exactly(entry.size + padding(entry.size))
    yield reader.raw
    yield from source.rest()


def _contents(fd: int, entry: Entry) -> Iterator[bytes]:
    try:
        left = entry.size
        while left:
            chunk = os.read(fd, min(left, _CHUNK))
            if not chunk:
                raise BadTar(f"{os.fsdecode(entry.name)} is shorter than when it was unpacked")
            left -= len(chunk)
            yield chunk
    finally:
        os.close(fd)
