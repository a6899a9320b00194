"""The files of a log: the one that is written, and those rotated away, which may be compressed.

    LOG  LOG.1  LOG.2.gz  LOG.3.gz      newest to oldest

A file keeps its identity when it is compressed: the inode that it had is in the archive's head,
and its beginning, which has a time to the nanosecond, is the same. So a reader that holds the file
as it was finds its place among the others. Everything here blocks.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

HEAD_BYTES = 64
_SUFFIX = ".gz"
_LEVEL = 6
_COPIED_BYTES = 256 << 10


def packed(path: Path) -> Path:
    """Where ``path`` is once it is compressed."""
    return path.with_name(path.name + _SUFFIX)


def number(path: Path, n: int) -> Path:
    """The file that was rotated away ``n`` times from ``path``, not compressed."""
    return path.with_name(f"{path.name}.{n}") if n else path


def rotated(path: Path) -> list[Path]:
    """``path``, then what was rotated away from it, newest first."""
    found = [path]
    while True:
        plain = number(path, len(found))
        # Of both, the archive is whole: the other is about to be removed.
        if (archive := packed(plain)).exists():
            found.append(archive)
        elif plain.exists():
            found.append(plain)
        else:
            return found


def compress(path: Path) -> None:
    """Replace ``path``, which nobody writes to, by an archive of it. A crash leaves one of the two
    whole.

    Raises:
        OSError: it is as it was.
    """
    status = path.stat()
    unfinished = path.with_name(f"{path.name}{_SUFFIX}.new")
    try:
        with path.open("rb") as source, unfinished.open("wb") as raw:
            with gzip.GzipFile(
                str(status.st_ino), "wb", _LEVEL, raw, mtime=int(status.st_mtime)
            ) as target:
                shutil.copyfileobj(source, target, _COPIED_BYTES)
        # As old as what is in it: a reader passes over what is too old for it.
        os.utime(unfinished, ns=(status.st_atime_ns, status.st_mtime_ns))
        unfinished.rename(packed(path))
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    path.unlink()


class LogFile:
    """One of the files, opened to be read. An archive is unpacked when something behind its head is
    wanted, into a file without a name."""

    def __init__(self, path: Path) -> None:
        """Raises FileNotFoundError."""
        try:
            file = path.open("rb", buffering=0)
        except FileNotFoundError:
            if path.suffix == _SUFFIX:
                raise
            path = packed(path)  # it was compressed just now
            file = path.open("rb", buffering=0)
        self.path = path
        self.archived = path.suffix == _SUFFIX
        """It is complete: nobody writes to an archive."""
        self._file: BinaryIO = file
        self._packed = self.archived
        self.inode = _inode_in(file) if self.archived else os.fstat(file.fileno()).st_ino
        """As the monitor wrote it, also of an archive."""

    @property
    def head(self) -> bytes:
        """How it begins."""
        if self._packed:
            try:
                with gzip.GzipFile(fileobj=self._file, mode="rb") as content:
                    return content.read(HEAD_BYTES)
            except (EOFError, zlib.error) as error:
                raise OSError(f"{self.path}: {error}") from error
            finally:
                self._file.seek(0)
        return os.pread(self._file.fileno(), HEAD_BYTES, 0)

    def is_same(self, inode: int, head: bytes) -> bool:
        """Whether it is the file of that inode that begins so, and not another that was given the
        inode since. A file that is written to may begin with more than it did."""
        if self.inode != inode:
            return False
        mine = self.head
        return mine.startswith(head) or head.startswith(mine)

    def fileno(self) -> int:
        """Of its content."""
        if self._packed:
            self._unpack()
        return self._file.fileno()

    def size(self) -> int:
        return os.fstat(self.fileno()).st_size

    def read(self, size: int) -> bytes:
        self.fileno()
        return self._file.read(size)

    def seek(self, offset: int) -> None:
        self.fileno()
        self._file.seek(offset)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()

    def _unpack(self) -> None:
        unpacked = tempfile.TemporaryFile(dir=self.path.parent, buffering=0)  # noqa: SIM115
        try:
            with gzip.GzipFile(fileobj=self._file, mode="rb") as content:
                shutil.copyfileobj(content, unpacked, _COPIED_BYTES)
        except BaseException as error:
            unpacked.close()
            self._file.seek(0)
            if isinstance(error, (EOFError, zlib.error)):
                raise OSError(f"{self.path}: {error}") from error
            raise
        unpacked.seek(0)
        self._file.close()
        self._file, self._packed = unpacked, False


def _inode_in(archive: BinaryIO) -> int:
    """What ``compress`` has put into the archive's head; 0: somebody else has made it."""
    head = os.pread(archive.fileno(), HEAD_BYTES, 0)
    with suppress(ValueError):
        if (
            head[:2] == b"\x1f\x8b" and head[3:4] == b"\x08"
        ):  # it has a name, and nothing before that
            return int(head[10 : head.index(0, 10)])
    return 0
