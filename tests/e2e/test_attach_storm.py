"""A crowd that attaches to one container, and goes as crowds go."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from sampan.testing.clients import Shell
from sampan.testing.daemon import DaemonProcess
from sampan.testing.place import wait_until

CROWD = 12
CHATTY = "i=0; while :; do i=$((i+1)); echo line $i of what nobody wants to read; done"


def descriptors(daemon: DaemonProcess) -> int:
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


def attached(sh: Shell, name: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["docker", "attach", "--no-stdin", "--sig-proxy=false", name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=sh.daemon.environment,
    )


def test_clients_that_vanish_take_nothing_with_them(sh: Shell, daemon: DaemonProcess) -> None:
    sh.docker("run", "-d", "--name", "chatty", "busybox", "sh", "-c", CHATTY)
    settled = descriptors(daemon)
    for _ in range(2):
        crowd = [attached(sh, "chatty") for _ in range(CROWD)]
        for client in crowd:
            assert client.stdout
            assert client.stdout.readline()
        for client in crowd:
            client.kill()
        for client in crowd:
            client.communicate()
    assert sh.docker("inspect", "-f", "{{.State.Running}}", "chatty").stdout == "true\n"
    assert wait_until(lambda: descriptors(daemon) <= settled + 2, 10), daemon.tail()
    sh.docker("kill", "-s", "KILL", "chatty")
    assert sh.docker("wait", "chatty").stdout == "137\n"


def test_all_of_a_crowd_see_all_of_it(sh: Shell, tmp_path: Path) -> None:
    """From when they are there."""
    script = "until test -e /d/go; do echo ready; usleep 20000; done; echo begin; seq 20000"
    mount = f"{tmp_path}:/d"
    sh.docker("run", "-d", "--name", "counts", "-v", mount, "busybox", "sh", "-c", script)
    crowd = [attached(sh, "counts") for _ in range(CROWD)]
    for client in crowd:
        assert client.stdout
        assert client.stdout.readline() == b"ready\n"
    (tmp_path / "go").touch()
    wanted = "".join(f"{n}\n" for n in range(1, 20001)).encode()
    seen = [client.communicate(timeout=60)[0].partition(b"begin\n")[2] for client in crowd]
    sh.docker("wait", "counts")
    assert [one == wanted for one in seen] == [True] * CROWD


def test_a_client_that_stands_still_keeps_no_container_alive(sh: Shell) -> None:
    sh.docker("run", "-d", "--name", "chatty", "busybox", "sh", "-c", CHATTY)
    client = attached(sh, "chatty")
    try:
        assert client.stdout
        client.stdout.readline()
        os.kill(client.pid, signal.SIGSTOP)
        sh.docker("rm", "-f", "chatty")
    finally:
        client.kill()
        client.communicate()
    assert sh.docker("ps", "-aq").stdout == ""
