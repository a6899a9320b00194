"""What was built on one host runs on three, and no registry is anywhere near."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sampan.testing.lab import Lab, LabHost, swarm
from sampan.testing.place import wait_until

pytestmark = pytest.mark.only_sampan("Docker needs a registry to bring an image to another host")

CLASSIC = {"DOCKER_BUILDKIT": "0"}
RUNS_WITHIN_S = 40.0


def build(host: LabHost, directory: Path, name: str, megabytes: int = 1) -> str:
    """An image of random bytes, so that it is like no other. Returns its id."""
    directory.mkdir(exist_ok=True)
    (directory / "blob").write_bytes(os.urandom(megabytes * 1_000_000))
    lines = ("FROM busybox", "COPY blob /blob", 'CMD ["sleep", "1000"]', "STOPSIGNAL KILL")
    (directory / "Dockerfile").write_text("\n".join(lines))
    host.docker("build", "-qt", name, str(directory), env=CLASSIC)
    return image_id(host, name)


def image_id(host: LabHost, name: str) -> str:
    return host.docker("inspect", "-f", "{{.Id}}", name).stdout.strip()


def runs_everywhere(lab: Lab, service: str) -> bool:
    hosts = {host.name for host in lab.hosts}
    return wait_until(
        lambda: set(swarm.running(lab.hosts[0], service).values()) == hosts, RUNS_WITHIN_S
    )


def said(lab: Lab, service: str) -> str:
    return lab.hosts[0].docker("service", "ps", "--no-trunc", service).stdout


def test_what_was_built_here_runs_everywhere(swarm3: Lab, tmp_path: Path) -> None:
    one, *others = swarm3.hosts
    built = build(one, tmp_path / "context", "here:1")
    one.docker("service", "create", "-dq", "--name", "web", "--mode", "global", "here:1")
    assert runs_everywhere(swarm3, "web"), said(swarm3, "web")
    spec = "{{.Spec.TaskTemplate.ContainerSpec.Image}}"
    pinned = one.docker("service", "inspect", "-f", spec, "web").stdout.strip()
    assert pinned.startswith("here:1@sha256:")
    for host in others:
        assert image_id(host, "here:1") == built
        assert image_id(host, pinned) == built
    # Another service by the plain name, which nobody resolves.
    one.docker(
        "service", "create", "-dq", "--no-resolve-image", "--name", "again", "--mode", "global",
        "here:1",
    )  # fmt: skip
    assert runs_everywhere(swarm3, "again"), said(swarm3, "again")
    # The next build of the same name: everybody gets it, and the name moves.
    newer = build(one, tmp_path / "context", "here:1")
    assert newer != built
    one.docker("service", "update", "-q", "-d", "--image", "here:1", "web")

    def moved() -> bool:
        return all(image_id(host, "here:1") == newer for host in others)

    assert wait_until(moved, RUNS_WITHIN_S), said(swarm3, "web")
    assert runs_everywhere(swarm3, "web"), said(swarm3, "web")


def test_a_name_that_nobody_pinned_comes_from_a_worker(swarm3: Lab, tmp_path: Path) -> None:
    one, two, _ = swarm3.hosts
    built = build(two, tmp_path / "context", "there:1")
    one.docker("service", "create", "-dq", "--name", "web", "--mode", "global", "there:1")
    assert runs_everywhere(swarm3, "web"), said(swarm3, "web")
    assert image_id(one, "there:1") == built


def test_nobody_has_it(swarm3: Lab) -> None:
    one = swarm3.hosts[0]
    done = one.docker(
        "service", "create", "-d", "--name", "web", "--restart-condition", "none", "nosuch:1"
    )
    assert "could not be accessed on a registry" in " ".join(done.stderr.split())
    assert wait_until(lambda: "No such image: nosuch:1: not on this node" in said(swarm3, "web"))
    assert "not on host" in said(swarm3, "web")


def test_killed_while_an_image_comes_in(swarm3: Lab, tmp_path: Path) -> None:
    one, two, _ = swarm3.hosts
    built = build(one, tmp_path / "context", "large:1", megabytes=120)
    before = len(os.listdir(two.daemon.root / "layers"))
    scratch = two.daemon.root / "tmp"

    def coming() -> bool:
        return any(name.startswith("layer-") for name in os.listdir(scratch))

    # The task is that of the daemon that comes back, however long it takes to start.
    with swarm.heartbeat(one, "30s"):
        one.docker(
            "service", "create", "-dq", "--name", "web", "--constraint", "node.hostname==host2",
            "large:1",
        )  # fmt: skip
        assert wait_until(coming, RUNS_WITHIN_S), said(swarm3, "web")
        two.daemon.kill()
        two.daemon.start()
        assert wait_until(
            lambda: set(swarm.running(one, "web").values()) == {"host2"}, RUNS_WITHIN_S
        ), said(swarm3, "web")
    assert image_id(two, "large:1") == built
    assert os.listdir(scratch) == []
    assert len(os.listdir(two.daemon.root / "layers")) == before + 1
