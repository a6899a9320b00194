"""What holds for the whole session: it works outside of the repository, and leaves nothing."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.testing.daemon import DaemonProcess

LOOP_LIMIT_MS = 20
"""How long one callback may keep the event loop of a daemon."""
SETTLES_WITHIN_S = 15.0
OURS = (
    "conmon",
    "sampan.network.dns",
    "sampan.api.daemon",
    "sampan.image",
    "sampan.testing.plugins",
    "docker-registry",
    "/usr/bin/etcd",
)


def traces() -> set[str]:
    """Everything on this machine that tests of a container engine could have left."""
    found = {
        f"interface {name}"
        for _, name in socket.if_nameindex()
        if name.startswith(("sampan", "ve", "br"))
    }
    if os.geteuid() == 0:
        tables = subprocess.run(
            ["nft", "list", "tables"], capture_output=True, text=True, check=True
        )
        found |= {line for line in tables.stdout.splitlines() if "sampan" in line}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        target = line.split()[4]
        if "/smp" in target or "/pytest-of-" in target or "sampan" in target:
            found.add(f"mount {target}")
    found |= {f"cgroup {group}" for group in Path("/sys/fs/cgroup").glob("*/sampan*")}
    found |= {f"namespace {file}" for file in Path("/run/netns").glob("*")}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it has just ended
            if any(word in command for word in OURS) and "pytest" not in command:
                found.add(f"process {entry.name} {command}")
    return found


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Compared with before, not with nothing: a daemon may well be at work on this machine."""
    before = traces()
    yield
    deadline = time.monotonic() + SETTLES_WITHIN_S
    # the kernel takes namespaces apart, with what is in them, after their last process, unannounced
    while (left := traces() - before) and time.monotonic() < deadline:
        select.select([], [], [], 0.1)
    assert not left


@pytest.fixture(scope="session", autouse=True)
def loops_are_watched() -> None:
    """By every daemon that tests start."""
    DaemonProcess.loop_limit_ms = LOOP_LIMIT_MS


@pytest.fixture(autouse=True)
def no_loop_is_held_up() -> Iterator[None]:
    """What keeps a daemon's event loop fails the test in which it did."""
    yield
    assert not (reports := DaemonProcess.held_up()), "\n".join(reports)


@pytest.fixture(scope="session", autouse=True)
def away_from_the_repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A monitor writes a file called ``oom`` into its working directory when memory runs out."""
    home = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("away"))
    yield
    os.chdir(home)
