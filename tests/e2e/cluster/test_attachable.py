"""Containers started by hand, on any node, on a network of the cluster."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from sampan.testing.lab import Lab, LabHost, swarm
from sampan.testing.lab.services import create, wait_running
from sampan.testing.place import wait_until


def answers(host: LabHost, container: str, name: str) -> bool:
    """Whether the container reaches who is called so."""
    done = host.docker("exec", container, "ping", "-c", "1", "-W", "1", name, ok=False)
    return done.returncode == 0


def networks(host: LabHost) -> set[str]:
    return set(host.docker("network", "ls", "--format", "{{.Name}}").stdout.split())


def start(host: LabHost, name: str, *options: str) -> str:
    """Returns its address on the network ``net``."""
    host.docker("run", "-d", "--name", name, *options, "busybox", "sleep", "1000")
    return address(host, name)


def address(host: LabHost, name: str) -> str:
    (found,) = json.loads(host.docker("inspect", name).stdout)
    return str(found["NetworkSettings"]["Networks"].get("net", {}).get("IPAddress", ""))


def refused(done: subprocess.CompletedProcess[str], why: str) -> None:
    assert done.returncode != 0
    assert why in done.stderr + done.stdout


def gone(host: LabHost, network: str) -> bool:
    return wait_until(lambda: host.docker("network", "rm", network, ok=False).returncode == 0, 15)


@pytest.fixture
def patient3(swarm3: Lab) -> Iterator[Lab]:
    """What a node has attached goes with it when it is down: here none is, however long it takes
    to start its daemon."""
    with swarm.heartbeat(swarm3.hosts[0], "30s"):
        yield swarm3


def test_containers_and_tasks_find_each_other(patient3: Lab) -> None:
    one, two, three = patient3.hosts
    one.docker("network", "create", "-d", "overlay", "--attachable", "net")
    create(
        one,
        "web",
        "--network",
        "net",
        "--constraint",
        "node.hostname==host1",
        "busybox",
        "sleep",
        "1000",
    )
    wait_running(one, "web", 1)
    assert "net" not in networks(two)
    boat = start(two, "boat", "--network", "net", "--network-alias", "vessel")
    ship = start(three, "ship", "--network", "net")
    assert boat != ship
    assert "net" in networks(two)
    for host, container, name in (
        (two, "boat", "ship"),
        (two, "boat", "web"),
        (two, "boat", "tasks.web"),
        (three, "ship", "boat"),
        (three, "ship", "vessel"),
        (three, "ship", two.docker("ps", "-q").stdout.strip()),
    ):
        assert wait_until(lambda h=host, c=container, n=name: answers(h, c, n), 5), name
    (task,) = one.docker("ps", "-q").stdout.split()
    assert wait_until(lambda: answers(one, task, "boat"), 5)
    # nobody's task
    assert one.docker("node", "ps", "-q", "host2").stdout == ""
    refused(one.docker("network", "rm", "net", ok=False), "in use")

    # a new run has a new address under the same name
    two.docker("restart", "-t", "0", "boat")
    assert wait_until(lambda: answers(three, "ship", "vessel"), 5)
    # its daemon is killed, and knows what it had
    two.daemon.kill()
    two.daemon.start()
    assert wait_until(lambda: answers(three, "ship", "vessel"), 5)
    two.docker("rm", "-f", "boat")
    assert wait_until(lambda: not answers(three, "ship", "vessel"), 5)
    assert wait_until(lambda: "net" not in networks(two), 5)
    # what it had is free again
    assert start(one, "boat", "--network", "net", "--ip", boat) == boat
    one.docker("rm", "-f", "boat")
    three.docker("rm", "-f", "ship")
    one.docker("service", "rm", "web")
    assert gone(one, "net")


def test_connected_while_it_runs(swarm3: Lab) -> None:
    one, two, three = swarm3.hosts
    one.docker("network", "create", "-d", "overlay", "--attachable", "net")
    ship = start(three, "ship", "--network", "net")
    start(two, "boat")
    two.docker("network", "connect", "--alias", "vessel", "net", "boat")
    assert wait_until(lambda: answers(three, "ship", "vessel"), 5)
    assert wait_until(lambda: answers(two, "boat", "ship"), 5)
    two.docker("network", "disconnect", "net", "boat")
    assert wait_until(lambda: not answers(three, "ship", "vessel"), 5)
    assert not answers(two, "boat", ship)
    two.docker("rm", "-f", "boat")
    three.docker("rm", "-f", "ship")
    assert gone(one, "net")


def test_what_is_refused(swarm3: Lab) -> None:
    one, two, three = swarm3.hosts
    one.docker("network", "create", "-d", "overlay", "--attachable", "net")
    one.docker("network", "create", "-d", "overlay", "shut")
    sentence = (
        "Could not attach to network shut: rpc error: code = PermissionDenied desc = network shut "
        "not manually attachable"
    )
    for host in (one, two):
        refused(
            host.docker("run", "--rm", "--network", "shut", "busybox", "true", ok=False), sentence
        )
        refused(
            host.docker("run", "--rm", "--network", "nope", "busybox", "true", ok=False),
            "network nope not found",
        )
    ship = start(three, "ship", "--network", "net")
    run = ("run", "--rm", "--network", "net", "--ip")
    refused(two.docker(*run, ship, "busybox", "true", ok=False), "Address already in use")
    refused(two.docker(*run, "192.0.2.1", "busybox", "true", ok=False), "invalid address")
    assert two.docker("ps", "-aq").stdout == ""
    three.docker("rm", "-f", "ship")
    assert gone(one, "net")
    assert gone(one, "shut")


@pytest.mark.only_sampan("Docker waits for 20 s")
def test_without_managers(swarm3: Lab) -> None:
    one, two, _ = swarm3.hosts
    one.docker("network", "create", "-d", "overlay", "--attachable", "net")
    one.cut_off()
    try:
        done = two.docker("run", "--rm", "--network", "net", "busybox", "true", ok=False, timeout=8)
        refused(done, "no manager of its swarm can be asked")
    finally:
        one.heal()
    assert wait_until(
        lambda: (
            two.docker("run", "--rm", "--network", "net", "busybox", "true", ok=False).returncode
            == 0
        ),
        20,
    )
    assert gone(one, "net")


def test_a_host_that_leaves(swarm3: Lab) -> None:
    one, two, three = swarm3.hosts
    one.docker("network", "create", "-d", "overlay", "--attachable", "net")
    start(three, "ship", "--network", "net")
    start(two, "boat", "--network", "net")
    assert wait_until(lambda: answers(three, "ship", "boat"), 5)
    token = one.docker("swarm", "join-token", "-q", "worker").stdout.strip()
    two.docker("swarm", "leave")
    assert not answers(three, "ship", "boat")
    assert "net" not in networks(two)
    assert two.docker("ps", "-q").stdout
    two.docker("rm", "-f", "boat")
    three.docker("rm", "-f", "ship")
    two.docker("swarm", "join", "--token", token, f"{one.address}:2377")
    nodes = one.docker("node", "ls", "--format", "{{.ID}} {{.Status}}").stdout.splitlines()
    one.docker("node", "rm", *[line.split()[0] for line in nodes if line.endswith("Down")])
    assert gone(one, "net")
