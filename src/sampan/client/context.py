"""A build's directory as a tar stream, made while it is sent: no copy on disk or in memory."""

from __future__ import annotations

import os
import stat
import tarfile

from sampan.errors import InvalidArgument
from sampan.ignore import Ignore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

DOCKERFILE = "Dockerfile"
_IGNORE_FILE = ".dockerignore"
_FOREIGN_NAME = ".dockerfile.sampan"
_PIECE = 1 << 18


class ContextError(InvalidArgument):
    """The directory cannot be sent as it is."""


class Context:
    """A directory with the Dockerfile that a build reads from it."""

    def __init__(self, directory: str, dockerfile: str | bytes | None = None) -> None:
        """``dockerfile``: a path (relative to the working directory), its text, or None: the usual.

        A Dockerfile from outside of the directory travels under a name of its own. Raises
        ContextError, and BadIgnorePattern with the file and line.
        """
        if not os.path.isdir(directory):
            raise ContextError(f"unable to prepare context: path {directory!r} not found")
        self.directory = directory
        self._foreign: bytes | None = None
        if isinstance(dockerfile, bytes):
            self.dockerfile, self._foreign = _FOREIGN_NAME, dockerfile
        else:
            self.dockerfile = self._locate(dockerfile)
        self.ignore = self._read_ignore(dockerfile if isinstance(dockerfile, str) else None)

    def _locate(self, dockerfile: str | None) -> str:
        path = os.path.join(self.directory, DOCKERFILE) if dockerfile is None else dockerfile
        if not os.path.isfile(path):
            raise ContextError(
                f"unable to prepare context: there is no Dockerfile at {path}: name one with -f"
            )
        root = os.path.realpath(self.directory)
        # The link itself may lie in the directory and point out of it: then its text must travel.
        inside = os.path.relpath(os.path.realpath(path), root)
        if not inside.startswith("../"):
            return inside
        with open(path, "rb") as file:
            self._foreign = file.read()
        return _FOREIGN_NAME

    def _read_ignore(self, dockerfile: str | None) -> Ignore:
        own = f"{dockerfile or os.path.join(self.directory, DOCKERFILE)}{_IGNORE_FILE}"
        for path in (own, os.path.join(self.directory, _IGNORE_FILE)):
            try:
                with open(path, encoding="utf-8", errors="surrogateescape") as file:
                    lines = file.read().split("\n")
                break
            except FileNotFoundError:
                continue
        else:
            return Ignore(())
        # The daemon needs these two whatever the patterns say.
        always = (_IGNORE_FILE,) if self._foreign else (_IGNORE_FILE, self.dockerfile)
        return Ignore(lines, source=path, always=always)

    def chunks(self) -> Iterator[bytes]:
        """The tar, in pieces of about 256 KiB. Owners become root, as docker's CLI sends them.

        Raises ContextError on a file that cannot be read.
        """
        batch = bytearray()
        for piece in self._pieces():
            batch += piece
            if len(batch) >= _PIECE:
                yield bytes(batch)
                batch.clear()
        batch += bytes(2 * tarfile.BLOCKSIZE)
        yield bytes(batch)

    def _pieces(self) -> Iterator[bytes]:
        if self._foreign is not None:
            yield _member(_FOREIGN_NAME, self._foreign)
        yield from self._directory("")

    def _directory(self, below: str) -> Iterator[bytes]:
        """Everything in a directory, sorted: the same tree is the same stream."""
        try:
            with os.scandir(os.path.join(self.directory, below)) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise _unreadable(below or self.directory, error) from error
        for entry in found:
            name = f"{below}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if self.ignore.may_skip_dir(name):
                    continue
                if not self.ignore.excludes(name):
                    yield _header(self._info(name, entry))
                yield from self._directory(f"{name}/")
            elif not self.ignore.excludes(name):
                yield from self._file(name, entry)

    def _info(self, name: str, entry: os.DirEntry[str]) -> tarfile.TarInfo:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:
            raise _unreadable(name, error) from error
        info = tarfile.TarInfo(name)
        info.mode = stat.S_IMODE(status.st_mode)
        info.mtime = int(status.st_mtime)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            info.type = tarfile.DIRTYPE
        elif kind == stat.S_IFLNK:
            info.type, info.linkname = tarfile.SYMTYPE, os.readlink(entry.path)
        elif kind == stat.S_IFREG:
            info.size = status.st_size
        elif kind == stat.S_IFIFO:
            info.type = tarfile.FIFOTYPE
        else:
            info.type = b""  # sockets and devices do not travel
        return info

    def _file(self, name: str, entry: os.DirEntry[str]) -> Iterator[bytes]:
        info = self._info(name, entry)
        if not info.type:
            return
        if info.type != tarfile.REGTYPE:
            yield _header(info)
            return
        try:
            with open(entry.path, "rb", buffering=0) as file:
                yield _header(info)
                left = info.size
                while left:
                    data = file.read(min(left, _PIECE))
                    if not data:
                        raise ContextError(f"{name} became shorter while it was sent: try again")
                    left -= len(data)
                    yield data
        except OSError as error:
            raise _unreadable(name, error) from error
        yield _padding(info.size)


def one_file(name: str, text: bytes) -> bytes:
    """A whole tar with a single file, for a build that needs nothing but its Dockerfile."""
    return _member(name, text) + bytes(2 * tarfile.BLOCKSIZE)


def _member(name: str, text: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(text)
    return _header(info) + text + _padding(info.size)


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def _literal(name: str) -> str:
    """A pattern that matches exactly ``name``."""
    return "".join("\\" + char if char in "*?[\\" else char for char in name)


def _unreadable(name: str, error: OSError) -> ContextError:
    return ContextError(
        f"cannot read {name!r} for the build: {error.strerror}: "
        f"change its permissions or list it in {_IGNORE_FILE}"
    )
