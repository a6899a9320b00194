"""Nodes that are drained, paused, lost and found again."""

from __future__ import annotations

import pytest

from sampan.testing.lab import Lab, LabHost, swarm
from sampan.testing.lab.services import containers, create, tasks, wait_for, wait_running, wanted
from sampan.testing.place import wait_until

SLEEP = ("busybox", "sleep", "1000")


def status(manager: LabHost, node: str) -> str:
    return manager.docker("node", "inspect", "--format", "{{.Status.State}}", node).stdout.strip()


def everyone_goes_on(lab: Lab, before: dict[str, list[str]]) -> None:
    """Of three tasks, one a node, none was replaced, and every node takes a new one."""
    one = lab.hosts[0]
    one.docker("service", "scale", "-d", "web=6")
    wait_running(one, "web", 6)
    after = containers(lab, "web")
    assert all(set(before[host]) < set(after[host]) for host in before)
    assert len(tasks(one, "web")) == 6


def test_drain_and_pause(swarm3: Lab) -> None:
    one = swarm3.hosts[0]
    create(one, "web", "--replicas", "6", *SLEEP)
    wait_running(one, "web", 6)
    one.docker("node", "update", "--availability", "drain", "host3")
    wait_for(
        lambda: sorted(swarm.running(one, "web").values()) == ["host1"] * 3 + ["host2"] * 3,
        one,
        "web",
        "drained",
    )
    assert wait_until(lambda: containers(swarm3, "web")["host3"] == [])
    # paused: what runs there stays, nothing new comes
    one.docker("node", "update", "--availability", "active", "host3")
    one.docker("node", "update", "--availability", "pause", "host2")
    one.docker("service", "scale", "-d", "web=9")
    at = list(wait_running(one, "web", 9).values())
    assert at.count("host2") == 3
    assert at.count("host3") == 3
    one.docker("node", "update", "--availability", "active", "host2")


@pytest.mark.parametrize("how", ["power", "cable", "frozen"])
def test_a_lost_worker_is_replaced_and_comes_back_empty(swarm3: Lab, how: str) -> None:
    one, two, three = swarm3.hosts
    # only who is lost is to be missed, on a busy machine, too
    with swarm.heartbeat(one, "3s"):
        create(one, "web", "--replicas", "6", *SLEEP)
        wait_running(one, "web", 6)
        {"power": three.kill, "cable": three.cut_off, "frozen": three.daemon.freeze}[how]()
        wait_for(
            lambda: sorted(swarm.running(one, "web").values()) == ["host1"] * 3 + ["host2"] * 3,
            one,
            "web",
            "replaced",
            60,
        )
        assert status(one, "host3") == "down"
        {"power": three.revive, "cable": three.heal, "frozen": three.daemon.thaw}[how]()
        swarm.wait_ready(one, 3)
        # removed, not doubled
        assert wait_until(lambda: containers(swarm3, "web")["host3"] == [], 20)
    assert len(wanted(one, "web")) == 6
    assert sum(len(c) for c in containers(swarm3, "web").values()) == 6
    assert not [
        t
        for t in tasks(one, "web")
        if t["DesiredState"] == "Shutdown"
        and t["CurrentState"].startswith("Running")
        and t["Node"] != "host3"
    ]
    assert two.docker("ps", "-q").stdout.count("\n") == 3


def test_a_short_absence_changes_nothing(swarm3: Lab) -> None:
    one, _, three = swarm3.hosts
    with swarm.heartbeat(one, "30s"):
        create(one, "web", "--replicas", "3", *SLEEP)
        wait_running(one, "web", 3)
        before = containers(swarm3, "web")
        three.daemon.kill()
        three.daemon.start()
        everyone_goes_on(swarm3, before)


@pytest.mark.only_sampan("Docker's workers need a manager to go on")
def test_containers_go_on_without_any_manager(swarm3: Lab) -> None:
    one, two, three = swarm3.hosts
    with swarm.heartbeat(one, "30s"):
        create(one, "web", "--replicas", "3", *SLEEP)
        wait_running(one, "web", 3)
        before = containers(swarm3, "web")
        one.daemon.kill()
        # a worker that starts anew while nobody answers keeps what it has
        three.daemon.kill()
        three.daemon.start()
        assert two.docker("ps", "-q").stdout.split() == before["host2"]
        assert three.docker("ps", "-q").stdout.split() == before["host3"]
        one.daemon.start()
        swarm.wait_ready(one, 3)
        everyone_goes_on(swarm3, before)
