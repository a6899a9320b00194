"""The daemon is killed with -9: what ran runs on, what ended has its true exit code, and nothing
is left of what was half made."""

from __future__ import annotations

import json
import random
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sampan.testing.clients import Shell
from sampan.testing.daemon import DaemonProcess
from sampan.testing.place import wait_until

COUNT_FOR_EVER = "i=0; while :; do i=$((i+1)); echo $i; usleep 50000; done"


AT_MOST = 24
"""Containers that the load of a soak keeps waiting for their end to be asked."""


def no_elements(daemon: DaemonProcess) -> bool:
    """No published port is left in the firewall's maps."""
    table = subprocess.run(
        ["nft", "-j", "list", "table", "inet", daemon.instance.table],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return not any(
        one["map"].get("elem")
        for one in json.loads(table)["nftables"]
        if one.get("map", {}).get("map") != "verdict" and "map" in one
    )


def numbers(text: str) -> list[int]:
    return [int(line) for line in text.split()]


def test_ten_run_on_one_ends_and_one_is_half_made(own_daemon: DaemonProcess) -> None:
    sh = Shell(own_daemon)
    for n in range(10):
        sh.docker("run", "-d", "--name", f"run{n}", "busybox", "sh", "-c", COUNT_FOR_EVER)
    fifo = own_daemon.base / "fifo"
    fifo.mkdir()
    sh.docker(
        "run", "-d", "--name", "ends", "-v", f"{fifo}:/f", "busybox",
        "sh", "-c", "mkfifo /f/go; echo ready; cat /f/go; exit 42",
    )  # fmt: skip
    follow = subprocess.Popen(
        ["docker", "logs", "-f", "ends"], stdout=subprocess.PIPE, env=own_daemon.environment
    )
    assert follow.stdout
    assert follow.stdout.readline() == b"ready\n"
    pids = {
        n: sh.docker("inspect", "-f", "{{.State.Pid}}", f"run{n}").stdout.strip() for n in range(10)
    }
    # one is being created while the daemon dies
    half = subprocess.Popen(
        ["docker", "run", "-d", "--name", "half", "-v", "/anonymous", "busybox", "sleep", "1000"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=own_daemon.environment,
    )
    own_daemon.kill()
    half.wait(20)
    follow.wait(20)
    (fifo / "go").write_text("")  # "ends" ends while nobody watches

    own_daemon.start()

    for n in range(10):
        state = json.loads(sh.docker("inspect", f"run{n}").stdout)[0]["State"]
        assert (state["Status"], str(state["Pid"])) == ("running", pids[n])
    assert sh.docker("wait", "ends").stdout == "42\n"
    names = set(sh.docker("ps", "-a", "--format", "{{.Names}}").stdout.split())
    assert names - {"half"} == {"ends", *(f"run{n}" for n in range(10))}
    if "half" in names:  # it was acknowledged, or stored, before the kill: then it must be whole
        sh.docker("rm", "-fv", "half")
    for n in range(10):
        sh.docker("kill", f"run{n}")
        seen = numbers(sh.docker("logs", f"run{n}").stdout)
        assert seen == list(range(1, len(seen) + 1))
        assert len(seen) > 1
    assert sh.docker("exec", "ends", "true", ok=False).returncode != 0
    sh.docker("rm", "-fv", *names - {"half"})
    assert sh.docker("volume", "ls", "-q").stdout == ""
    assert own_daemon.settled() == {}


def test_ports_and_names_go_on_without_the_daemon(own_daemon: DaemonProcess) -> None:
    sh = Shell(own_daemon)
    sh.docker("network", "create", "lake")
    sh.docker("run", "-d", "--name", "db", "--network", "lake", "busybox", "sleep", "1000")
    sh.docker(
        "run", "-d", "--name", "app", "--network", "lake", "-p", "127.0.0.1:0:80", "busybox",
        "sh", "-c", "mkdir /www; cd /www; while :; do nslookup db 127.0.0.11 > index.html && "
        "echo ok || echo lost; usleep 100000; done & exec httpd -f -p 80 -h /www",
    )  # fmt: skip
    port = int(sh.docker("port", "app").stdout.split(":")[-1])
    fetch = [
        "curl",
        "-fsS",
        "--retry",
        "20",
        "--retry-all-errors",
        "--max-time",
        "5",
        f"http://127.0.0.1:{port}/",
    ]
    subprocess.run(fetch, check=True, capture_output=True)
    own_daemon.kill()
    out = subprocess.run(fetch, check=True, capture_output=True).stdout
    assert b"Address" in out
    own_daemon.start()
    subprocess.run(fetch, check=True, capture_output=True)
    assert "lost" not in sh.docker("logs", "app").stdout
    # and the port is still booked
    taken = sh.docker("run", "-p", f"127.0.0.1:{port}:80", "busybox", "true", ok=False)
    assert "already allocated" in taken.stderr
    sh.docker("rm", "-f", "app", "db")
    sh.docker("network", "rm", "lake")


def test_a_container_is_not_left_frozen_by_a_commit(own_daemon: DaemonProcess) -> None:
    sh = Shell(own_daemon)
    sh.docker("run", "-d", "--name", "big", "busybox", "sh", "-c", COUNT_FOR_EVER)
    sh.docker("exec", "big", "dd", "if=/dev/urandom", "of=/big", "bs=1M", "count=200")
    sh.docker("run", "-d", "--name", "paused", "busybox", "top")
    sh.docker("pause", "paused")
    commit = subprocess.Popen(
        ["docker", "commit", "big", "image"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=own_daemon.environment,
    )
    state = ["inspect", "-f", "{{.State.Pid}}", "big"]
    pid = sh.docker(*state).stdout.strip()
    assert wait_until(lambda: _frozen(pid), 20)
    own_daemon.kill()
    assert _frozen(pid)
    commit.wait(20)

    own_daemon.start()

    assert sh.docker(*state).stdout.strip() == pid
    assert sh.docker("exec", "big", "echo", "goes on").stdout == "goes on\n"
    still = sh.docker("ps", "--filter", "status=paused", "--format", "{{.Names}}").stdout
    assert still == "paused\n"
    sh.docker("unpause", "paused")


def _frozen(pid: str) -> bool:
    groups = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    by_controller = dict(line.split(":", 2)[1:] for line in groups)
    if "freezer" in by_controller:
        state = Path(f"/sys/fs/cgroup/freezer{by_controller['freezer']}/freezer.state")
        return state.read_text().strip() == "FROZEN"
    return "frozen 1" in Path(f"/sys/fs/cgroup{by_controller['']}/cgroup.events").read_text()


def test_sigterm_leaves_containers_running(own_daemon: DaemonProcess) -> None:
    sh = Shell(own_daemon)
    sh.docker("run", "-d", "--name", "stays", "busybox", "sleep", "1000")
    before = sh.docker("inspect", "-f", "{{.State.Pid}}", "stays").stdout
    assert own_daemon.stop() == 0
    own_daemon.start()
    assert sh.docker("inspect", "-f", "{{.State.Pid}} ", "stays").stdout.strip() == before.strip()
    sh.docker("exec", "stays", "true")


def test_restart_policies_after_a_daemon_restart(own_daemon: DaemonProcess) -> None:
    sh = Shell(own_daemon)
    for policy in ("always", "unless-stopped", "no"):
        sh.docker("run", "-d", "--name", policy, "--restart", policy, "busybox", "sleep", "1000")
    sh.docker("stop", "-t", "0", "always", "unless-stopped")
    own_daemon.restart()
    running = set(sh.docker("ps", "--format", "{{.Names}}").stdout.split())
    assert running == {"always", "no"}


def test_a_second_daemon_on_the_same_root_is_refused(own_daemon: DaemonProcess) -> None:
    second = DaemonProcess(own_daemon.base)
    second.socket = own_daemon.base / "other.sock"
    with pytest.raises(RuntimeError, match=r"already|in use|another"):
        second.start()


def test_two_daemons_side_by_side(
    own_daemon: DaemonProcess, with_busybox: Callable[[DaemonProcess], None]
) -> None:
    other = DaemonProcess(own_daemon.base / "other")
    try:
        other.start()
        with_busybox(other)
        subnets = set()
        for daemon in (own_daemon, other):
            sh = Shell(daemon)
            sh.docker("run", "-d", "--name", "same", "-p", "0:80", "busybox", "sleep", "1000")
            subnets.add(
                sh.docker(
                    "network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Subnet}}"
                ).stdout
            )
        assert len(subnets) == 2
        Shell(other).docker("rm", "-f", "same")
        Shell(own_daemon).docker("exec", "same", "true")
    finally:
        other.destroy()


@pytest.mark.soak
def test_a_hundred_kills_under_load(own_daemon: DaemonProcess) -> None:
    sh = Shell(own_daemon)
    dice = random.Random()
    keepers = {}
    for n in range(10):
        sh.docker("run", "-d", "--name", f"keep{n}", "busybox", "sh", "-c", COUNT_FOR_EVER)
        keepers[f"keep{n}"] = sh.docker("inspect", "-f", "{{.State.Pid}}", f"keep{n}").stdout
    stop = threading.Event()
    acknowledged: dict[str, int] = {}
    # Bounded: what three workers make, one remover could never take away again.
    room = threading.Semaphore(AT_MOST)

    def load(worker: int) -> None:
        serial = 0
        while not stop.is_set():
            if not room.acquire(timeout=0.2):
                continue
            serial += 1
            name, code = f"load{worker}-{serial}", dice.randrange(1, 100)
            done = sh.docker(
                "run", "-d", "--name", name, "-v", "/anonymous", "-p", "127.0.0.1::80", "busybox",
                "sh", "-c", f"exit {code}", ok=False, timeout=60,
            )  # fmt: skip
            if done.returncode == 0:
                acknowledged[name] = code
            else:
                room.release()
                stop.wait(0.2)

    workers = [threading.Thread(target=load, args=(n,), daemon=True) for n in range(3)]
    for worker in workers:
        worker.start()
    for _ in range(100):
        stop.wait(dice.uniform(0.05, 1.5))
        own_daemon.kill()
        own_daemon.start()
        for name, pid in keepers.items():
            assert sh.docker("inspect", "-f", "{{.State.Pid}}", name).stdout == pid
        if told := dict(acknowledged):
            assert sh.docker("wait", *told).stdout.split() == [str(code) for code in told.values()]
            sh.docker("rm", "-v", *told)
            for name in told:
                del acknowledged[name]
                room.release()
    stop.set()
    for worker in workers:
        worker.join(60)
    for name in keepers:
        sh.docker("kill", name)
        seen = numbers(sh.docker("logs", name).stdout)
        assert seen == list(range(1, len(seen) + 1))
    sh.docker("rm", "-fv", *sh.docker("ps", "-aq").stdout.split())
    assert sh.docker("volume", "ls", "-q").stdout == ""
    own_daemon.restart()
    assert own_daemon.settled() == {}
    assert no_elements(own_daemon)
    assert not list(Path(own_daemon.root / "containers").glob("*"))
    assert not list(Path(own_daemon.state / "netns").glob("*"))
    assert not list(Path(own_daemon.root / "snapshots").glob("*"))
