"""Control groups: v2 on a recorded tree, v1 for real where the host has it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.kernel import cgroup
from sampan.kernel.cgroup import Cgroups
from sampan.kernel.mount import parse_mountinfo
from sampan.kernel.usage import BlockIO, usage

V2_MOUNTS = b"26 23 0:24 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID_MOUNTS = (
    b"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    b"32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    b"35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    b"40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
    b"41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)

RECORDED = {
    "cgroup.procs": "11\n12\n",
    "cgroup.freeze": "0\n",
    "cpu.stat": "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\nnr_periods 4\n"
    "nr_throttled 1\nthrottled_usec 70\n",
    "memory.current": "4096\n",
    "memory.peak": "8192\n",
    "memory.max": "max\n",
    "memory.stat": "anon 100\nfile 200\ninactive_file 50\n",
    "memory.events": "low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\n",
    "pids.current": "2\n",
    "pids.max": "100\n",
    "io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n",
}


@pytest.fixture
def v2(tmp_path: Path) -> Cgroups:
    for group, procs in (("inst/run", RECORDED["cgroup.procs"]), ("inst/run/sub", "13\n")):
        at = tmp_path / group
        at.mkdir(parents=True)
        for name, content in {**RECORDED, "cgroup.procs": procs}.items():
            (at / name).write_text(content)
    return Cgroups(2, {"unified": tmp_path})


def test_layouts_are_told_apart() -> None:
    assert cgroup.detect(parse_mountinfo(V2_MOUNTS)) == Cgroups(
        2, {"unified": Path("/sys/fs/cgroup")}
    )
    hybrid = cgroup.detect(parse_mountinfo(HYBRID_MOUNTS))
    assert hybrid.version == 1
    assert hybrid.path("a/b", "cpuacct") == Path("/sys/fs/cgroup/cpu,cpuacct/a/b")
    assert len(list(hybrid.paths("a"))) == 4
    with pytest.raises(FileNotFoundError, match="no cgroup file system"):
        cgroup.detect([])
    with pytest.raises(FileNotFoundError, match="pids"):
        hybrid.path("a", "pids")


def test_missing_hierarchies_are_only_a_matter_of_v1() -> None:
    table = "#subsys_name hierarchy num_cgroups enabled\nmemory 4 1 1\nhugetlb 0 1 1\nrdma 0 1 0\n"
    assert cgroup.missing(table, parse_mountinfo(HYBRID_MOUNTS)) == ["hugetlb"]
    assert cgroup.missing(table, parse_mountinfo(V2_MOUNTS)) == []


def test_v2_processes_of_the_whole_branch(v2: Cgroups) -> None:
    assert sorted(v2.pids("inst/run")) == [11, 12, 13]
    assert v2.pids("inst/nobody") == []


def test_v2_freezing(v2: Cgroups) -> None:
    assert not v2.frozen("inst/run")
    v2.freeze("inst/run", True)
    assert v2.frozen("inst/run")
    assert not v2.frozen("inst/nobody")


def test_v2_usage(v2: Cgroups) -> None:
    found = usage(v2, "inst/run")
    assert (found.cpu_total_ns, found.cpu_user_ns, found.throttled_ns) == (
        5_000_000,
        3_000_000,
        70_000,
    )
    assert (found.memory, found.memory_max, found.memory_limit) == (4096, 8192, -1)
    assert found.memory_stat["inactive_file"] == 50
    assert (found.pids, found.pids_limit) == (2, 100)
    assert found.io_bytes == (BlockIO(8, 0, "read", 10), BlockIO(8, 0, "write", 20))
    assert [entry.value for entry in found.io_operations] == [1, 2]
    assert v2.oom_kills("inst/run") == 2
    assert v2.oom_kills("inst/nobody") == 0
    with pytest.raises(FileNotFoundError):
        usage(v2, "inst/nobody")


@pytest.fixture
def real() -> Iterator[tuple[Cgroups, str]]:
    found = cgroup.detect()
    group = f"sampan-test-{os.getpid()}"
    yield found, group
    found.remove(group)


def test_a_real_group_from_birth_to_death(real: tuple[Cgroups, str]) -> None:
    cgroups, group = real
    child = subprocess.Popen(["/bin/sleep", "1000"])
    try:
        cgroups.join(f"{group}/inner", child.pid)
        assert cgroups.pids(group) == [child.pid]
        cgroups.freeze(f"{group}/inner", True)
        assert cgroups.frozen(f"{group}/inner")
        cgroups.freeze(f"{group}/inner", False)
        assert usage(cgroups, f"{group}/inner").pids == 1
        with pytest.raises(OSError, match="busy"):
            cgroups.remove(group, deadline_s=0)
    finally:
        child.kill()
        child.wait()
    cgroups.remove(group)
    assert not cgroups.exists(group)
    cgroups.remove(group)
