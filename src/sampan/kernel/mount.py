"""Mounting and unmounting by system call, and reading what is mounted.

No subprocess: ``mount(8)`` costs 2 ms and parses fstab, these cost 20 microseconds. Every call
acts in the mount namespace of the daemon.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

from sampan.kernel._libc import check, libc

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_NOATIME = 1024
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21

MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

DATA_LIMIT = 4095
"""mount(2) copies one page of options and cuts off the rest without a word."""

_HINTS = {
    errno.EPERM: "this needs root and CAP_SYS_ADMIN",
    errno.ENODEV: "the kernel has no such file system: load its module",
    errno.EBUSY: "something still uses it",
    errno.ENOENT: "source or target does not exist",
    errno.EINVAL: "the kernel refused the options; its log (dmesg) says which",
    errno.EROFS: "the source is read-only",
    errno.ENOSPC: "fs.mount-max mounts exist already",
}

_ESCAPE = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class MountInfo:
    """A line of /proc/self/mountinfo."""

    id: int
    parent: int
    device: str
    """"MAJOR:MINOR"."""
    root: str
    """The directory of the file system that is mounted (not "/" for bind mounts)."""
    target: str
    options: frozenset[str]
    propagation: frozenset[str]
    """"shared:N", "master:N" ..."""
    fstype: str
    source: str
    super_options: frozenset[str]


def mount(source: str, target: Path, fstype: str, flags: int = 0, data: str = "") -> None:
    """mount(2).

    Raises:
        OSError: with a sentence that says what was mounted where and what to do about it.
    """
    encoded = data.encode()
    if len(encoded) > DATA_LIMIT:
        raise OSError(
            errno.E2BIG,
            f"mount {fstype} on {target}: {len(encoded)} bytes of options, {DATA_LIMIT} fit",
        )
    what = f"mount {fstype or 'bind'} {source} on {target}"
    result = libc.mount(
        source.encode(), os.fsencode(target), fstype.encode(), flags, encoded or None
    )
    try:
        check(result, what)
    except OSError as error:
        if hint := _HINTS.get(error.errno or 0):
            error.strerror = f"{error.strerror} ({hint})"
        raise


def unmount(target: Path, *, lazy: bool = False) -> None:
    """umount2(2), never through a symbolic link.

    Args:
        lazy: take it out of the tree now, free it when its last user has gone.

    Raises:
        OSError: EINVAL when nothing is mounted there, EBUSY when it is in use.
    """
    flags = UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0)
    check(libc.umount2(os.fsencode(target), flags), f"unmount {target}")


def unmount_if_mounted(target: Path, *, lazy: bool = False) -> bool:
    """Unmount; say whether there was something to unmount. Every layer of a stack goes.

    Raises:
        OSError: EBUSY when it is in use.
    """
    found = False
    while True:
        try:
            unmount(target, lazy=lazy)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
                return found
            raise
        found = True


def bind(
    source: Path,
    target: Path,
    *,
    read_only: bool = False,
    recursive: bool = False,
    propagation: int = MS_PRIVATE,
) -> None:
    """Make ``source`` (file or directory) visible at ``target`` (which exists) as well.

    Args:
        recursive: the mounts below ``source`` too.
        propagation: one of MS_PRIVATE, MS_SLAVE, MS_SHARED; 0 leaves what the kernel chose.
    """
    rec = MS_REC if recursive else 0
    mount(str(source), target, "", MS_BIND | rec)
    try:
        if read_only:
            make_read_only(target)
        if propagation:
            mount("none", target, "", propagation | rec)
    except OSError:
        unmount(target, lazy=True)
        raise


def make_read_only(target: Path) -> None:
    """The mount at ``target`` becomes read-only; other mounts of the same stay."""
    # A bind mount takes its flags only by a second call; those of the source that it must keep
    # (a locked nosuid, say) are read back first.
    mount("none", target, "", MS_BIND | MS_REMOUNT | MS_RDONLY | flags_of(target))


def overlay(
    target: Path, lower: list[Path], upper: Path | None = None, work: Path | None = None
) -> None:
    """Mount ``lower`` (topmost first) and ``upper`` as one tree.

    Paths with a colon or a comma are refused: they cannot be written in the options.
    """
    for path in (*lower, *(p for p in (upper, work) if p)):
        if ":" in str(path) or "," in str(path):
            raise OSError(errno.EINVAL, f"overlay on {target}: {path} has a colon or a comma")
    data = "lowerdir=" + ":".join(map(str, lower))
    if upper is not None:
        data += f",upperdir={upper},workdir={work}"
    mount("overlay", target, "overlay", 0, data)


def mounts() -> list[MountInfo]:
    """Everything mounted in this namespace, in the order of /proc/self/mountinfo."""
    with open("/proc/self/mountinfo", "rb") as file:
        return parse_mountinfo(file.read())


def parse_mountinfo(content: bytes) -> list[MountInfo]:
    """The lines of a mountinfo file; escapes (\\040 for a blank) undone."""
    found = []
    for line in content.splitlines():
        left, _, right = line.partition(b" - ")
        fields = left.split(b" ")
        kind = right.split(b" ")
        if len(fields) < 6 or len(kind) < 3:
            continue
        found.append(
            MountInfo(
                id=int(fields[0]),
                parent=int(fields[1]),
                device=fields[2].decode(),
                root=_unescape(fields[3]),
                target=_unescape(fields[4]),
                options=frozenset(fields[5].decode().split(",")),
                propagation=frozenset(f.decode() for f in fields[6:]),
                fstype=kind[0].decode(),
                source=_unescape(kind[1]),
                super_options=frozenset(os.fsdecode(kind[2]).split(",")),
            )
        )
    return found


def is_mounted(path: Path) -> bool:
    """Is something mounted exactly at ``path``? Bind mounts count."""
    target = os.path.join(os.path.realpath(path.parent), path.name) if path.name else "/"
    return any(m.target == target for m in mounts())


def mount_of(path: Path) -> MountInfo:
    """The mount that ``path`` (which exists) is on: the deepest, and of a stack the topmost."""
    real = os.path.realpath(path)
    best: MountInfo | None = None
    for candidate in mounts():
        at = candidate.target.rstrip("/")
        if (real == at or real.startswith(at + "/")) and (
            best is None or len(candidate.target) >= len(best.target)
        ):
            best = candidate
    if best is None:
        raise OSError(errno.ENOENT, f"no mount holds {path}")
    return best


def flags_of(target: Path) -> int:
    """Flags of the mount at ``target`` in mount(2)'s bits (statvfs has the same low ones)."""
    shared = os.statvfs(target).f_flag
    kept = shared & (MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME)
    return kept | (MS_RELATIME if shared & os.ST_RELATIME else 0)


def _unescape(field: bytes) -> str:
    if b"\\" in field:
        field = _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), field)
    return os.fsdecode(field)
