"""Docker's own daemons in the laboratory: what the cluster is compared with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from sampan.testing.lab import Lab, swarm
from sampan.testing.place import wait_until

pytestmark = pytest.mark.skipif(not shutil.which("dockerd"), reason="docker.io is not installed")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(kinds=("docker",) * 3) as lab:
        lab.load_busybox()
        yield lab


def test_containers_run_in_its_own_cgroup(lab: Lab) -> None:
    one = lab.hosts[0]
    one.docker("run", "-d", "--name", "boat", "busybox", "sleep", "1000")
    assert one.daemon.cgroups()
    assert "processes" in one.leftovers()
    one.docker("rm", "-f", "boat")
    # what it keeps for itself after a cluster is its own business
    assert wait_until(lambda: not {"processes", "cgroups"} & one.leftovers().keys())


def test_they_form_a_cluster(lab: Lab) -> None:
    one = lab.hosts[0]
    swarm.form(lab)
    # the kernel need not have IPVS, on which Docker's virtual addresses stand
    host_network = ("--network", "host", "--no-resolve-image", "--detach", "--stop-signal", "KILL")
    one.docker("service", "create", *host_network, "--name", "s", "--replicas", "3", "busybox",
               "sleep", "1000")  # fmt: skip
    assert wait_until(lambda: len(swarm.running(one, "s")) == 3, 20)
    assert set(swarm.running(one, "s").values()) == {"host1", "host2", "host3"}
    one.docker("service", "rm", "s")
    assert all(swarm.empty(host) for host in lab.hosts)
    swarm.leave(lab)
