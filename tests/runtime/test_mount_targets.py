"""Mounts over what confines a container are refused, also through links."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.errors import InvalidArgument
from sampan.runtime.mount_targets import BIND, TMPFS, VOLUME, Target, check_resolved, check_written


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    for directory in ("proc", "sys", "dev", "data", "home/deep"):
        (made / directory).mkdir(parents=True)
    (made / "to-proc").symlink_to("/proc")
    (made / "to-sys").symlink_to("sys")
    (made / "home/up").symlink_to("../../../../proc")
    (made / "chain").symlink_to("/home/up")
    (made / "harmless").symlink_to("/data")
    (made / "round").symlink_to("/round")
    return made


def volume(path: str, source: str = "/nowhere") -> Target:
    return Target(VOLUME, source, path)


REFUSED = [
    volume("/proc"),
    volume("/proc/"),
    volume("//proc/./x/.."),
    volume("/proc/self"),
    volume("/proc/cpuinfo"),
    volume("/sys"),
    volume("/sys/fs/cgroup"),
    volume("/sys/fs/cgroup/memory"),
    volume("/sys/kernel"),
    volume("/dev"),
    volume("/dev/null"),
    Target(TMPFS, "", "/proc"),
    Target(TMPFS, "", "/proc/sys"),
    Target(TMPFS, "", "/sys/fs/cgroup"),
    Target(TMPFS, "", "/dev"),
    Target(BIND, "/tmp", "/proc"),
    Target(BIND, "/proc/self", "/proc"),
    Target(BIND, "/tmp", "/proc/1"),
    Target(BIND, "/tmp", "/proc/sysrq-trigger"),
    Target(BIND, "/tmp", "/sys"),
    Target(BIND, "/tmp", "/sys/fs/cgroup"),
    Target(BIND, "/tmp", "/dev"),
    Target(BIND, "/etc/hostname", "/dev/null"),
]
TAKEN = [
    volume("/data"),
    volume("/procs"),
    volume("/system/proc"),
    volume("/dev/shm"),
    Target(BIND, "/proc", "/proc"),
    Target(BIND, "/proc", "/host/proc"),
    Target(BIND, "/etc/hostname", "/proc/cpuinfo"),
    Target(BIND, "/sys", "/sys"),
    Target(BIND, "/sys/fs/cgroup", "/sys/fs/cgroup"),
    Target(BIND, "/etc/hostname", "/sys/devices/system/cpu/online"),
    Target(BIND, "/dev", "/dev"),
    Target(BIND, "/dev/zero", "/dev/null"),
    Target(TMPFS, "", "/sys/firmware"),
    Target(TMPFS, "", "/run"),
]


@pytest.mark.parametrize("target", REFUSED, ids=str)
def test_what_is_refused(root: Path, target: Target) -> None:
    with pytest.raises(InvalidArgument, match="cannot be mounted over"):
        check_written([target])
    with pytest.raises(InvalidArgument, match="cannot be mounted over"):
        check_resolved(root, [target])


@pytest.mark.parametrize("target", TAKEN, ids=str)
def test_what_is_taken(root: Path, target: Target) -> None:
    check_written([target])
    check_resolved(root, [target])


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        ("/to-proc", "/proc"),
        ("/to-proc/self", "/proc/self"),
        ("/to-sys", "/sys"),
        ("/home/up", "/proc"),
        ("/chain/1", "/proc/1"),
        ("/home/deep/../up", "/proc"),
        ("/data/../to-proc", "/proc"),
        ("/../../to-proc", "/proc"),
    ],
)
def test_a_link_of_the_image_leads_nowhere_else(root: Path, path: str, leads: str) -> None:
    with pytest.raises(InvalidArgument, match=f"leads to {leads} cannot"):
        check_resolved(root, [volume(path)])


def test_a_link_of_a_volume_counts_once_it_is_mounted(root: Path, tmp_path: Path) -> None:
    data = tmp_path / "volume"
    data.mkdir()
    (data / "x").symlink_to("/proc")
    check_resolved(root, [volume("/data/x")])
    with pytest.raises(InvalidArgument, match="leads to /proc"):
        check_resolved(root, [volume("/data", str(data)), volume("/data/x")])
    with pytest.raises(InvalidArgument, match="leads to /proc"):
        check_resolved(root, [volume("/harmless", str(data)), volume("/data/x")])
    check_resolved(
        root, [volume("/data", str(data)), Target(TMPFS, "", "/data"), volume("/data/x")]
    )


def test_what_a_later_mount_covers_counts_no_more(root: Path, tmp_path: Path) -> None:
    deep, above = tmp_path / "deep", tmp_path / "above"
    (deep / "d/sys").mkdir(parents=True)
    (above / "b/c").mkdir(parents=True)
    (above / "b/c/d").symlink_to("/proc")
    (root / "a/b/c").mkdir(parents=True)
    (root / "q").symlink_to("/a")
    mounts = [volume("/a/b/c", str(deep)), volume("/q", str(above)), volume("/a/b/c/d/sys")]
    check_resolved(root, [mounts[0], mounts[2]])
    with pytest.raises(InvalidArgument, match="leads to /proc/sys"):
        check_resolved(root, mounts)


def test_links_in_a_circle_end(root: Path) -> None:
    with pytest.raises(InvalidArgument, match="too many levels"):
        check_resolved(root, [volume("/round")])
