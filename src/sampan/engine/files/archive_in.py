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

from sampan.image.members import (
    NEW_FILE,
    NODES,
    SUBDIRECTORY,
    extract,
    finish,
    link_target,
    pour,
    remove_tree,
    stamp,
    stamp_at,
    xattrs,
)
from sampan.image.tar import DIRECTORY, LINK, REGULAR, SYMLINK, BadTar, ByteSource, Entry, Reader
from sampan.kernel.inroot import open_in

_DIR = os.O_RDONLY | os.O_DIRECTORY


class PathConflict(Exception):
    """A directory and something else want the same name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractOptions:
    keep_kinds: bool = False
    """A directory and something else never replace each other: ``noOverwriteDirNonDir``."""
    owner: tuple[int, int] | None = None
    """Everything belongs to these (user, group); None: as the tar says."""


class Extractor:
    """Unpacks one tar below the directory ``base`` of ``root``."""

    def __init__(
        self, source: ByteSource, base: str, how: ExtractOptions, root: Path = Path("/")
    ) -> None:
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
        try:
            extract(Reader(self._source), self._member, self._stamp)
        finally:
            self._forget()

    def _stamp(self, name: bytes, mtime_ns: int) -> None:
        directory, base = os.path.split(name)
        parent = self._parent(directory)
        stamp_at(parent, base, mtime_ns)

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
            stamp_at(parent, base, entry.mtime_ns)
        elif entry.type in NODES:
            self._clear(parent, base)
            device = os.makedev(entry.major, entry.minor)
            os.mknod(base, NODES[entry.type] | 0o600, device, dir_fd=parent)
            self._own(parent, base, entry)
            os.chmod(base, entry.mode, dir_fd=parent)
            stamp_at(parent, base, entry.mtime_ns)
        # Anything else is a vendor's extension: it belongs to the tar, not to the tree.

    def _owner(self, entry: Entry) -> tuple[int, int]:
        return self._how.owner or (entry.uid, entry.gid)

    def _own(self, parent: int, base: bytes, entry: Entry) -> None:
        os.chown(base, *self._owner(entry), dir_fd=parent, follow_symlinks=False)

    def _file(self, parent: int, base: bytes, entry: Entry) -> None:
        try:
            fd = os.open(base, NEW_FILE, 0o600, dir_fd=parent)
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
                fd = os.open(base, NEW_FILE, 0o600, dir_fd=parent)
        try:
            pour(self._source, fd, entry)
            self._finish(fd, entry)
        finally:
            os.close(fd)

    def _directory(self, parent: int, base: bytes, entry: Entry) -> None:
        try:
            os.mkdir(base, 0o700, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(base, dir_fd=parent).st_mode):
                if self._how.keep_kinds:
                    raise PathConflict(
                        f"cannot overwrite non-directory {self._shown(base)} with directory"
                    ) from None
                os.unlink(base, dir_fd=parent)
                os.mkdir(base, 0o700, dir_fd=parent)
        fd = os.open(base, SUBDIRECTORY, dir_fd=parent)
        try:
            self._finish(fd, entry)
        finally:
            os.close(fd)

    def _link(self, parent: int, base: bytes, entry: Entry) -> None:
        directory, name = os.path.split(link_target(entry))
        origin = self._open(directory)
        try:
            self._clear(parent, base)
            os.link(name, base, src_dir_fd=origin, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError as error:
            raise BadTar(f"{os.fsdecode(entry.name)!r} is a link to a missing file") from error
        finally:
            os.close(origin)

    def _finish(self, fd: int, entry: Entry) -> None:
        finish(fd, entry, self._how.owner)
        for key, value in xattrs(entry):
            with suppress(OSError):  # the file system cannot hold it: usable without
                os.setxattr(fd, key, value)
        stamp(fd, entry.mtime_ns)

    def _clear(self, parent: int, base: bytes) -> None:
        """Make way: a member replaces what is there, whatever it is."""
        try:
            os.unlink(base, dir_fd=parent)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            if self._how.keep_kinds:
                raise PathConflict(
                    f"cannot overwrite directory {self._shown(base)} with non-directory"
                ) from None
            remove_tree(parent, base)

    def _shown(self, base: bytes) -> str:
        directory = self._cached[0] if self._cached else b""
        path = f"{self._base}/{os.fsdecode(os.path.join(directory, base))}"
        return f'"{path}"'
