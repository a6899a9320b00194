"""A layer's tar becomes a directory that overlayfs understands.

    .wh.NAME         -> character device 0:0 called NAME     (deleted below)
    .wh..wh..opq     -> trusted.overlay.opaque on its directory   (nothing of below shows)

Every path is resolved by the kernel inside a *chroot* of the target directory: symbolic links,
``..`` and absolute names of a hostile layer cannot lead out of it, and a layer that writes through
its own links (``lib -> usr/lib``, then ``lib/x``) means what its author meant. Hence this runs in
a worker process: a chroot is the whole process's.

The *recipe* written beside it is the tar without the contents of its files: with it the layer can
be put together again, byte for byte, as its diff ID demands (see ``tar_split.py``).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress

from sampan.image.members import NEW_FILE, NODES, clean, finish, no_file, pour, stamp, xattrs
from sampan.image.tar import (
    DIRECTORY,
    LINK,
    REGULAR,
    SYMLINK,
    BadTar,
    ByteSource,
    Entry,
    Reader,
    padding,
)

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
OPAQUE_XATTR = b"trusted.overlay.opaque"


def from_disk(entry: Entry) -> bool:
    """Is this member's payload a file in the directory (and so not in the recipe)?"""
    if entry.type != REGULAR or not entry.size:
        return False
    return not os.path.basename(clean(entry.name)).startswith(WHITEOUT)


