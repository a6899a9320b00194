from __future__ import annotations

from pathlib import Path

import pytest

from sampan.kernel.dynmods import OPTION, favor_changes, remount_options
from sampan.kernel.mount import flags_of, mounts, parse_mountinfo

V2 = (
    b"26 25 0:23 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 "
    b"rw,nsdelegate,memory_recursiveprot\n"
)
V1 = b"30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"


@pytest.mark.parametrize(
    ("line", "options"),
    [(V2, "memory_recursiveprot,nsdelegate,favordynmods"), (V1, "cpu,cpuacct,favordynmods")],
)
def test_a_remount_repeats_what_the_mount_has(line: bytes, options: str) -> None:
    assert remount_options(parse_mountinfo(line)[0]) == options


def test_nothing_is_done_where_it_is_on() -> None:
    assert favor_changes(parse_mountinfo(V2.replace(b"nsdelegate", b"nsdelegate,favordynmods")))


def test_a_host_without_cgroups_says_no() -> None:
    assert not favor_changes([])


def test_on_this_host_only_the_option_changes() -> None:
    before = {
        m.target: (m.super_options, flags_of(Path(m.target)))
        for m in mounts()
        if "cgroup" in m.fstype
    }
    offered = favor_changes()
    after = {
        m.target: (m.super_options, flags_of(Path(m.target)))
        for m in mounts()
        if "cgroup" in m.fstype
    }
    assert {t: (o - {OPTION}, f) for t, (o, f) in after.items()} == {
        t: (o - {OPTION}, f) for t, (o, f) in before.items()
    }
    assert offered == any(OPTION in options for options, _ in after.values())
