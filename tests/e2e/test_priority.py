"""The daemon's loop goes first; containers, and all that holds them, are as anybody else."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sampan.kernel.priority import NICE
from sampan.testing.clients import Shell
from sampan.testing.daemon import DaemonProcess, running_daemon, short_directory

Load = Callable[[DaemonProcess], None]
_OWN_NICE = "cut -d ' ' -f 19 /proc/self/stat"


@contextmanager
def started_at(nice: int, load: Load) -> Iterator[DaemonProcess]:
    """A daemon that was started with that nice value, whichever the tests have."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except PermissionError:
        pytest.skip("nice values may not be lowered here: no CAP_SYS_NICE")
    try:
        with short_directory() as base, running_daemon(Path(base) / "d") as daemon:
            load(daemon)
            yield daemon
            Shell(daemon).docker("rm", "-fv", "lives")
            assert daemon.settled() == {}, daemon.tail()
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


def nice_of(pid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid)


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def inside(sh: Shell, tmp: Path) -> dict[str, int]:
    """Nice values that processes in containers have, as they see them."""
    (tmp / "Dockerfile").write_text(f"FROM busybox\nRUN {_OWN_NICE} > /nice\n")
    sh.docker("build", "-q", "-t", "built", str(tmp), env={"DOCKER_BUILDKIT": "0"})
    sh.docker(
        "run", "-d", "--name", "lives", "--health-cmd", f"{_OWN_NICE} > /check && mv /check /nice",
        "--health-interval", "1s", "busybox", "sleep", "3600",
    )  # fmt: skip
    looks = "while ! [ -s /nice ]; do sleep 0.05; done; cat /nice"
    said = {
        "run": sh.docker("run", "--rm", "busybox", "sh", "-c", _OWN_NICE),
        "exec": sh.docker("exec", "lives", "sh", "-c", _OWN_NICE),
        "health check": sh.docker("exec", "lives", "sh", "-c", looks),
        "build": sh.docker("run", "--rm", "built", "cat", "/nice"),
    }
    return {what: int(done.stdout) for what, done in said.items()}


def of_threads(daemon: DaemonProcess) -> Counter[int]:
    """How many threads, other than the loop's, have each nice value."""
    found: Counter[int] = Counter()
    for name in set(os.listdir(f"/proc/{daemon.pid}/task")) - {str(daemon.pid)}:
        with suppress(ProcessLookupError):  # a thread may end at any time
            found[nice_of(int(name))] += 1
    return found


def of_others(daemon: DaemonProcess) -> set[int]:
    """The nice values of all processes that the daemon has started outside of containers."""
    monitors = [pid for pid in daemon.processes() if name_of(pid) == "conmon"]
    assert monitors
    found = set()
    for each in (*monitors, *daemon.helpers()):
        found.add(nice_of(each))
    return found


def test_the_loop_goes_first_and_nothing_that_it_starts(with_busybox: Load, tmp_path: Path) -> None:
    with started_at(0, with_busybox) as daemon:
        assert nice_of(daemon.pid) == NICE
        assert set(inside(Shell(daemon), tmp_path).values()) == {0}
        assert of_others(daemon) == {0}
        threads = of_threads(daemon)
        assert set(threads) == {0, NICE}
        assert threads[NICE] <= 4, "those in which children are started, and no others"


def test_who_starts_it_with_a_nice_value_has_decided(with_busybox: Load, tmp_path: Path) -> None:
    with started_at(5, with_busybox) as daemon:
        assert nice_of(daemon.pid) == 5
        assert set(inside(Shell(daemon), tmp_path).values()) == {5}
        assert of_others(daemon) == {5}
        assert set(of_threads(daemon)) == {5}