class Unpacker:
    """Unpacks one stream into the process's root directory (after ``os.chroot``)."""

    def __init__(self, source: ByteSource, record: Callable[[bytes], None]) -> None:
        self._source = source
        self._reader = Reader(source)
        self._record = record
        self._directories: dict[bytes, int] = {}
        self.size = 0
        """Bytes of file contents written."""

    def run(self) -> None:
        """To the end of the stream, trailing bytes included.

        Raises:
            BadTar, OSError
        """
        source, reader, record = self._source, self._reader, self._record
        while (entry := reader.next()) is not None:
            record(reader.raw)
            name = clean(entry.name)
            if from_disk(entry):
                record(self._file(name, entry))
                continue
            if entry.size:
                left = entry.size + padding(entry.size)
                while left:
                    part = source.exactly(min(left, 1 << 20))
                    left -= len(part)
                    record(part)
            self._bodiless(name, entry)
        record(reader.raw)
        for rest in source.rest():
            record(rest)
        # Deepest last seen first: setting a child's time does not touch its parent's, making
        # a child does, and all are made by now.
        for path, mtime_ns in self._directories.items():
            with suppress(FileNotFoundError, NotADirectoryError):
                os.utime(b"/" + path, ns=(mtime_ns, mtime_ns), follow_symlinks=False)

    def _file(self, name: bytes, entry: Entry) -> bytes:
        if not name:
            no_file(entry)
        path = b"/" + name
        try:
            fd = os.open(path, NEW_FILE, 0o600)
        except OSError as error:
            self._make_way(path, error)
            fd = os.open(path, NEW_FILE, 0o600)
        try:
            padded = pour(self._source, fd, entry)
            self.size += entry.size
            finish(fd, entry)
            if entry.xattrs:
                _xattrs(fd, entry)
            stamp(fd, entry.mtime_ns)
        finally:
            os.close(fd)
        return padded

    def _bodiless(self, name: bytes, entry: Entry) -> None:
        kind = entry.type
        base = os.path.basename(name)
        if base.startswith(WHITEOUT):
            self._whiteout(name, base)
        elif kind == DIRECTORY:
            self._directory(name, entry)
        elif not name:
            raise BadTar("a file in place of the root directory")
        elif kind == REGULAR:
            self._file(name, entry)
        elif kind == LINK:
            target = b"/" + clean(entry.link)
            self._make(b"/" + name, lambda path: os.link(target, path, follow_symlinks=False))
        elif kind == SYMLINK:
            path = b"/" + name
            self._make(path, lambda path: os.symlink(entry.link, path))
            os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
            _xattrs(path, entry)
            os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)
        elif kind in NODES:
            self._node(b"/" + name, entry)
        # Anything else is a vendor's extension: it belongs to the tar, not to the tree.

    def _node(self, path: bytes, entry: Entry) -> None:
        device = os.makedev(entry.major, entry.minor)
        self._make(path, lambda path: os.mknod(path, NODES[entry.type] | 0o600, device))
        os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
        os.chmod(path, entry.mode)
        _xattrs(path, entry)
        os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)

    def _directory(self, name: bytes, entry: Entry) -> None:
        path = b"/" + name
        replaced = False
        if name:
            try:
                os.mkdir(path, 0o700)
            except OSError as error:
                found = _lstat(path)
                if found is None or not stat.S_ISDIR(found.st_mode):
                    replaced = found is not None and _is_whiteout(found)
                    self._make_way(path, error)
                    os.mkdir(path, 0o700)
        os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
        os.chmod(path, entry.mode)
        _xattrs(path, entry)
        if replaced:
            # Deleted below and made anew here: nothing of the old one may shine through.
            os.setxattr(path, OPAQUE_XATTR, b"y")
        self._directories[name] = entry.mtime_ns

    def _whiteout(self, name: bytes, base: bytes) -> None:
        parent = os.path.dirname(name)
        if base == OPAQUE:
            self._parents(b"/" + name)
            os.setxattr(b"/" + parent, OPAQUE_XATTR, b"y")
            return
        hidden = base[len(WHITEOUT) :]
        if hidden.startswith(WHITEOUT):
            return  # AUFS's own records (.wh..wh.plnk): no meaning outside of it
        if hidden in (b"", b".", b".."):
            raise BadTar(f"invalid whiteout {os.fsdecode(name)!r}")
        path = b"/" + (parent + b"/" if parent else b"") + hidden
        try:
            os.mknod(path, stat.S_IFCHR, 0)
        except FileExistsError:
            return  # whiteouts speak of the layers below: what this layer brings stays
        except OSError as error:
            self._make_way(path, error)
            os.mknod(path, stat.S_IFCHR, 0)

    def _make(self, path: bytes, make: Callable[[bytes], None]) -> None:
        try:
            make(path)
        except OSError as error:
            self._make_way(path, error)
            make(path)

    def _make_way(self, path: bytes, error: OSError) -> None:
        """Cure what stopped a creation: missing parents, or something in the way."""
        if error.errno in (errno.EEXIST, errno.EISDIR, errno.ELOOP):
            found = _lstat(path)
            if found is not None and stat.S_ISDIR(found.st_mode):
                _remove_tree(path)
            elif found is not None:
                os.unlink(path)
        elif error.errno in (errno.ENOENT, errno.ENOTDIR):
            self._parents(path)
        else:
            raise error

    def _parents(self, path: bytes) -> None:
        done = b""
        for part in path.split(b"/")[1:-1]:
            done += b"/" + part
            try:
                os.mkdir(done, 0o755)
            except FileExistsError:
                found = _lstat(done)
                if found is not None and stat.S_ISLNK(found.st_mode):
                    continue  # the chroot keeps what it points to inside
                if found is not None and not stat.S_ISDIR(found.st_mode):
                    whiteout = _is_whiteout(found)
                    os.unlink(done)
                    os.mkdir(done, 0o755)
                    if whiteout:
                        os.setxattr(done, OPAQUE_XATTR, b"y")


def _xattrs(target: bytes | int, entry: Entry) -> None:
    for key, value in xattrs(entry):
        try:
            if isinstance(target, int):
                os.setxattr(target, key, value)
            else:
                os.setxattr(target, key, value, follow_symlinks=False)
        except OSError as error:
            # The host's file system cannot hold it (no SELinux, user.* on a device): the image
            # is usable without, as it is with every other engine.
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise


def _lstat(path: bytes) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _remove_tree(path: bytes) -> None:
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _remove_tree(entry.path)
            else:
                os.unlink(entry.path)
    os.rmdir(path)
