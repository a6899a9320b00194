"""A disk that fills up while something is written: a sentence, and nothing left behind."""

from __future__ import annotations

import os
import select
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sampan.testing.clients import Shell
from sampan.testing.daemon import DaemonProcess, running_daemon, short_directory

ROOM = 48 * 1024 * 1024


@pytest.fixture
def cramped(with_busybox: Callable[[DaemonProcess], None]) -> Iterator[DaemonProcess]:
    """A daemon whose root is a tmpfs of ``ROOM`` bytes."""
    with short_directory() as base:
        root = Path(base) / "d" / "root"
        root.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", root], check=True)
        try:
            with running_daemon(Path(base) / "d") as daemon:
                with_busybox(daemon)
                yield daemon
        finally:
            subprocess.run(["umount", "-l", root], check=False, capture_output=True)


def used(daemon: DaemonProcess) -> int:
    space = os.statvfs(daemon.root)
    return (space.f_blocks - space.f_bfree) * space.f_frsize


def given_back(daemon: DaemonProcess, before: int) -> bool:
    """Whether the disk is as empty as before, within seconds: what goes is renamed out of the way
    at once and deleted behind the caller's back."""
    deadline = time.monotonic() + 10
    while used(daemon) - before >= 1024 * 1024 and time.monotonic() < deadline:
        select.select([], [], [], 0.05)
    return used(daemon) - before < 1024 * 1024


def large_tar(path: Path) -> Path:
    with tarfile.open(path, "w") as tar:
        for n in range(10):
            entry = tarfile.TarInfo(f"part{n}")
            entry.size = ROOM // 5
            with open("/dev/urandom", "rb") as noise:
                tar.addfile(entry, noise)
    return path


def test_unpacking(cramped: DaemonProcess, tmp_path: Path) -> None:
    sh = Shell(cramped)
    before = used(cramped)
    done = sh.docker("import", str(large_tar(tmp_path / "large.tar")), "large:1", ok=False)
    assert done.returncode != 0
    assert "no space left" in done.stderr.lower()
    assert given_back(cramped, before)
    assert "large" not in sh.docker("images").stdout
    assert not list((cramped.root / "tmp").iterdir())
    # and the daemon is as well as before
    assert sh.docker("run", "--rm", "busybox", "echo", "well").stdout == "well\n"


def test_a_build_step(cramped: DaemonProcess, tmp_path: Path) -> None:
    sh = Shell(cramped)
    before = used(cramped)
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN head -c 100000000 /dev/zero > /big\n")
    done = sh.docker("build", str(tmp_path), env={"DOCKER_BUILDKIT": "0"}, ok=False)
    assert done.returncode != 0
    assert given_back(cramped, before)


def test_a_database_that_cannot_grow(cramped: DaemonProcess) -> None:
    sh = Shell(cramped)
    filler = cramped.root / "filler"
    subprocess.run(
        ["dd", "if=/dev/zero", f"of={filler}", "bs=64k"], capture_output=True, check=False
    )
    refused = [
        sh.docker("create", "-l", "text=" + "x" * 60_000, "busybox", ok=False) for _ in range(20)
    ]
    failed = [r for r in refused if r.returncode != 0]
    assert failed
    assert all("no space left" in r.stderr.lower() for r in failed)
    filler.unlink()
    made = [r.stdout.strip() for r in refused if r.returncode == 0]
    assert set(sh.docker("ps", "-aq", "--no-trunc").stdout.split()) == set(made)
    cramped.restart()
    assert set(sh.docker("ps", "-aq", "--no-trunc").stdout.split()) == set(made)
    if made:
        sh.docker("rm", *made)
    assert not list((cramped.root / "containers").glob("*"))
    assert not list((cramped.root / "snapshots").glob("*"))
