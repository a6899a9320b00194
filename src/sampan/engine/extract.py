"""A client's tar becomes files of a container. Runs in a process that lives in its file system.

Every member is made relative to a descriptor of its parent, which is opened as a process of the
container would reach it. The tar may say what it likes: there is nothing else to reach.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sampan.image.tar import (
    CHAR,
    DEVICE,
    DIRECTORY,
    FIFO,
    LINK,
    REGULAR,
    SYMLINK,
    BadTar,
    Entry,
    Reader,
    Source,
    padding,
)
from sampan.kernel.inroot import open_in

_DIR = os.O_RDONLY | os.O_DIRECTORY
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NODES = {CHAR: stat.S_IFCHR, DEVICE: stat.S_IFBLK, FIFO: stat.S_IFIFO}


class Clash(Exception):
    """A directory and something else want the same name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    keep_kinds: bool = False
    """A directory and what is none never replace each other: ``noOverwriteDirNonDir``."""
    owner: tuple[int, int] | None = None
    """Everything belongs to these (user, group); None: as the tar says."""


class Extractor:
    """Unpacks one tar below the directory ``base`` of ``root``."""

    def __init__(self, source: Source, base: str, how: How, root: Path = Path("/")) -> None:
        self._source = source
        self._base = base.rstrip("/")
        self._how = how
        self._root = root
        self._cached: tuple[bytes, int] | None = None

    def run(self) -> None:
        """To the end of the archive.

        Raises:
            BadTar, Clash, OSError
        """
        reader = Reader(self._source)
        times: dict[bytes, int] = {}
        try:
            while (entry := reader.next()) is not None:
                name = _clean(entry.name)
                if not name:
                    # The directory copied into: its contents are what was meant.
                    if entry.type == REGULAR:
                        raise BadTar("a file in place of the directory to copy into")
                    continue
                self._member(name, entry)
                if entry.type == DIRECTORY:
                    times[name] = entry.mtime_ns
            for name, mtime_ns in reversed(times.items()):
                with suppress(FileNotFoundError, NotADirectoryError):
                    self._stamp(name, mtime_ns)
        finally:
            self._forget()

    def _stamp(self, name: bytes, mtime_ns: int) -> None:
        directory, base = os.path.split(name)
        parent = self._parent(directory)
        os.utime(base, ns=(mtime_ns, mtime_ns), dir_fd=parent, follow_symlinks=False)

    # -- parents

    def _parent(self, directory: bytes) -> int:
        """A descriptor of ``directory``, which is made where it is missing. Ours to close."""
        if self._cached is not None and self._cached[0] == directory:
            return self._cached[1]
        self._forget()
        fd = self._open(directory)
        self._cached = (directory, fd)
        return fd

    def _open(self, directory: bytes) -> int:
        path = self._base + "/" + os.fsdecode(directory)
        try:
            return open_in(self._root, path, _DIR)
        except FileNotFoundError:
            if not directory:
                raise
        above, name = os.path.split(directory)
        parent = self._open(above)
        try:
            with suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=parent)
                if self._how.owner is not None:
                    os.chown(name, *self._how.owner, dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(parent)
        return open_in(self._root, path, _DIR)

    def _forget(self) -> None:
        if self._cached is not None:
            os.close(self._cached[1])
            self._cached = None

    # -- members

    def _member(self, name: bytes, entry: Entry) -> None:
        directory, base = os.path.split(name)
        parent = self._parent(directory)
        if entry.type == REGULAR:
            self._file(parent, base, entry)
        elif entry.type == DIRECTORY:
            self._directory(parent, base, entry)
        elif entry.type == LINK:
            self._link(parent, base, entry)
        elif entry.type == SYMLINK:
            self._clear(parent, base)
            os.symlink(entry.link, base, dir_fd=parent)
            self._own(parent, base, entry)
            os.utime(base, ns=(entry.mtime_ns,) * 2, dir_fd=parent, follow_symlinks=False)
        elif entry.type in _NODES:
            self._clear(parent, base)
            device = os.makedev(entry.major, entry.minor)
            os.mknod(base, _NODES[entry.type] | 0o600, device, dir_fd=parent)
            self._own(parent, base, entry)
            os.chmod(base, entry.mode, dir_fd=parent)
            os.utime(base, ns=(entry.mtime_ns,) * 2, dir_fd=parent, follow_symlinks=False)
        # Anything else is a vendor's extension: it belongs to the tar, not to the tree.

    def _owner(self, entry: Entry) -> tuple[int, int]:
        return self._how.owner or (entry.uid, entry.gid)

    def _own(self, parent: int, base: bytes, entry: Entry) -> None:
        os.chown(base, *self._owner(entry), dir_fd=parent, follow_symlinks=False)

    def _file(self, parent: int, base: bytes, entry: Entry) -> None:
        try:
            fd = os.open(base, _NEW, 0o600, dir_fd=parent)
        except FileExistsError:
            try:
                self._clear(parent, base)
            except OSError as error:
                # A file that is a mount point (/etc/hosts) cannot be replaced, only rewritten.
                if error.errno != errno.EBUSY:
                    raise
                flags = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
                fd = os.open(base, flags, dir_fd=parent)
            else:
                fd = os.open(base, _NEW, 0o600, dir_fd=parent)
        try:
            self._source.copy(fd, entry.size)
            self._source.exactly(padding(entry.size))
            self._finish(fd, entry)
        finally:
            os.close(fd)

    def _directory(self, parent: int, base: bytes, entry: Entry) -> None:
        try:
            os.mkdir(base, 0o700, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(base, dir_fd=parent).st_mode):
                if self._how.keep_kinds:
                    raise Clash(
                        f"cannot overwrite non-directory {self._shown(base)} with directory"
                    ) from None
                os.unlink(base, dir_fd=parent)
                os.mkdir(base, 0o700, dir_fd=parent)
        fd = os.open(base, _DIR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            self._finish(fd, entry)
        finally:
            os.close(fd)

    def _link(self, parent: int, base: bytes, entry: Entry) -> None:
        target = _clean(entry.link)
        if not target:
            raise BadTar(f"{os.fsdecode(entry.name)!r} is a link to nothing")
        directory, name = os.path.split(target)
        origin = self._open(directory)
        try:
            self._clear(parent, base)
            os.link(name, base, src_dir_fd=origin, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError as error:
            raise BadTar(f"{os.fsdecode(entry.name)!r} is a link to a missing file") from error
        finally:
            os.close(origin)

    def _finish(self, fd: int, entry: Entry) -> None:
        # Owner before mode: chown clears the set-user-ID bits.
        os.fchown(fd, *self._owner(entry))
        os.fchmod(fd, entry.mode)
        for key, value in entry.xattrs.items():
            if not key.startswith((b"trusted.overlay.", b"user.overlay.")):
                with suppress(OSError):  # the file system cannot hold it: usable without
                    os.setxattr(fd, key, value)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))

    def _clear(self, parent: int, base: bytes) -> None:
        """Make way: a member replaces what is there, whatever it is."""
        try:
            os.unlink(base, dir_fd=parent)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            if self._how.keep_kinds:
                raise Clash(
                    f"cannot overwrite directory {self._shown(base)} with non-directory"
                ) from None
            _remove_tree(parent, base)

    def _shown(self, base: bytes) -> str:
        directory = self._cached[0] if self._cached else b""
        path = f"{self._base}/{os.fsdecode(os.path.join(directory, base))}"
        return f'"{path}"'


def _clean(name: bytes) -> bytes:
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise BadTar(f"{os.fsdecode(name)!r} leads out of the archive")
    return b"/".join(parts)


def _remove_tree(parent: int, name: bytes) -> None:
    fd = os.open(name, _DIR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        for member in os.listdir(fd):
            if stat.S_ISDIR(os.lstat(member, dir_fd=fd).st_mode):
                _remove_tree(fd, os.fsencode(member))
            else:
                os.unlink(member, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)
