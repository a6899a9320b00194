"""A real runtime in a directory of the test, and a root file system of one binary."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sampan.aio import SystemClock
from sampan.api.builtin_drivers import builtin_drivers
from sampan.config import DaemonConfig, Paths
from sampan.kernel import cgroup, mount
from sampan.runtime.contract import BundleSpec
from sampan.runtime.runs import LinuxRuns, open_runs
from sampan.store.records import HostConfig
from sampan.testing.contracts.runs import Bundles
from sampan.testing.store import MemoryStore

APPLETS = frozenset(
    ("sh", "cat", "echo", "sleep", "true", "false", "ls", "id", "env", "stty", "seq", "head")
).union(
    ("dd", "kill", "touch", "hostname", "mount", "grep", "pwd", "mkdir", "readlink", "printf"),
    ("unshare", "wc", "ps", "rm", "stat"),
)


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rootfs")
    root.chmod(0o755)
    for name in ("bin", "proc", "dev", "sys", "etc", "tmp", "root"):
        (root / name).mkdir()
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n"
    )
    (root / "etc/group").write_text(
        "root:x:0:\nappgroup:x:1001:\nextra:x:2000:app,other\nmore:x:2001:\n"
    )
    (root / "bin/script").write_text("not a program")
    (root / "bin/script").chmod(0o644)
    return root


@pytest.fixture
def config(tmp_path: Path) -> Iterator[DaemonConfig]:
    state = tmp_path / "state"
    state.mkdir()
    mount.mount("tmpfs", state, "tmpfs", 0, "size=16m,mode=700")
    found = DaemonConfig(paths=Paths(tmp_path / "root", state))
    try:
        yield found
    finally:
        cgroup.detect().remove(found.instance.cgroup)
        mount.unmount(state, lazy=True)


@pytest.fixture
async def runs(config: DaemonConfig) -> AsyncIterator[LinuxRuns]:
    async with open_runs(
        config, SystemClock(), builtin_drivers(config, MemoryStore()).runtime
    ) as opened:
        try:
            yield opened
        finally:
            for run_id in await opened.known():
                await opened.delete(run_id)


@pytest.fixture
def netns(tmp_path: Path) -> Iterator[Path]:
    """A network namespace with nothing in it, as a file."""
    path = tmp_path / "netns"
    path.touch()
    pid = os.fork()
    if pid == 0:
        os._exit(_hold(path))
    _, status = os.waitpid(pid, 0)
    assert status == 0
    try:
        yield path
    finally:
        mount.unmount(path, lazy=True)


def _hold(path: Path) -> int:
    """In a child: make the namespace and pin it (mounts are the parent's too)."""
    from sampan.kernel._libc import libc

    clone_newnet = 0x40000000
    if libc.unshare(clone_newnet):
        return 1
    mount.mount("/proc/self/ns/net", path, "", mount.MS_BIND)
    return 0


@pytest.fixture
def bundle(rootfs: Path, netns: Path, tmp_path: Path) -> Bundles:
    def make(run_id: str, *args: str, **changes: object) -> BundleSpec:
        values: dict[str, object] = {
            "id": run_id,
            "rootfs": rootfs,
            "args": args,
            "env": ("PATH=/bin",),
            "user": "",
            "working_dir": "/",
            "hostname": "box",
            "domainname": "",
            "tty": False,
            "open_stdin": False,
            "stop_signal": 15,
            "labels": {},
            "host": HostConfig(),
            "mounts": (),
            "etc_files": {},
            "netns": netns,
            "log_path": tmp_path / "root" / f"{run_id}.log",
            "default_shm_bytes": 1 << 20,
        }
        return BundleSpec(**{**values, **changes})  # type: ignore[arg-type]

    return make
