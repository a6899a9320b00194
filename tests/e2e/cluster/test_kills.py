"""``kill -9`` of every daemon in turn while services are made: what was acknowledged is there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sampan.testing.lab import Lab, LabHost, swarm
from sampan.testing.lab.services import containers
from sampan.testing.place import wait_until

EACH = 6
REPLICAS = 2


def test_nothing_acknowledged_is_lost(own_lab3: Lab) -> None:
    lab = own_lab3
    swarm.form(lab, managers=3)
    lab.hosts[0].docker("network", "create", "-d", "overlay", "net")
    acknowledged: list[str] = []

    def make(asked: LabHost, number: int) -> None:
        name = f"s{number}"
        done = asked.docker(
            "service", "create", "-dq", "--no-resolve-image", "--name", name, "--network", "net", "--stop-signal", "KILL",
            "--replicas", str(REPLICAS), "busybox", "sleep", "1000", ok=False,
        )  # fmt: skip
        if done.returncode == 0:
            acknowledged.append(name)

    first = lab.hosts[0]
    with swarm.heartbeat(first, "30s"):  # a daemon that starts slowly is not a host that is lost
        for turn, victim in enumerate(lab.hosts):
            others = [host for host in lab.hosts if host is not victim]
            with ThreadPoolExecutor(4) as pool:
                asked = [(*others, victim)[n % 3] for n in range(EACH)]
                made = [pool.submit(make, host, turn * EACH + n) for n, host in enumerate(asked)]
                victim.daemon.kill()
                victim.daemon.start()
                for each in made:
                    each.result()
            swarm.wait_ready(victim, 3)
    assert len(acknowledged) >= EACH, "most of them are made while one of three is away"

    def services() -> dict[str, str]:
        listed = first.docker("service", "ls", "--format", "{{.Name}} {{.Replicas}}").stdout
        return dict(line.split() for line in listed.splitlines())

    there = services()
    assert set(acknowledged) <= set(there)
    # one that was not acknowledged may exist all the same: the answer was lost, not the service
    assert wait_until(lambda: set(services().values()) == {f"{REPLICAS}/{REPLICAS}"}, 60), (
        services()
    )

    def counts() -> dict[str, int]:
        return {name: sum(len(c) for c in containers(lab, name).values()) for name in there}

    assert wait_until(lambda: set(counts().values()) == {REPLICAS}, 30), counts()
    first.docker("service", "rm", *there)
    for host in lab.hosts:
        assert swarm.empty(host), host.docker("ps", "-a").stdout
    assert wait_until(lambda: first.docker("network", "rm", "net", ok=False).returncode == 0, 15)
    swarm.leave(lab)
    assert lab.settled() == {}
