"""Where the tasks of a service go, and why: strategies, and drivers that nodes have or have not."""

from __future__ import annotations

import pytest

from sampan.testing.lab import Lab
from sampan.testing.lab.services import create, wait_for, wait_running, wanted

SLEEP = ("busybox", "sleep", "1000")


@pytest.mark.only_sampan("Docker has one strategy")
def test_a_service_chooses_its_strategy(swarm3: Lab) -> None:
    one = swarm3.hosts[0]
    words = ("--replicas", "4", "--reserve-memory", "16m", "--label", "io.sampan.strategy=binpack")
    create(one, "packed", *words, *SLEEP)
    (host,) = set(wait_running(one, "packed", 4).values())
    assert f"runs on node {host} (binpack: " in one.sampan("cluster", "why", "packed").stdout
    create(one, "apart", "--replicas", "3", *SLEEP)
    assert set(wait_running(one, "apart", 3).values()) == {"host1", "host2", "host3"}
    assert "(spread: " in one.sampan("cluster", "why", "apart").stdout
    create(one, "drawn", "--replicas", "3", "--label", "io.sampan.strategy=random", *SLEEP)
    wait_running(one, "drawn", 3)
    assert "(random: " in one.sampan("cluster", "why", "drawn").stdout


@pytest.mark.only_sampan("Docker has one strategy")
def test_a_strategy_that_nobody_knows_is_refused(swarm3: Lab) -> None:
    one = swarm3.hosts[0]
    odd = ("--label", "io.sampan.strategy=tetris")
    done = one.docker("service", "create", "-dq", "--name", "odd", *odd, *SLEEP, ok=False)
    assert done.returncode != 0
    assert "no scheduling strategy 'tetris'" in done.stderr
    assert "choose one of binpack, random, spread" in done.stderr
    create(one, "web", *SLEEP)
    change = ("--label-add", "io.sampan.strategy=tetris")
    done = one.docker("service", "update", "-dq", *change, "web", ok=False)
    assert "no scheduling strategy 'tetris'" in done.stderr


@pytest.mark.only_sampan("Docker's nodes have journald")
def test_a_log_driver_that_no_node_has_is_waited_for(swarm3: Lab) -> None:
    one = swarm3.hosts[0]
    create(one, "logging", "--log-driver", "journald", *SLEEP)
    wait_for(
        lambda: (
            "no suitable node (missing plugin on 3 nodes)"
            in "".join(task["Error"] for task in wanted(one, "logging"))
        ),
        one,
        "logging",
        "reason",
    )
    assert wanted(one, "logging")[0]["CurrentState"].startswith("Pending")
    one.docker("service", "update", "-dq", "--log-driver", "json-file", "logging")
    wait_running(one, "logging", 1)
