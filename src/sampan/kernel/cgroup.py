"""Control groups, whichever way this host has them mounted.

    v2       one tree at /sys/fs/cgroup
    v1       one tree a controller: /sys/fs/cgroup/memory, /sys/fs/cgroup/pids ...
    hybrid   v1 plus an (often empty) v2 tree at /sys/fs/cgroup/unified; for us: v1

A *group* is a path relative to the root of every tree ("sampan/3f2a..."). Groups are made by the
OCI runtime; here they are looked at, frozen, changed and removed. Plain functions on plain files:
each touches a few of them, in microseconds, and never waits for a device.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sampan.kernel.mount import MS_NODEV, MS_NOEXEC, MS_NOSUID, MountInfo, mount, mounts

ROOT = Path("/sys/fs/cgroup")
MAX_V1_LIMIT = 0x7FFFFFFFFFFFF000
"""What an unlimited memory.limit_in_bytes reads as."""

REMOVE_DEADLINE_S = 2.0


@dataclass(frozen=True, slots=True)
class Cgroups:
    """Where the trees are mounted."""

    version: int
    """1 or 2."""
    trees: dict[str, Path]
    """Controller (or "name=systemd", "unified") -> mount point; v2 has the one key "unified"."""

    @property
    def unified(self) -> bool:
        return self.version == 2

    def path(self, group: str, controller: str) -> Path:
        """Directory of ``group`` in the tree that has ``controller``.

        Raises:
            FileNotFoundError: this host has no such tree.
        """
        key = "unified" if self.version == 2 else controller
        if key not in self.trees:
            raise FileNotFoundError(
                errno.ENOENT, f"no cgroup tree has the {controller} controller on this host"
            )
        return self.trees[key] / group.strip("/")

    def paths(self, group: str) -> Iterator[Path]:
        """Directories of ``group`` in every tree, each once, whether they exist or not."""
        for tree in dict.fromkeys(self.trees.values()):
            yield tree / group.strip("/")

    def exists(self, group: str) -> bool:
        return any(path.is_dir() for path in self.paths(group))

    # -- processes

    def pids(self, group: str) -> list[int]:
        """Every process of the group and of the groups below it; empty when it is gone."""
        found: list[int] = []
        for directory in self._below(self._any_tree(group)):
            with contextlib.suppress(FileNotFoundError, OSError):
                found.extend(map(int, (directory / "cgroup.procs").read_bytes().split()))
        return found

    def join(self, group: str, pid: int, controllers: tuple[str, ...] = ()) -> None:
        """Move ``pid`` into the group (made if missing), on v1 only in these trees."""
        paths = (
            list(self.paths(group))
            if self.version == 2 or not controllers
            else [self.trees[c] / group.strip("/") for c in controllers if c in self.trees]
        )
        for path in paths:
            path.mkdir(parents=True, exist_ok=True)
            self._inherit_cpuset(path)
            (path / "cgroup.procs").write_text(str(pid))

    def _inherit_cpuset(self, path: Path) -> None:
        """A new v1 cpuset group has no processors, and takes no process until it has some."""
        if self.version == 2 or not (path / "cpuset.cpus").exists():
            return
        for parent in reversed(path.relative_to(self.trees["cpuset"]).parents):
            for name in ("cpuset.cpus", "cpuset.mems"):
                above = self.trees["cpuset"] / parent
                for group in (above, path):
                    if group != self.trees["cpuset"] and not (group / name).read_text().strip():
                        (group / name).write_text((group.parent / name).read_text())

    # -- freezing

    def freeze(self, group: str, frozen: bool) -> None:
        """Stop or go on with every process; returns when the kernel has taken the order."""
        if self.version == 2:
            (self.path(group, "freezer") / "cgroup.freeze").write_text("1" if frozen else "0")
        else:
            state = self.path(group, "freezer") / "freezer.state"
            state.write_text("FROZEN" if frozen else "THAWED")

    def frozen(self, group: str) -> bool:
        """Has it been told to freeze? A group that is gone is not frozen."""
        try:
            if self.version == 2:
                file = self.path(group, "freezer") / "cgroup.freeze"
                return file.read_text().strip() == "1"
            return (self.path(group, "freezer") / "freezer.state").read_text().strip() != "THAWED"
        except OSError:
            return False

    # -- what happened

    def oom_kills(self, group: str) -> int:
        """Processes that the kernel killed here for want of memory; 0 when the group is gone."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        try:
            return flat(self.path(group, "memory") / name).get("oom_kill", 0)
        except OSError:
            return 0

    # -- the end

    def remove(self, group: str, *, deadline_s: float = REMOVE_DEADLINE_S) -> None:
        """Remove the group and those below it from every tree. Its processes must be dead.

        Blocks for at most ``deadline_s``: a process just killed leaves its group a moment later.
        Idempotent.

        Raises:
            OSError: EBUSY when there are processes left.
        """
        until = time.monotonic() + deadline_s
        for path in self.paths(group):
            while True:
                try:
                    self._remove_tree(path)
                    break
                except OSError as error:
                    if error.errno != errno.EBUSY or time.monotonic() > until:
                        raise
                    time.sleep(0.001)

    def _remove_tree(self, path: Path) -> None:
        try:
            os.rmdir(path)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            # Groups below answer EBUSY or ENOTEMPTY, as does a group with processes.
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise
        for directory in reversed(list(self._below(path))):
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(directory)

    def _any_tree(self, group: str) -> Path:
        """A tree in which the group's processes are sure to be."""
        for controller in ("pids", "freezer", "memory", "name=systemd"):
            with contextlib.suppress(FileNotFoundError):
                return self.path(group, controller)
        return next(self.paths(group))

    def _below(self, path: Path) -> Iterator[Path]:
        """``path`` and every directory under it, parents first."""
        if path.is_dir():
            yield path
            for name, directories, _files in os.walk(path):
                for directory in directories:
                    yield Path(name) / directory


