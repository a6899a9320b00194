"""Three hosts of the laboratory, alone or as a cluster.

``lab3`` and ``swarm3`` are shared by a module: a test leaves them without services, with every
host powered, plugged in and its daemon answering, and the fixtures see to it. ``own_lab3`` is for
a test that forms, breaks or ends clusters itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from sampan.testing.lab import Lab, swarm
from sampan.testing.lab.lab import make_well

KIND = os.environ.get("SAMPAN_LAB_KIND", "sampan")
"""``docker`` runs these tests against Docker's own daemon: what they ask is true of it as well."""


def new_lab() -> Lab:
    return Lab(kinds=(KIND,) * 3)


@pytest.fixture(autouse=True)
def _fits(request: pytest.FixtureRequest) -> None:
    """``@pytest.mark.only_sampan(REASON)`` tells what Docker cannot do, here or anywhere."""
    mark = request.node.get_closest_marker("only_sampan")
    if mark and KIND != "sampan":
        pytest.skip(mark.args[0])


@pytest.fixture(scope="module")
def module_lab3() -> Iterator[Lab]:
    with new_lab() as lab:
        lab.load_busybox()
        yield lab


@pytest.fixture
def own_lab3() -> Iterator[Lab]:
    """Three fresh hosts for one test, with ``busybox:latest``."""
    with new_lab() as lab:
        lab.load_busybox()
        yield lab


@pytest.fixture
def lab3(module_lab3: Lab) -> Iterator[Lab]:
    """Three hosts without a cluster, with ``busybox:latest``."""
    yield module_lab3
    make_well(module_lab3)
    swarm.leave(module_lab3)
    for host in module_lab3.hosts:
        if left := host.docker("ps", "-aq").stdout.split():
            host.docker("rm", "-fv", *left)
    assert module_lab3.settled() == {}


@pytest.fixture(scope="module")
def module_swarm3() -> Iterator[Lab]:
    with new_lab() as lab:
        lab.load_busybox()
        swarm.form(lab, managers=1)
        yield lab
        swarm.leave(lab)
        assert lab.settled() == {}


@pytest.fixture
def swarm3(module_swarm3: Lab) -> Iterator[Lab]:
    """A manager (the first host) and two workers, without services."""
    yield module_swarm3
    clean(module_swarm3)


@pytest.fixture(scope="module")
def module_managers3() -> Iterator[Lab]:
    with new_lab() as lab:
        lab.load_busybox()
        swarm.form(lab, managers=3)
        yield lab


@pytest.fixture
def managers3(module_managers3: Lab) -> Iterator[Lab]:
    """Three managers, without services."""
    yield module_managers3
    clean(module_managers3)


def clean(lab: Lab) -> None:
    """Every host well, no service, no container."""
    make_well(lab)
    first = lab.hosts[0]
    swarm.wait_ready(first, len(lab.hosts))
    if services := first.docker("service", "ls", "-q").stdout.split():
        first.docker("service", "rm", *services)
    for host in lab.hosts:
        assert swarm.empty(host), host.docker("ps", "-a").stdout
