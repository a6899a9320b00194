"""Ask the kernel to be quick where a container host is busiest: moving processes between cgroups.

By default every process that joins a cgroup after a moment of quiet waits for an RCU grace period,
10 to 15 ms here: the kernel spares forks and exits the cost of a lock, at the expense of who
moves processes. A container engine does nothing but that: each start and each exec pays the
wait.
The mount option ``favordynmods`` (Linux 6.0) turns the bargain round. It belongs to the whole
kernel, whichever cgroup file system it is given to, so one remount does.
"""

from __future__ import annotations

from pathlib import Path

from sampan.kernel.mount import MS_REMOUNT, MountInfo, flags_of, mount, mounts

OPTION = "favordynmods"


def favor_changes(mounted: list[MountInfo] | None = None) -> bool:
    """Turn the option on unless it is; everything else about the mount stays as it is.

    False: this kernel has no such option, or we may not (a container's view of cgroups); starts
    are then slower, nothing else.
    """
    trees = [m for m in (mounts() if mounted is None else mounted) if m.fstype.startswith("cgroup")]
    # the v2 tree first: remounting a v1 one must repeat its controllers to the letter
    trees.sort(key=lambda tree: tree.fstype != "cgroup2")
    if any(OPTION in tree.super_options for tree in trees):
        return True
    for tree in trees:
        if tree.root != "/":
            continue  # a bind mount of a part
        target = Path(tree.target)
        try:
            mount("none", target, "", MS_REMOUNT | flags_of(target), remount_options(tree))
        except OSError:
            continue
        return True
    return False


def remount_options(tree: MountInfo) -> str:
    """What ``tree`` has (a remount drops what it does not repeat), and the option."""
    kept = sorted(tree.super_options - {"rw", "ro", OPTION})
    return ",".join([*kept, OPTION])