def flat(path: Path) -> dict[str, int]:
    """A file of "key number" lines ("max" reads as -1)."""
    found = {}
    for line in path.read_text().splitlines():
        key, _, value = line.partition(" ")
        if value:
            found[key] = -1 if value == "max" else int(value)
    return found


def number(path: Path) -> int:
    """A file with one number; -1 for "max" and for v1's idea of unlimited."""
    text = path.read_text().strip()
    if text == "max":
        return -1
    value = int(text)
    return -1 if value >= MAX_V1_LIMIT else value


def detect(mounted: list[MountInfo] | None = None) -> Cgroups:
    """What is mounted now.

    Raises:
        FileNotFoundError: nothing is; see ``ensure_mounted``.
    """
    trees: dict[str, Path] = {}
    unified: Path | None = None
    for info in mounts() if mounted is None else mounted:
        if info.fstype == "cgroup2":
            unified = unified or Path(info.target)
        elif info.fstype == "cgroup":
            for option in info.super_options:
                if option in _KNOWN or option.startswith("name="):
                    trees.setdefault(option, Path(info.target))
    if not trees:
        if unified is None:
            raise FileNotFoundError(
                errno.ENOENT,
                "no cgroup file system is mounted: mount one "
                f"(mount -t cgroup2 none {ROOT}) and start again",
            )
        return Cgroups(2, {"unified": unified})
    if unified is not None:
        trees["unified"] = unified
    return Cgroups(1, trees)


_KNOWN = frozenset(
    (
        "cpu",
        "cpuacct",
        "cpuset",
        "memory",
        "devices",
        "freezer",
        "blkio",
        "pids",
        "net_cls",
        "net_prio",
        "perf_event",
        "hugetlb",
        "rdma",
        "misc",
    )
)


def missing(table: str, mounted: list[MountInfo]) -> list[str]:
    """v1 controllers that the kernel has enabled (``table``: /proc/cgroups) and nobody mounted.

    Empty on a pure v2 host: there every controller belongs to the one tree.
    """
    try:
        layout = detect(mounted)
    except FileNotFoundError:
        return []
    if layout.version == 2:
        return []
    found = []
    for line in table.splitlines():
        if not line.startswith("#"):
            name, _hierarchy, _count, enabled = line.split()
            if enabled == "1" and name not in layout.trees:
                found.append(name)
    return found


def ensure_mounted(root: Path = ROOT) -> Cgroups:
    """Mount the v1 hierarchies that are missing (crun refuses a host where the v2 tree of a
    hybrid layout still owns a controller), then say what there is.

    Raises:
        OSError: a mount was refused.
    """
    for name in missing(Path("/proc/cgroups").read_text(), mounts()):
        target = root / name
        target.mkdir(exist_ok=True)
        mount("cgroup", target, "cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, name)
    return detect()
