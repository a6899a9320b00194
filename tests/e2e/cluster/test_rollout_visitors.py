"""Nobody who asks is refused while a service rolls over, however late a host hears of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest

from sampan.testing.lab import Lab, LabHost, swarm
from sampan.testing.lab.hammer import Hammer
from sampan.testing.lab.services import SERVE, create, update_state, wait_for, wait_running

pytestmark = pytest.mark.only_sampan("a task is stopped when every host has let go of it")

STANDS_S = 2.0
"""How long a daemon stands still."""


@contextmanager
def standing(host: LabHost) -> Iterator[None]:
    """The daemon of ``host`` does nothing from here on, for some seconds; its kernel goes on."""
    host.daemon.freeze()
    timer = threading.Timer(STANDS_S, host.daemon.thaw)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def test_a_host_that_hears_late_refuses_nobody(swarm3: Lab) -> None:
    one, two, three = swarm3.hosts
    with swarm.heartbeat(one, "15s"):  # a host that stands still is not down, however busy all are
        create(
            one, "web", "--replicas", "2", "-p", "8080:80", "--constraint", "node.hostname!=host3",
            "--update-parallelism", "1", "--update-monitor", "200ms",
            "--rollback-monitor", "200ms", "busybox", "sh", "-c", SERVE,
        )  # fmt: skip
        wait_running(one, "web", 2)
        with Hammer(swarm3.client, f"http://{three.address}:8080/") as visitors:
            phases = [f"{datetime.now().time()} update"]
            with standing(three):
                one.docker("service", "update", "-dq", "--env-add", "NEW=1", "web")
            wait_for(lambda: update_state(one, "web") == "completed", one, "web", "updated")
            phases.append(f"{datetime.now().time()} rollback")
            with standing(two):
                one.docker("service", "rollback", "-dq", "web")
            wait_for(lambda: update_state(one, "web") == "rollback_completed", one, "web", "back")
            phases.append(f"{datetime.now().time()} scale")
            with standing(three):
                one.docker("service", "scale", "-d", "web=1")
            wait_running(one, "web", 1)
        if visitors.seen.failures:
            listed = one.docker("service", "ps", "--no-trunc", "web").stdout
            logs = (f"{host.name}:\n{host.daemon.tail(20)}" for host in swarm3.hosts)
            pytest.fail("\n".join((*visitors.seen.failures, *phases, listed, *logs)))
        assert len(visitors.seen.answers) >= 4
