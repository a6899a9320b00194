"""Where mounts may lie: not over what confines a container.

The masks, the read-only paths and the security of a process are set through /proc, so a volume over
/proc, or over a part of it, is a way around them; what lies over /sys hides the cgroups, over /dev
the devices. runc refuses the first, crun nothing, so it is done here and before either sees it.

A path leads elsewhere when the image, or a volume that is mounted before, has a symbolic link in
it. So what counts is where a target leads to in the container as it will be.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sampan.errors import InvalidArgument

BIND, VOLUME, TMPFS = "bind", "volume", "tmpfs"

PROC_FILES = frozenset(
    f"/proc/{name}"
    for name in (
        "cpuinfo", "diskstats", "loadavg", "meminfo", "net/dev", "slabinfo", "stat", "swaps",
        "sys/crypto/fips_enabled", "sys/kernel/ns_last_pid", "uptime",
    )
)  # fmt: skip
"""What tools like lxcfs replace by a file that tells the container's own numbers: those that runc
takes."""
_CGROUPS = ("/sys", "/sys/fs", "/sys/fs/cgroup")
_DEVICES = frozenset(
    f"/dev/{name}" for name in ("console", "full", "null", "random", "tty", "urandom", "zero")
)
_LINKS = 40
"""The kernel's limit."""


@dataclass(frozen=True, slots=True)
class Target:
    """A mount, as far as it matters here."""

    kind: str
    """``bind``, ``volume`` or ``tmpfs``."""
    source: str
    """On the host; empty: a tmpfs has none."""
    path: str
    """As written."""


def check_written(targets: Iterable[Target]) -> None:
    """What can be said before there is a root file system. Raises InvalidArgument."""
    for target in targets:
        _check(target, posixpath.normpath("/" + target.path.lstrip("/")))


def check_resolved(rootfs: Path, targets: Iterable[Target]) -> None:
    """``targets``, in the order in which they are mounted, in ``rootfs``. Blocks.

    Raises:
        InvalidArgument: one leads to where none may be.
    """
    view = _View(rootfs)
    for target in targets:
        path = view.resolve(target.path)
        _check(target, path)
        view.mount(path, None if target.kind == TMPFS else Path(target.source))


def _check(target: Target, path: str) -> None:
    if path == "/proc" or path.startswith("/proc/"):
        own = target.kind == BIND and path == "/proc" and _real(target) == "/proc"
        if not (own or (target.kind == BIND and path in PROC_FILES)):
            raise _refused(target, path, "it is inside /proc, which confines the container")
    elif path in _CGROUPS:
        if target.kind != BIND or not _is_in(_real(target), "/sys"):
            raise _refused(target, path, "only the host's own /sys can be mounted there")
    elif path.startswith("/sys/"):
        if target.kind == VOLUME:
            raise _refused(target, path, "a volume cannot stand for the kernel's files")
    elif path == "/dev":
        if target.kind != BIND or not _is_device(Path(target.source) / "null"):
            raise _refused(target, path, "it would hide the devices that every program needs")
    elif path in _DEVICES and not (target.kind == BIND and _is_device(Path(target.source))):
        raise _refused(target, path, "only a device can be mounted on a device")


def _refused(target: Target, path: str, why: str) -> InvalidArgument:
    leads = "" if posixpath.normpath(target.path) == path else f", which leads to {path}"
    return InvalidArgument(
        f'invalid mount config for type "{target.kind}": {target.path}{leads} cannot be mounted '
        f"over: {why}. Choose another path in the container"
    )


def _real(target: Target) -> str:
    return os.path.realpath(target.source) if target.source else ""


def _is_in(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory + "/")


def _is_device(path: Path) -> bool:
    try:
        return stat.S_ISCHR(path.stat().st_mode)
    except OSError:
        return False


@dataclass(slots=True)
class _View:
    """The container's tree before it exists: its root, and what is mounted so far."""

    rootfs: Path
    _mounts: dict[str, Path | None] = field(
        default_factory=lambda: {"/proc": None, "/sys": None, "/dev": None}
    )
    """Place in the container -> what is seen there, on the host; None: nothing with links of
    somebody's making."""

    def mount(self, path: str, source: Path | None) -> None:
        for known in [one for one in self._mounts if one.startswith(path.rstrip("/") + "/")]:
            del self._mounts[known]  # it is covered from now on
        self._mounts[path] = source

    def resolve(self, path: str) -> str:
        """Where ``path`` leads. What does not exist is taken literally.

        Raises:
            InvalidArgument: the links go in circles.
        """
        todo = [part for part in path.split("/") if part][::-1]
        done: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part == ".":
                continue
            if part == "..":
                done = done[:-1]
                continue
            link = self._link("/" + "/".join([*done, part]))
            if link is None:
                done.append(part)
                continue
            links += 1
            if links > _LINKS:
                raise InvalidArgument(f"{path}: too many levels of symbolic links")
            if link.startswith("/"):
                done = []
            todo += [one for one in link.split("/") if one][::-1]
        return "/" + "/".join(done)

    def _link(self, path: str) -> str | None:
        """What the symbolic link at ``path``, whose directory is resolved, says; None: it is
        none."""
        place, rest = path, ""
        while place != "/" and place not in self._mounts:
            place, _, name = place.rpartition("/")
            place, rest = place or "/", f"{name}/{rest}".rstrip("/")
        seen = self._mounts.get(place, self.rootfs if place == "/" else None)
        if seen is None or not rest:
            return None
        try:
            return os.readlink(seen / rest)
        except OSError:
            return None  # not there, or not a link
