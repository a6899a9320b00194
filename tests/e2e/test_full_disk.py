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


def fill(daemon: DaemonProcess) -> Path:
    """Leave nothing of the disk to anybody else."""
    filler = daemon.root / "filler"
    for size in ("64k", "4k"):
        subprocess.run(
            ["dd", "if=/dev/zero", f"of={filler}", f"bs={size}", "oflag=append", "conv=notrunc"],
            capture_output=True, check=False,
        )  # fmt: skip
    return filler


def exhaust_log(sh: Shell) -> None:
    """Have containers renamed until that is refused: it needs nothing but room in the database,
    which has some of its own on a full disk."""
    for name in ("large", "small"):
        for n in range(300):
            done = sh.docker("rename", f"{name}{n}", f"{name}{n + 1}", ok=False)
            if done.returncode != 0:
                assert "no space left on the disk" in done.stderr
                break
        else:
            raise AssertionError("the disk is not full")


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


@pytest.fixture
def full(cramped: DaemonProcess) -> tuple[Shell, Path, str]:
    """A daemon with a volume, a network and a container that runs, on a disk without a free block,
    and the file that takes them all."""
    sh = Shell(cramped)
    sh.docker("volume", "create", "spare")
    sh.docker("network", "create", "spare")
    running = sh.docker("run", "-d", "-v", "spare:/data", "busybox", "top").stdout.strip()
    sh.docker("create", "--name", "large0", "-l", "text=" + "x" * 60_000, "busybox")
    sh.docker("create", "--name", "small0", "busybox")
    filler = fill(cramped)
    exhaust_log(sh)
    assert os.statvfs(cramped.root).f_bfree == 0
    return sh, filler, running


def test_a_full_disk_is_told_as_such(cramped: DaemonProcess, full: tuple[Shell, Path, str]) -> None:
    sh, filler, _ = full
    for _ in range(5):
        refused = sh.docker("create", "-l", "text=" + "x" * 60_000, "busybox", ok=False)
        assert refused.returncode != 0
        assert "no space left on the disk" in refused.stderr
        assert "internal error" not in refused.stderr
    before = sh.docker("ps", "-aq", "--no-trunc").stdout.split()
    assert len(before) == 3
    filler.unlink()
    cramped.restart()
    assert sh.docker("ps", "-aq", "--no-trunc").stdout.split() == before
    sh.docker("rm", "-f", *before)
    assert not list((cramped.root / "containers").glob("*"))
    assert not list((cramped.root / "snapshots").glob("*"))


def test_whoever_makes_room_needs_none(
    cramped: DaemonProcess, full: tuple[Shell, Path, str]
) -> None:
    sh, filler, running = full
    sh.docker("network", "rm", "spare")
    sh.docker("stop", "-t", "0", running)
    sh.docker("rm", running)
    sh.docker("volume", "rm", "spare")
    sh.docker("rm", *sh.docker("ps", "-aq").stdout.split())
    cramped.kill()
    cramped.start()
    assert filler.exists()  # all of that without the room that it has
    assert sh.docker("ps", "-aq").stdout == ""
    assert sh.docker("volume", "ls", "-q").stdout == ""
    sh.docker("rmi", "busybox")


def test_a_pause_that_cannot_be_stored_is_undone(full: tuple[Shell, Path, str]) -> None:
    sh, filler, running = full
    refused = sh.docker("pause", running, ok=False)
    assert "no space left on the disk" in refused.stderr
    # in a frozen container it would never end
    assert sh.docker("exec", running, "echo", "goes on").stdout == "goes on\n"
    filler.unlink()
    sh.docker("pause", running)
    assert sh.docker("ps", "-q", "--filter", "status=paused").stdout.split() == [running[:12]]
    sh.docker("unpause", running)
    sh.docker("rm", "-f", running)
