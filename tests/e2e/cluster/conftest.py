"""Three hosts of the laboratory, alone or as a cluster.

``lab3`` and ``swarm3`` are shared: a test leaves them without services, with every host powered,
plugged in and its daemon answering, and the fixtures see to it. ``own_lab3`` is for a test that
forms, breaks or ends clusters itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from sampan.testing.lab import Lab, LabHost, swarm
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


class SharedSwarm:
    """A cluster for module after module, as long as each leaves it as it was."""

    def __init__(self) -> None:
        self._up = ExitStack()
        self._lab: Lab | None = None
        self._new: set[str] = set()

    def lab(self) -> Lab:
        if self._lab is None:
            self._lab = self._up.enter_context(new_lab())
            self._lab.load_busybox()
            swarm.form(self._lab, managers=1)
            self._new = traces(self._lab)
        return self._lab

    def pass_on(self) -> None:
        if self._lab is not None and traces(self._lab) != self._new:
            self.end()

    def end(self) -> None:
        if (lab := self._lab) is not None:
            self._lab = None
            with self._up:
                swarm.leave(lab)
                assert lab.settled() == {}

    def discard(self) -> None:
        """It is not as it should be: the next one gets another."""
        self._lab = None
        self._up.close()


def traces(lab: Lab) -> set[str]:
    """What a module may have left of its own in a cluster without services."""
    one = lab.hosts[0]
    found = {f"{host.name} {line}" for host in lab.hosts for line in images(host)}
    for kind in ("secret", "config"):
        found |= {f"{kind} {id}" for id in one.docker(kind, "ls", "-q").stdout.split()}
    listed = one.docker("network", "ls", "--filter", "scope=swarm", "--format", "{{.Name}}")
    found |= {f"network {name}" for name in listed.stdout.split()}
    nodes = one.docker("node", "ls", "-q").stdout.split()
    what = "{{.Description.Hostname}} {{json .Spec}}"
    return found | set(one.docker("node", "inspect", "-f", what, *nodes).stdout.splitlines())


def images(host: LabHost) -> list[str]:
    return host.docker("images", "-a", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()


@pytest.fixture(scope="package")
def package_swarm3() -> Iterator[SharedSwarm]:
    shared = SharedSwarm()
    try:
        yield shared
        shared.end()
    finally:
        shared.discard()


@pytest.fixture(scope="module")
def module_swarm3(package_swarm3: SharedSwarm) -> Iterator[SharedSwarm]:
    yield package_swarm3
    package_swarm3.pass_on()


@pytest.fixture
def swarm3(module_swarm3: SharedSwarm) -> Iterator[Lab]:
    """A manager (the first host) and two workers, without services."""
    lab = module_swarm3.lab()
    yield lab
    try:
        clean(lab)
    except BaseException:
        module_swarm3.discard()
        raise


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
