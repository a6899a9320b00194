"""Writing into a mounted root: files, directories, links, tar members. Blocking: runs in a thread.

Three rules. Destinations are resolved inside the root, so that a link an image brought along can
not lead out of it. An existing file is replaced, never written through: another name of it would
change too. A link to a directory stays where a directory is copied over it (``COPY lib/ /lib`` on
a distribution whose /lib is a link must not destroy /lib).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tarfile
from threading import Event

from sampan.build.contract import DockerfileError
from sampan.build.scoped import resolve
from sampan.build.tree import Entry, Picked, Tree
from sampan.errors import Cancelled


class Copier:
    """One step's copying. ``stop`` is asked before every file."""

    def __init__(
        self,
        root: str,
        *,
        owner: tuple[int, int] | None = (0, 0),
        mode: int | None = None,
        stop: Event | None = None,
    ) -> None:
        """``owner`` None: as the source has it. ``mode`` None: likewise."""
        self._root, self._owner, self._mode = root, owner, mode
        self._stop = stop or Event()
        self._links: dict[tuple[int, int], str] = {}

    def copy(self, tree: Tree, source: Picked, dest: str) -> None:
        """``source`` to ``dest`` (absolute in the root): a directory's contents into the
        directory ``dest``; a file to ``dest``, or into it if it is a directory or ends in "/".
        A link found on the way or at ``dest`` is followed, inside the root.

        Raises:
            DockerfileError: a directory over a file.
        """
        if source.is_dir:
            for entry in tree.entries(source):
                self._check()
                if entry.name:
                    self._put(entry, f"{dest}/{entry.name}")
                else:
                    self.make_dirs(dest, like=entry.stat)
            return
        dest = self._file_at(dest, os.path.basename(source.name))
        for entry in tree.entries(source):
            self._put(entry, dest)

    def write(self, name: str, content: bytes, dest: str, mode: int = 0o644) -> None:
        """An inline file (a heredoc, a download)."""
        target = self._place(self._file_at(dest, name))
        with open(target, "xb", buffering=0) as file:
            file.write(content)
            self._finish(file.fileno(), mode, self._owner or (0, 0))

    def place_file(self, path: str, name: str, dest: str, mode: int) -> None:
        """A host file of ours (a download) under ``name``."""
        target = self._place(self._file_at(dest, name))
        with open(path, "rb") as source, open(target, "xb", buffering=0) as file:
            shutil.copyfileobj(source, file, 1 << 20)
            self._finish(file.fileno(), mode, self._owner or (0, 0))

    def make_dirs(self, dest: str, *, like: os.stat_result | None = None) -> bool:
        """``dest`` and its parents, 0755; ``like``: the last one's mode and owner if it is new.
        Returns whether anything was made."""
        where, made = resolve(self._root, dest), False
        missing: list[str] = []
        while not os.path.lexists(where):
            missing.append(where)
            where = os.path.dirname(where)
        if not os.path.isdir(where):
            raise DockerfileError(
                f"cannot copy to non-directory: {where[len(self._root) :] or '/'} is a file"
            )
        for path in reversed(missing):
            os.mkdir(path, 0o755)
            mode, owner = 0o755, self._owner or (0, 0)
            if path == missing[0] and like is not None:
                mode, owner = stat.S_IMODE(like.st_mode), self._owner or (like.st_uid, like.st_gid)
            if self._mode is not None and path == missing[0]:
                mode = self._mode
            os.chown(path, *owner)
            os.chmod(path, mode)
            made = True
        return made

    def unpack(self, archive: tarfile.TarFile, dest: str) -> None:
        """Every member of a tar beneath ``dest``; none can get out of the root."""
        self.make_dirs(dest)
        times: list[tuple[str, float]] = []
        for member in archive:
            self._check()
            name = os.path.normpath("/" + member.name).lstrip("/")
            if not name:
                continue
            target = f"{dest}/{name}"
            owner = self._owner if self._owner not in (None, (0, 0)) else (member.uid, member.gid)
            assert owner is not None
            if member.isdir():
                where = resolve(self._root, target)
                if os.path.lexists(where) and not os.path.isdir(where):
                    os.unlink(where)
                self.make_dirs(target)
                os.chown(where, *owner)
                os.chmod(where, member.mode & 0o7777)
                times.append((where, member.mtime))
                continue
            where = self._place(target)
            if member.islnk():
                # A hard link's target is a name in the archive, so it lies beneath dest too.
                linked = os.path.normpath("/" + member.linkname).lstrip("/")
                os.link(resolve(self._root, f"{dest}/{linked}", follow_last=False), where)
                continue
            if member.issym():
                os.symlink(member.linkname, where)
            elif member.isreg():
                with archive.extractfile(member) or contextlib.nullcontext() as source:
                    with open(where, "xb") as file:
                        if source is not None:
                            shutil.copyfileobj(source, file, 1 << 20)
            elif member.isfifo():
                os.mkfifo(where)
            elif member.ischr() or member.isblk():
                kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
                os.mknod(where, kind, os.makedev(member.devmajor, member.devminor))
            else:
                continue
            os.lchown(where, *owner)
            if not member.issym():
                os.chmod(where, (member.mode if self._mode is None else self._mode) & 0o7777)
            os.utime(where, (member.mtime, member.mtime), follow_symlinks=False)
        for where, mtime in reversed(times):
            os.utime(where, (mtime, mtime))

    # -- one entry

    def _file_at(self, dest: str, name: str) -> str:
        """Where a file called ``name`` goes that is copied to ``dest``. A link there is followed:
        ``COPY x /etc/localtime`` means what the link names."""
        where = resolve(self._root, dest)
        if dest.endswith("/") or os.path.isdir(where):
            return f"{dest}/{name}"
        return where[len(self._root) :]

    def _check(self) -> None:
        if self._stop.is_set():
            raise Cancelled("the build was cancelled")

    def _put(self, entry: Entry, dest: str) -> None:
        st = entry.stat
        owner = self._owner or (st.st_uid, st.st_gid)
        if stat.S_ISDIR(st.st_mode):
            where = resolve(self._root, dest)
            if os.path.lexists(where) and not os.path.isdir(where):
                os.unlink(where)
            if not self.make_dirs(dest, like=st):
                os.chown(where, *owner)
                os.chmod(where, stat.S_IMODE(st.st_mode) if self._mode is None else self._mode)
            return
        target = self._place(dest)
        if stat.S_ISREG(st.st_mode):
            self._put_file(entry, target, owner)
            return
        if stat.S_ISLNK(st.st_mode):
            os.symlink(os.readlink(entry.path), target)
        else:
            os.mknod(target, st.st_mode, st.st_rdev)
            os.chmod(target, stat.S_IMODE(st.st_mode))
        os.lchown(target, *owner)
        os.utime(target, ns=(st.st_atime_ns, st.st_mtime_ns), follow_symlinks=False)

    def _put_file(self, entry: Entry, target: str, owner: tuple[int, int]) -> None:
        st = entry.stat
        if st.st_nlink > 1:
            first = self._links.setdefault((st.st_dev, st.st_ino), target)
            if first != target:
                os.link(first, target)
                return
        source = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(target, flags, 0o600)
            try:
                _copy_bytes(source, fd, st.st_size)
                self._finish(fd, stat.S_IMODE(st.st_mode), owner)
                for name in os.listxattr(source):
                    with contextlib.suppress(
                        OSError
                    ):  # a kind that this file system does not support
                        os.setxattr(fd, name, os.getxattr(source, name))
                os.utime(fd, ns=(st.st_atime_ns, st.st_mtime_ns))
            finally:
                os.close(fd)
        finally:
            os.close(source)

    def _finish(self, fd: int, mode: int, owner: tuple[int, int]) -> None:
        # The owner first: a change of owner clears the set-user-id bit.
        os.fchown(fd, *owner)
        os.fchmod(fd, mode if self._mode is None else self._mode)

    def _place(self, dest: str) -> str:
        """The host path for a new entry, its parents made and whatever stood there gone."""
        parent, _, name = dest.rstrip("/").rpartition("/")
        self.make_dirs(parent or "/")
        where = f"{resolve(self._root, parent)}/{name}"
        try:
            found = os.lstat(where)
        except FileNotFoundError:
            return where
        if stat.S_ISDIR(found.st_mode):
            raise DockerfileError(
                f"cannot copy to {dest}: a directory is there: remove it in an earlier step or "
                "name another destination"
            )
        os.unlink(where)
        return where


def _copy_bytes(source: int, target: int, size: int) -> None:
    """In the kernel where it can; a file that shrinks or grows meanwhile ends where it ends."""
    left = size
    try:
        while left > 0 and (done := os.copy_file_range(source, target, left)) > 0:
            left -= done
    except OSError:
        if left != size:
            raise
        while chunk := os.read(source, 1 << 20):
            os.write(target, chunk)
