"""``script/bare``: a machine with nothing on it, of which nothing is left.

They need the mirrors of the host's package sources, and minutes: soaks.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sampan.testing.place import undisturbed, wait_until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

REPOSITORY = Path(__file__).parent.parent.parent
BARE = str(REPOSITORY / "script" / "bare")
GONE_WITHIN_S = 30.0


def bare(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BARE, *words], capture_output=True, text=True, check=False)


def traces() -> set[str]:
    """All that bare machines have on this one."""
    found = {f"run {path.name}" for path in (REPOSITORY / "build/bare").glob("run-*")}
    found |= {f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob("*/bare-run-*")}
    found |= {f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob("bare-run-*")}
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True)
    found |= set(re.findall(r"^\d+: (bare\d+)", links.stdout, re.M))
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True)
    found |= set(re.findall(r"table inet bare\d+", tables.stdout))
    mounts = Path("/proc/self/mountinfo").read_text()
    return found | set(re.findall(r"\S*/build/bare/run-\S*", mounts))


@contextmanager
def waiting() -> Iterator[tuple[subprocess.Popen[str], set[str]]]:
    """A bare machine in the middle of something, with what it has on this one."""
    process = subprocess.Popen(
        undisturbed([BARE, "sh", "-c", "echo up; sleep 1000 & wait; echo gone; exit 9"]),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout as out:
        assert any(line == "up\n" for line in out)
        has = traces()
        assert {name.split()[0] for name in has} >= {"run", "cgroup", "table"}
        yield process, has


def test_the_exit_status_is_the_commands_and_nothing_of_the_host_is_there() -> None:
    done = bare("sh", "-c", "command -v python3 crun ip; pwd; ls; hostname; id -u; exit 7")
    assert done.returncode == 7, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "/sampan/main"
    assert "pyproject.toml" in said
    assert said[-2:] == ["bare", "0"]
    assert traces() == set()


def test_a_command_that_is_not_there() -> None:
    done = bare("no-such-command")
    assert done.returncode == 127
    assert "bare: no-such-command: No such file or directory\n" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_it_leaves_nothing(number: signal.Signals) -> None:
    with waiting() as (process, _):
        process.send_signal(number)
        assert process.wait(GONE_WITHIN_S) == 128 + number
        assert traces() == set()


def test_killed_it_leaves_nothing() -> None:
    with waiting() as (process, _):
        process.kill()
        assert wait_until(lambda: not traces(), GONE_WITHIN_S), traces()


def test_what_a_killed_supervisor_leaves_is_removed_by_the_next() -> None:
    with waiting() as (process, has):
        pid = next(name for name in has if name.startswith("run ")).rpartition("-")[2]
        os.kill(int(pid), signal.SIGKILL)
        process.wait(GONE_WITHIN_S)
        left = {"run", "cgroup"}  # the kernel has taken the rest
        assert wait_until(lambda: {n.split()[0] for n in traces()} <= left, GONE_WITHIN_S)
    assert bare("true").returncode == 0
    assert traces() == set()


def test_a_package_that_setup_never_had_cannot_be_taken_away() -> None:
    done = bare("--without", "no-such-package", "true")
    assert done.returncode == 125
    assert "script/setup does not install no-such-package" in done.stderr


@pytest.mark.parametrize("demo", ["script/demo", "script/demo cluster"])
@pytest.mark.parametrize(
    ("package", "said"),
    [
        ("catatonit", "no init found: `--init` will fail; install catatonit"),
        ("conmon", "no conmon found: no container can run; install conmon"),
        ("etcd-client", "; install etcd-client"),
    ],
)
def test_a_package_that_setup_does_not_bring_is_named(package: str, said: str, demo: str) -> None:
    done = bare("--without", package, *demo.split())
    assert done.returncode not in (0, 125)
    assert said in done.stdout + done.stderr


def test_a_package_that_the_demo_itself_needs_is_missed() -> None:
    done = bare("--without", "iproute2", "script/demo")
    assert done.returncode not in (0, 125)
    assert "ss: not found" in done.stdout + done.stderr
