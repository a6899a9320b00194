"""Snapshots by copying, for hosts where overlayfs does not work: slow, large, and always there.

The layers are kept as overlayfs would have them (whiteouts and all), so one host can change its
driver. A snapshot is the stack copied into one directory; its layer is found by comparing that
directory with the stack again.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from sampan.aio import in_thread, shielded
from sampan.image.deferred_delete import DISCARD_S, discard
from sampan.image.pack import usage
from sampan.image.snapshots import SnapshotDriver
from sampan.image.unpack import OPAQUE_XATTR


class VfsSnapshots(SnapshotDriver):
    """``vfs``."""

    name = "vfs"

    def _fill(self, scratch: Path, chain_id: str) -> None:
        (scratch / "diff").mkdir()
        (scratch / "diff").chmod(0o755)
        for layer in reversed(self._layers.directories(chain_id)):
            _Copier(layer, scratch / "diff").run()

    async def mount(self, key: str) -> Path:
        self.parent(key)
        return self.home(key) / "diff"

    async def unmount(self, key: str) -> None:
        return None

    async def size(self, key: str) -> int:
        changes = await self._changes(key)
        try:
            return await in_thread(usage, str(changes))
        finally:
            await shielded(in_thread(discard, changes), deadline_s=DISCARD_S)

    async def commit(self, key: str, *, comment: str = "") -> tuple[str, str]:
        parent = self.parent(key)
        with self._layers.hold([parent]):
            changes = await self._changes(key)
            try:
                layer = await self._layers.adopt(changes, parent)
            finally:
                await shielded(in_thread(discard, changes), deadline_s=DISCARD_S)
            await self.remove(key)
        return layer.chain_id, layer.diff_id

    async def diff(self, key: str) -> AsyncIterator[bytes]:
        return self._diff(await self._changes(key))

    @asynccontextmanager
    async def _written(self, key: str) -> AsyncIterator[Path]:
        found = await self._changes(key)
        try:
            yield found
        finally:
            await shielded(in_thread(discard, found), deadline_s=DISCARD_S)

    async def _diff(self, changes: Path) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._pool.pack_stream(changes):
                yield chunk
        finally:
            await shielded(in_thread(discard, changes), deadline_s=DISCARD_S)

    async def _changes(self, key: str) -> Path:
        """An overlay directory that holds what was changed, beside the snapshot."""
        lower = self._layers.directories(self.parent(key))
        changes = self.home(key) / "changes"
        await shielded(in_thread(discard, changes), deadline_s=DISCARD_S)
        await in_thread(_compare, lower, self.home(key) / "diff", changes)
        return changes


class _Copier:
    """Copies one overlay directory over a tree, obeying whiteouts and opaque directories."""

    def __init__(self, source: Path, target: Path, wants: Callable[[str], bool] | None = None):
        self._source = str(source)
        self._target = str(target)
        self._wants = wants
        self._links: dict[int, str] = {}

    def run(self) -> None:
        self._directory(self._source, self._target)

    def _directory(self, source: str, target: str) -> None:
        with os.scandir(source) as found:
            members = list(found)
        for member in members:
            path = f"{target}/{member.name}"
            status = member.stat(follow_symlinks=False)
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                discard(Path(path))
            elif stat.S_ISDIR(status.st_mode):
                if _is_opaque(member.path) or os.path.islink(path) or not os.path.isdir(path):
                    discard(Path(path))
                    os.mkdir(path)
                self._directory(member.path, path)
                copy_metadata(member.path, path, status)
            else:
                discard(Path(path))
                first = self._links.get(status.st_ino)
                if status.st_nlink > 1 and first is not None:
                    os.link(first, path, follow_symlinks=False)
                    continue
                self._links[status.st_ino] = path
                copy_member(member.path, path, status)


def copy_member(source: str, target: str, status: os.stat_result) -> None:
    """Copy one file, link, device or pipe with its owner, mode, times and attributes."""
    if stat.S_ISREG(status.st_mode):
        shutil.copyfile(source, target, follow_symlinks=False)
    elif stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(source), target)
    else:
        os.mknod(target, status.st_mode, status.st_rdev)
    copy_metadata(source, target, status)


def copy_metadata(source: str, target: str, status: os.stat_result) -> None:
    os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(target, stat.S_IMODE(status.st_mode))
        for key in os.listxattr(source, follow_symlinks=False):
            if not key.startswith("trusted.overlay."):
                value = os.getxattr(source, key, follow_symlinks=False)
                os.setxattr(target, key, value, follow_symlinks=False)
    times = (status.st_atime_ns, status.st_mtime_ns)
    os.utime(target, ns=times, follow_symlinks=False)


def _compare(lower: list[Path], tree: Path, changes: Path) -> None:
    before = changes.parent / "before"
    discard(before)
    changes.mkdir()
    before.mkdir()
    try:
        for layer in reversed(lower):
            _Copier(layer, before).run()
        _differences(str(before), str(tree), str(changes), {})
    finally:
        discard(before)


def _differences(old: str, new: str, out: str, links: dict[int, str]) -> bool:
    """Write what differs below ``out``. Says whether anything does."""
    was = {entry.name: entry for entry in os.scandir(old)}
    now = {entry.name: entry for entry in os.scandir(new)}
    changed = False
    for name in was.keys() - now.keys():
        os.mknod(f"{out}/{name}", stat.S_IFCHR, 0)
        changed = True
    for name, entry in now.items():
        path = f"{out}/{name}"
        status = entry.stat(follow_symlinks=False)
        before = was.get(name)
        old_status = before.stat(follow_symlinks=False) if before else None
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(path)
            was_directory = old_status is not None and stat.S_ISDIR(old_status.st_mode)
            inner = was_directory and before is not None
            touched = (
                _differences(before.path, entry.path, path, links)
                if inner and before is not None
                else _all_new(entry.path, path, links)
            )
            if touched or old_status is None or not _same(old_status, status):
                copy_metadata(entry.path, path, status)
                if old_status is not None and not was_directory:
                    os.setxattr(path, OPAQUE_XATTR, b"y")
                changed = True
            else:
                os.rmdir(path)
        elif old_status is None or not _same(old_status, status):
            _copy_or_link(entry.path, path, status, links)
            changed = True
    return changed


def _all_new(new: str, out: str, links: dict[int, str]) -> bool:
    for entry in os.scandir(new):
        path = f"{out}/{entry.name}"
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(path)
            _all_new(entry.path, path, links)
            copy_metadata(entry.path, path, status)
        else:
            _copy_or_link(entry.path, path, status, links)
    return True


def _copy_or_link(source: str, path: str, status: os.stat_result, links: dict[int, str]) -> None:
    first = links.get(status.st_ino)
    if status.st_nlink > 1 and first is not None:
        os.link(first, path, follow_symlinks=False)
        return
    links[status.st_ino] = path
    copy_member(source, path, status)


def _same(old: os.stat_result, new: os.stat_result) -> bool:
    if (old.st_mode, old.st_uid, old.st_gid) != (new.st_mode, new.st_uid, new.st_gid):
        return False
    if stat.S_ISDIR(old.st_mode):
        return True
    facts = (old.st_size, old.st_mtime_ns, old.st_rdev)
    return facts == (new.st_size, new.st_mtime_ns, new.st_rdev)


def _is_opaque(path: str) -> bool:
    try:
        return os.getxattr(path, OPAQUE_XATTR, follow_symlinks=False) == b"y"
    except OSError:
        return False
