"""Three managers: one is lost, two are lost, one is brought back alone."""

from __future__ import annotations

import pytest

from sampan.testing.lab import Lab, LabHost, swarm
from sampan.testing.lab.services import containers, create, update_state, wait_for, wait_running
from sampan.testing.place import wait_until

SLEEP = ("busybox", "sleep", "1000")


def leader(*asked: LabHost) -> str:
    form = ("node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}")
    for host in asked:
        for line in host.docker(*form, ok=False).stdout.splitlines():
            if line.endswith(" Leader"):
                return line.split()[0]
    return ""


def test_any_manager_takes_orders(managers3: Lab) -> None:
    for number, host in enumerate(managers3.hosts):
        create(host, f"s{number}", *SLEEP)
    for number, host in enumerate(reversed(managers3.hosts)):
        wait_running(host, f"s{number}", 1)


def test_the_leader_loses_power_during_a_rollout(managers3: Lab) -> None:
    first = managers3.hosts[0]
    name = ""
    assert wait_until(lambda: leader(first), 10)
    name = leader(first)
    (lost,) = [h for h in managers3.hosts if h.name == name]
    others = [h for h in managers3.hosts if h is not lost]
    create(
        others[0],
        "web",
        "--replicas",
        "9",
        "--update-parallelism",
        "1",
        "--update-monitor",
        "200ms",
        *SLEEP,
    )
    wait_running(others[0], "web", 9)
    others[0].docker("service", "update", "-dq", "--env-add", "NEW=1", "web")
    wait_for(lambda: update_state(others[0], "web") == "updating", others[0], "web", "updating")
    lost.kill()
    assert wait_until(lambda: leader(*others) not in ("", lost.name), 15)
    wait_for(
        lambda: update_state(others[0], "web") == "completed", others[0], "web", "completed", 60
    )
    at = wait_running(others[0], "web", 9, 40)
    assert lost.name not in at.values()
    env = "{{.Config.Env}}"
    for host in others:
        for container in containers(managers3, "web")[host.name]:
            assert "NEW=1" in host.docker("inspect", "--format", env, container).stdout
    lost.revive()
    swarm.wait_ready(others[0], 3)
    # what it had is removed, not doubled
    assert wait_until(lambda: sum(len(c) for c in containers(managers3, "web").values()) == 9, 20)


@pytest.fixture
def own_managers3(own_lab3: Lab) -> Lab:
    swarm.form(own_lab3, managers=3)
    return own_lab3


@pytest.mark.only_sampan("Docker answers after 20 s")
def test_two_of_three_are_lost_and_one_is_brought_back_alone(own_managers3: Lab) -> None:
    one, two, three = own_managers3.hosts
    # a busy machine takes longer than the three seconds after which a node counts as lost
    one.docker("swarm", "update", "--dispatcher-heartbeat", "3s")
    create(one, "web", "--replicas", "3", *SLEEP)
    wait_running(one, "web", 3)
    before = containers(own_managers3, "web")["host1"]
    two.kill()
    three.kill()
    for words in (("service", "ls"), ("service", "create", "-d", *SLEEP), ("node", "ls")):
        done = one.docker(*words, ok=False, timeout=20)  # it is told, not left hanging
        assert done.returncode != 0
        assert "The swarm does not have a leader" in done.stderr
    told = one.docker("info").stdout
    assert "Error: rpc error: code = Unknown desc = The swarm does not have a leader." in told
    assert "Managers:" not in told
    assert one.docker("ps", "-q").stdout.split() == before
    # healed: all goes on
    two.revive()
    assert wait_until(lambda: leader(one, two), 20)
    wait_running(one, "web", 3)
    assert "Managers: 3" in one.docker("info").stdout
    three.revive()
    swarm.wait_ready(one, 3)
    # lost for good
    two.kill()
    three.kill()
    one.docker("swarm", "init", "--force-new-cluster")
    assert wait_until(lambda: leader(one) == "host1", 15)
    # until a node is given up, its tasks are shown as they were last seen
    at_home = ["host1"] * 3
    wait_for(
        lambda: list(swarm.running(one, "web").values()) == at_home, one, "web", "all here", 40
    )
    assert set(before) <= set(one.docker("ps", "-q").stdout.split())
    # those that come back are workers of it, or nothing; they take no tasks twice
    create(one, "more", *SLEEP)
    wait_running(one, "more", 1)
