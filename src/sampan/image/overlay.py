"""Snapshots by overlayfs: a mount takes a millisecond, whatever the image's size.

mount(2) takes one page of options and no more. The layers are named by their paths as long as
those fit; beyond that by descriptors (``/proc/self/fd/7``), of which more than 125 fit whatever
the root directory is called. The kernel's ``lowerdir+`` (6.8) would do too, but Debian 12 has 6.1.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

from sampan.aio import in_thread
from sampan.config import Paths
from sampan.errors import Unsupported
from sampan.image.deferred_delete import discard
from sampan.image.snapshots import SnapshotDriver
from sampan.kernel.mount import DATA_LIMIT, overlay, unmount, unmount_if_mounted

_ROOM = 64
"""Bytes of the page left for the options' own names."""


class OverlaySnapshots(SnapshotDriver):
    """``overlay2``."""

    name = "overlay2"

    def _fill(self, scratch: Path, chain_id: str) -> None:
        for name, mode in (("diff", 0o755), ("work", 0o700), ("merged", 0o700)):
            (scratch / name).mkdir(mode)
        (scratch / "diff").chmod(0o755)  # whatever the umask: it is the container's "/"

    async def mount(self, key: str) -> Path:
        lower = self._layers.directories(self.parent(key))
        return await in_thread(mount_stack, self.home(key), lower)

    async def unmount(self, key: str) -> None:
        if key in self._parents:
            await in_thread(unmount_if_mounted, self.home(key) / "merged", lazy=True)

    async def commit(self, key: str, *, comment: str = "") -> tuple[str, str]:
        parent = self.parent(key)
        with self._layers.hold([parent]):
            await self.unmount(key)
            layer = await self._layers.adopt(self.home(key) / "diff", parent)
            await self.remove(key)
        return layer.chain_id, layer.diff_id

    async def diff(self, key: str) -> AsyncIterator[bytes]:
        self.parent(key)
        return self._pool.pack_stream(self.home(key) / "diff")


def mount_stack(home: Path, lower: list[Path]) -> Path:
    """Mount a snapshot's stack (topmost first) at ``home/merged``. Idempotent. Blocks."""
    merged, upper, work = home / "merged", home / "diff", home / "work"
    if os.path.ismount(merged):
        return merged
    if not lower:
        # overlayfs wants something below. An empty directory of our own says nothing.
        (home / "empty").mkdir(exist_ok=True)
        lower = [home / "empty"]
    paths = [*lower, upper, work]
    length = sum(len(os.fsencode(path)) + 1 for path in paths)
    if length + _ROOM > DATA_LIMIT or any(c in str(path) for path in paths for c in ":,\\"):
        with ExitStack() as stack:
            by_descriptor = [_descriptor(path, stack) for path in paths]
            overlay(merged, by_descriptor[:-2], by_descriptor[-2], by_descriptor[-1])
    else:
        overlay(merged, lower, upper, work)
    return merged


def _descriptor(path: Path, stack: ExitStack) -> Path:
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return Path(f"/proc/self/fd/{fd}")


def probe(paths: Paths) -> None:
    """Can overlayfs be used on the root directory? Blocks.

    Raises:
        Unsupported: no; with the reason.
    """
    scratch = paths.tmp / f"probe-{secrets.token_hex(4)}"
    for name in ("a", "b", "diff", "work", "merged"):
        (scratch / name).mkdir(parents=True)
    try:
        os.setxattr(scratch / "a", "trusted.overlay.opaque", b"y")
        mount_stack(scratch, [scratch / "a", scratch / "b"])
        unmount(scratch / "merged")
    except OSError as error:
        reasons = {
            errno.ENODEV: "the kernel has no overlayfs (modprobe overlay)",
            errno.ENOTSUP: "the file system has no trusted extended attributes",
            errno.EPERM: "this needs root",
            errno.EINVAL: "the file system cannot carry overlayfs's writable layer",
        }
        reason = reasons.get(error.errno or 0, str(error))
        raise Unsupported(f"overlay2 does not work on {paths.root}: {reason}") from error
    finally:
        unmount_if_mounted(scratch / "merged", lazy=True)
        discard(scratch)


__all__ = ["OverlaySnapshots", "mount_stack", "probe"]
