"""An archive put down on disk, with an index of its members: a load needs them out of order."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from sampan.aio import in_thread
from sampan.errors import Exhausted
from sampan.image.contract import BadLayer
from sampan.image.tar import LINK, REGULAR, SYMLINK, BadTar, ByteSource, Reader, padding
from sampan.image.worker import inflate
from sampan.image.workers import FileSlice

_CHUNK = 1 << 20
_SMALL = 64 << 20
"""Bytes of a member that is read whole (manifests, configs)."""


class ArchiveIndex:
    """Members by normalised name."""

    def __init__(self, path: Path, members: dict[str, tuple[int, int]]) -> None:
        self._path = path
        self._members = members

    @classmethod
    async def fill(cls, path: Path, archive: AsyncIterator[bytes]) -> ArchiveIndex:
        """Write ``archive`` (compressed or not) to ``path`` and index it.

        Raises:
            BadLayer: no tar. Exhausted: the disk is full.
        """
        raw = path.with_suffix(".raw")
        try:
            with await in_thread(open, raw, "wb") as file:
                waiting: list[bytes] = []
                size = 0
                async for chunk in archive:
                    waiting.append(chunk)
                    size += len(chunk)
                    if size >= _CHUNK:
                        await in_thread(_write, file.fileno(), waiting)
                        waiting, size = [], 0
                await in_thread(_write, file.fileno(), waiting)
            await in_thread(_inflate, raw, path)
            return cls(path, await in_thread(_index, path))
        except BadTar as error:
            raise BadLayer(f"invalid archive: {error}") from error
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise Exhausted(
                f"no space left on device: the archive did not fit in {path.parent.parent}; "
                "free some space there and try again"
            ) from error

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def slice(self, name: str) -> FileSlice:
        """Where a member is. Raises BadLayer."""
        if name not in self._members:
            raise BadLayer(f"the archive speaks of {name} but does not hold it")
        return FileSlice(self._path, *self._members[name])

    def read(self, name: str) -> bytes:
        """A small member. Blocks. Raises BadLayer."""
        part = self.slice(name)
        if part.size > _SMALL:
            raise BadLayer(f"{name} is too large for what it is")
        with open(self._path, "rb") as file:
            file.seek(part.offset)
            return file.read(part.size)


def _write(fd: int, chunks: list[bytes]) -> None:
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            view = view[os.write(fd, view) :]


def _read(path: Path) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _inflate(raw: Path, path: Path) -> None:
    with open(raw, "rb") as file:
        magic = file.read(6)
    packed = magic[:2] == b"\x1f\x8b" or magic[:4] == b"\x28\xb5\x2f\xfd"
    if not packed and magic[:3] != b"BZh" and magic != b"\xfd7zXZ\x00":
        raw.rename(path)
        return
    with open(path, "wb", buffering=0) as out:
        for chunk in inflate(_read(raw)):
            _write(out.fileno(), [chunk])
    raw.unlink()


def _index(path: Path) -> dict[str, tuple[int, int]]:
    members: dict[str, tuple[int, int]] = {}
    links: dict[str, str] = {}
    with open(path, "rb") as file:

        class Seeking(ByteSource):
            """Headers only: payloads are skipped by seeking."""

            def read(self, size: int) -> bytes:
                return file.read(size)

        reader = Reader(Seeking(iter(())))
        while (entry := reader.next()) is not None:
            name = os.path.normpath(os.fsdecode(entry.name))
            if entry.type == REGULAR:
                members[name] = (file.tell(), entry.size)
            elif entry.type in (LINK, SYMLINK):
                base = os.path.dirname(name) if entry.type == SYMLINK else ""
                links[name] = os.path.normpath(os.path.join(base, os.fsdecode(entry.link)))
            file.seek(entry.size + padding(entry.size), os.SEEK_CUR)
    # Old archives link equal layers to each other.
    for name, target in links.items():
        if target in members:
            members[name] = members[target]
    return members
