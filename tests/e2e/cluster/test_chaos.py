"""Whatever breaks at whatever moment: what was acknowledged is there, exactly, and nothing else.

The soak prints its seed; ``SAMPAN_CHAOS_SEED`` repeats one, as far as two runs can be alike.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time

import pytest

from sampan.testing.lab import Lab, LabHost, chaos, services, swarm
from sampan.testing.lab.chaos import Faults, User
from sampan.testing.place import wait_until

JOIN_DIES_AFTER_S = (0.05, 0.2, 0.4)
ROUNDS = 40
STRANGER = """
import os, socket, ssl, sys, time
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
end, held = time.monotonic() + 3, []
say = (b"POST /ca/issue HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 1000000000\\r\\n\\r\\n", b"",
       b"GET /session HTTP/1.1\\r\\n", os.urandom(400) + b"\\r\\n\\r\\n")
while time.monotonic() < end:
    for words in say:
        try:
            found = socket.create_connection((sys.argv[1], 2377), timeout=1)
            held.append(found)
            found.sendall(os.urandom(600) if not words else b"")
            if words:
                found = context.wrap_socket(found)
                held.append(found)
                found.sendall(words)
                for _ in range(64):
                    found.sendall(bytes(16384))
        except OSError:
            pass
print(len(held))
"""


def test_every_kind_of_fault_once(managers3: Lab) -> None:
    """A user works while a host is struck by each; two of three at once, too."""
    lab, rng = managers3, random.Random(1)
    users = [User(lab, 1, rng)]
    faults = Faults(lab, rng)
    with chaos.at_work(users):
        faults.freeze(lab.hosts[0], 3.5)
        faults.kill(lab.hosts[1], 0.0)
        faults.cut(lab.hosts[2], 3.5)
        faults.crash(lab.hosts[0], 0.0)
        lab.each(lambda host: faults.kill(host, 0.5), lab.hosts[1:])
    chaos.check(lab, users)
    assert users[0].acknowledged > 0
    assert not users[0].bare
    chaos.clear(lab)
    assert not chaos.tracebacks(lab)


def test_two_halves_are_one_again(managers3: Lab) -> None:
    lab = managers3
    alone, *others = lab.hosts
    services.create(alone, "app", "--replicas", "6", "busybox", "sleep", "1000")
    services.wait_running(alone, "app", 6)
    lab.split([alone], others)
    refused = alone.docker("service", "scale", "-d", "app=1", ok=False)
    assert "does not have a leader" in refused.stderr

    def scaled() -> bool:
        return others[0].docker("service", "scale", "-d", "app=8", ok=False).returncode == 0

    assert wait_until(scaled, 15)
    services.wait_for(
        lambda: list(swarm.running(others[0], "app").values()).count(alone.name) == 0
        and len(swarm.running(others[0], "app")) == 8,
        others[0], "app", "8 tasks on one side",
    )  # fmt: skip
    lab.split()
    services.wait_running(alone, "app", 8)
    assert wait_until(lambda: sum(map(len, services.containers(lab, "app").values())) == 8)
    assert not chaos.tracebacks(lab)


def test_a_join_whose_daemon_dies_is_done_or_undone(own_lab3: Lab) -> None:
    lab = own_lab3
    manager, other, joiner = lab.hosts
    manager.docker("swarm", "init", "--advertise-addr", manager.address)
    swarm.join(other, manager)
    services.create(
        manager, "all", "--mode", "global", "-p", "8080:80", "busybox", "sh", "-c", services.SERVE
    )
    for number, delay_s in enumerate(JOIN_DIES_AFTER_S):
        role = ("worker", "manager")[number % 2]
        joining = begin_to_join(joiner, manager, role)
        time.sleep(delay_s)
        joiner.daemon.kill()
        joining.wait(20)
        joiner.daemon.start()
        if state(joiner) == "inactive":
            assert joiner.settled() == {}
            assert not joiner.docker("ps", "-aq").stdout
            assert not (joiner.daemon.root / "cluster").exists()
            assert wait_until(lambda: len(names(manager)) == 2, 10), names(manager)
            swarm.join(joiner, manager, role)
        swarm.wait_ready(manager, 3)
        joiner.docker("swarm", "leave", "--force")
        assert joiner.settled() == {}
        forget(manager, joiner)
    swarm.leave(lab)
    assert lab.settled() == {}
    assert not chaos.tracebacks(lab)


def test_strangers_at_the_door_disturb_nobody(own_lab3: Lab) -> None:
    lab, manager = own_lab3, own_lab3.hosts[0]
    swarm.form(lab)
    strangers = [
        lab.client.popen(sys.executable, "-c", STRANGER, manager.address, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    # they leave little of the processors to anybody else on this machine
    with swarm.heartbeat(manager, "5s"):
        services.create(manager, "app", "--replicas", "6", "busybox", "sleep", "1000")
        services.wait_running(manager, "app", 6)
        while any(stranger.poll() is None for stranger in strangers):
            assert names(manager, "{{.Status}}") == ["Ready"] * 3
    assert all(int(stranger.communicate()[0]) > 0 for stranger in strangers)
    assert not chaos.tracebacks(lab)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("managers", [3, 1])
def test_soak(own_lab3: Lab, managers: int) -> None:
    seed = int(os.environ.get("SAMPAN_CHAOS_SEED", random.randrange(10**6)))
    print(f"SAMPAN_CHAOS_SEED={seed}", flush=True)
    lab, rng = own_lab3, random.Random(seed)
    swarm.form(lab, managers=managers)
    lab.hosts[0].docker("network", "create", "-d", "overlay", "net")
    users = [User(lab, n, random.Random(rng.random()), "--network", "net") for n in range(2)]
    faults = Faults(lab, rng)
    for _ in range(ROUNDS):
        with chaos.at_work(users):
            for _ in range(rng.randint(1, 4)):
                faults.strike(at_once=rng.choice((1, 1, 1, 2, 3)))
        chaos.check(lab, users)
        assert not [said for user in users for said in user.bare]
        assert not chaos.tracebacks(lab)
    chaos.clear(lab)
    lab.hosts[0].docker("network", "rm", "net")
    swarm.leave(lab)
    assert lab.settled() == {}


def begin_to_join(host: LabHost, manager: LabHost, role: str) -> subprocess.Popen[bytes]:
    token = manager.docker("swarm", "join-token", "-q", role).stdout.strip()
    return subprocess.Popen(
        ["docker", "swarm", "join", "--token", token, f"{manager.address}:2377"],
        env=host.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def state(host: LabHost) -> str:
    return host.docker("info", "--format", "{{.Swarm.LocalNodeState}}").stdout.strip()


def names(manager: LabHost, what: str = "{{.Hostname}}") -> list[str]:
    return manager.docker("node", "ls", "--format", what).stdout.split()


def forget(manager: LabHost, host: LabHost) -> None:
    """Remove the node of a host that has left."""
    manager.docker("node", "demote", host.name, ok=False)
    gone = wait_until(lambda: manager.docker("node", "rm", host.name, ok=False).returncode == 0, 10)
    assert gone, manager.docker("node", "ls").stdout
