"""A cluster out of the hosts of a laboratory, formed as a person would form it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sampan.testing.lab.host import LabHost
from sampan.testing.lab.lab import Lab
from sampan.testing.place import wait_until

READY_WITHIN_S = 20.0


def form(lab: Lab, managers: int = 1) -> None:
    """``docker swarm init`` on the first host, ``join`` on the others, all at once for workers.

    The first ``managers`` hosts are managers. Returns when every node is ready.
    """
    first, *others = lab.hosts
    first.docker("swarm", "init", "--advertise-addr", first.address)
    # one manager after the other: each changes the quorum
    for host in others[: managers - 1]:
        join(host, first, "manager")
    lab.each(lambda host: join(host, first, "worker"), others[managers - 1 :])
    wait_ready(first, len(lab.hosts))


def join(host: LabHost, manager: LabHost, role: str = "worker") -> None:
    """Let ``host`` join the cluster of ``manager`` as ``worker`` or ``manager``."""
    token = manager.docker("swarm", "join-token", "--quiet", role).stdout.strip()
    host.docker("swarm", "join", "--token", token, f"{manager.address}:2377")


def wait_ready(manager: LabHost, nodes: int) -> None:
    """Wait until so many nodes are ready.

    Raises:
        AssertionError: they did not become so in time; with what ``node ls`` says.
    """
    if not wait_until(lambda: _ready(manager) == nodes, READY_WITHIN_S):
        listed = manager.docker("node", "ls", ok=False)
        raise AssertionError(f"no {nodes} ready nodes:\n{listed.stdout}{listed.stderr}")


def _ready(manager: LabHost) -> int:
    listed = manager.docker("node", "ls", "--format", "{{.Status}}", ok=False)
    return listed.stdout.split().count("Ready")


@contextmanager
def heartbeat(manager: LabHost, period: str) -> Iterator[None]:
    """Another period than the cluster's own second: a node is down after three of them, and a busy
    machine takes longer than three seconds to start a daemon. Every node has heard of it when what
    is made inside runs there."""
    manager.docker("swarm", "update", "--dispatcher-heartbeat", period)
    try:
        yield
    finally:
        manager.docker("swarm", "update", "--dispatcher-heartbeat", "0s")


def running(manager: LabHost, service: str) -> dict[str, str]:
    """Task name -> host, of the tasks of a service that run and are to run."""
    wanted = ("--filter", "desired-state=running", "--format", "{{json .}}")
    listed = manager.docker("service", "ps", *wanted, service, ok=False).stdout
    tasks: Sequence[dict[str, Any]] = [json.loads(line) for line in listed.splitlines()]
    return {t["Name"]: t["Node"] for t in tasks if t["CurrentState"].startswith("Running")}


def empty(host: LabHost) -> bool:
    """Whether a host gets rid of its last container in time."""
    return wait_until(lambda: not host.docker("ps", "-aq").stdout.split(), READY_WITHIN_S)


def leave(lab: Lab) -> None:
    """End the cluster: every host that can leaves, the first one last."""
    lab.each(_leave, [host for host in lab.hosts[1:] if host.machine.alive])
    _leave(lab.hosts[0])


def _leave(host: LabHost) -> None:
    state = host.docker("info", "--format", "{{.Swarm.LocalNodeState}}").stdout.strip()
    if state != "inactive":
        host.docker("swarm", "leave", "--force")
