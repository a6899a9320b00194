"""What the tests and the demo do with services, by the stock docker command."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sampan.testing.lab import swarm
from sampan.testing.lab.host import LabHost
from sampan.testing.lab.lab import Lab
from sampan.testing.place import wait_until
from sampan.testing.rootfs import debian_with

CONVERGES_WITHIN_S = 30.0
SERVE = "mkdir /w; hostname > /w/index.html; exec httpd -f -p 80 -h /w"
"""A shell's words for a page with the container's hostname."""
EXAMPLES = Path(__file__).parents[4] / "examples" / "cluster"


def create(manager: LabHost, name: str, *words: str, quick_stop: bool = True) -> str:
    """``service create``; returns its id at once. With ``quick_stop`` tasks end without a word."""
    quick = ("--stop-signal", "KILL") if quick_stop else ()
    made = manager.docker(
        "service", "create", "-dq", "--no-resolve-image", *quick, "--name", name, *words
    )
    return made.stdout.strip()


def wait_for(condition: Callable[[], object], manager: LabHost, service: str, what: str,
             deadline_s: float = CONVERGES_WITHIN_S) -> None:  # fmt: skip
    """Wait for ``condition``; fails with the tasks of ``service``."""
    if not wait_until(condition, deadline_s):
        listed = manager.docker("service", "ps", "--no-trunc", service, ok=False)
        raise AssertionError(f"{service}: {what}?\n{listed.stdout}{listed.stderr}")


def wait_running(
    manager: LabHost, service: str, count: int, deadline_s: float = CONVERGES_WITHIN_S
) -> dict[str, str]:
    """Wait until exactly so many tasks run and none else is meant to; task name -> host."""

    def settled() -> bool:
        return len(swarm.running(manager, service)) == count == len(wanted(manager, service))

    wait_for(settled, manager, service, f"{count} running tasks", deadline_s)
    return swarm.running(manager, service)


def wanted(manager: LabHost, service: str) -> list[dict[str, Any]]:
    """The tasks that are meant to run, whether they do or not, as ``service ps`` lists them."""
    return tasks(manager, service, "--filter", "desired-state=running")


def tasks(manager: LabHost, service: str, *filters: str) -> list[dict[str, Any]]:
    """``service ps``, newest first of each slot."""
    wanted = ("service", "ps", "--no-trunc", *filters, "--format", "{{json .}}", service)
    return [json.loads(line) for line in manager.docker(*wanted, ok=False).stdout.splitlines()]


def complaints(manager: LabHost) -> list[str]:
    """What the tasks of all services say of themselves that are not as they should be: each
    different error once, with a task that has it and where; the user's own way to look."""
    listed = manager.docker("service", "ls", "--format", "{{.Name}}", ok=False).stdout.split()
    found: dict[str, str] = {}
    for service in listed:
        for task in tasks(manager, service):
            if error := task["Error"].strip('"'):
                place = f" on {task['Node']}" if task["Node"] else ""
                found.setdefault(error, f"{task['Name']}{place}: {task['CurrentState']}: {error}")
    return list(found.values())


def inspect(manager: LabHost, service: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(manager.docker("service", "inspect", service).stdout)
    return found[0]


def update_state(manager: LabHost, service: str) -> str:
    return str((inspect(manager, service).get("UpdateStatus") or {}).get("State", ""))


def containers(lab: Lab, service: str) -> dict[str, list[str]]:
    """Host -> ids of the service's running containers on it, asked of each host itself."""
    label = ("--filter", f"label=com.docker.swarm.service.name={service}")
    return {
        host.name: host.docker("ps", "-q", *label).stdout.split()
        for host in lab.hosts
        if host.machine.alive
    }


def inside(lab: Lab, service: str) -> tuple[LabHost, str]:
    """A host and the id of a running container of the service there."""
    for host in lab.hosts:
        if found := containers(lab, service).get(host.name):
            return host, found[0]
    raise AssertionError(f"no container of {service} runs")


def remove(lab: Lab, *services: str) -> None:
    """``service rm``, and wait until no host has a container."""
    lab.hosts[0].docker("service", "rm", *services)
    for host in lab.hosts:
        if not swarm.empty(host):
            raise AssertionError(f"{host.name} keeps:\n{host.docker('ps', '-a').stdout}")


def fetch(host: LabHost, url: str, deadline_s: float = 5.0) -> str:
    """A page as ``host`` sees it; asked again until it comes."""
    until = time.monotonic() + deadline_s
    while True:
        got = host.run("curl", "-sS", "-m", "3", url, ok=False)
        if got.returncode == 0:
            return got.stdout.strip()
        if time.monotonic() > until:
            raise AssertionError(f"{host.name}: {url}: {got.stderr}")


def build_nginx(host: LabHost, *versions: str) -> None:
    """Make the images ``nginx:VERSION`` on this one host, from the distribution's packages."""
    host.docker("import", str(debian_with("nginx-light")), "nginx-base", timeout=120)
    for version in versions:
        made = ("build", "-q", "-t", f"nginx:{version}", "--build-arg", f"VERSION={version}")
        host.docker(*made, str(EXAMPLES / "nginx"), env={"DOCKER_BUILDKIT": "0"}, timeout=120)
