"""One cluster under measurement, asked by the Engine API."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sampan.testing.lab import Lab, LabHost
from sampan.testing.lab.engine import Api, Refused

POLL_S = 0.02
WITHIN_S = 120.0


class Missed(Exception):
    """A case did not come to its end; the others go on."""


@dataclass
class Side:
    """One cluster of three hosts: host1 manages it."""

    name: str
    lab: Lab
    managers: int = 1
    scratch: Path = field(default_factory=Path)
    ready: set[str] = field(default_factory=set)
    """What has been prepared for several cases."""

    def api(self, host: LabHost) -> Api:
        return Api(host.daemon.socket)

    @property
    def first(self) -> LabHost:
        return self.lab.hosts[0]

    @property
    def manager(self) -> Api:
        return self.api(self.first)

    # -- services

    def create(self, name: str, **options: Any) -> str:
        made = self.manager.call("POST", "/services/create", spec(name, **options))
        return str(made["ID"])

    def scale(self, name: str, replicas: int) -> None:
        self.change(name, lambda s: s["Mode"]["Replicated"].update(Replicas=replicas))

    def change(self, name: str, change: Callable[[dict[str, Any]], object]) -> None:
        found = self.manager.call("GET", f"/services/{name}")
        change(found["Spec"])
        version = found["Version"]["Index"]
        self.manager.call("POST", f"/services/{name}/update", found["Spec"], version=version)

    def running(self, name: str, api: Api | None = None) -> list[dict[str, Any]]:
        """Its tasks that run and are meant to."""
        wanted = {"service": [name], "desired-state": ["running"]}
        tasks = (api or self.manager).call("GET", "/tasks", filters=wanted)
        return [t for t in tasks if t["Status"]["State"] == "running"]

    def until_running(self, name: str, count: int) -> None:
        until(f"{count} of {name} on {self.name}", lambda: len(self.running(name)) == count)

    def gone(self, name: str) -> bool:
        label = {"label": [f"com.docker.swarm.service.name={name}"]}
        return not any(
            self.api(host).call("GET", "/containers/json", all="1", filters=label)
            for host in self.lab.hosts
        )

    def remove(self, *names: str) -> None:
        for name in names:
            self.manager.call("DELETE", f"/services/{name}")
        for name in names:
            until(f"{name} gone on {self.name}", partial(self.gone, name))

    def container(self, name: str, host: LabHost) -> dict[str, Any]:
        """The service's one container on a host, inspected."""
        label = {"label": [f"com.docker.swarm.service.name={name}"]}
        (found,) = self.api(host).call("GET", "/containers/json", filters=label)
        inspected: dict[str, Any] = self.api(host).call("GET", f"/containers/{found['Id']}/json")
        return inspected

    def network(self, name: str) -> None:
        wanted = {"Name": name, "Driver": "overlay", "Attachable": True, "CheckDuplicate": True}
        self.manager.call("POST", "/networks/create", wanted)

    def remove_network(self, name: str) -> None:
        def removed() -> bool:
            try:
                self.manager.call("DELETE", f"/networks/{name}")
            except Refused as refused:
                return refused.status == 404
            return True

        until(f"network {name} gone", removed)

    def promote(self) -> None:
        """Make managers of all, once."""
        if self.managers == 3:
            return
        self.first.docker("node", "promote", "host2", "host3")

        def reachable() -> int:
            form = ("node", "ls", "--format", "{{.ManagerStatus}}")
            return self.first.docker(*form, ok=False).stdout.split().count("Reachable")

        until("three managers", lambda: reachable() == 2)
        self.managers = 3


def spec(
    name: str,
    *,
    replicas: int = 1,
    image: str = "busybox:latest",
    args: tuple[str, ...] = ("sleep", "3600"),
    on: str = "",
    networks: tuple[str, ...] = (),
    ports: tuple[dict[str, Any], ...] = (),
    vip: bool = False,
    parallelism: int = 1,
) -> dict[str, Any]:
    """A service as the API takes it."""
    container: dict[str, Any] = {"Image": image, "StopSignal": "SIGKILL"}
    if args:
        container["Args"] = args
    task: dict[str, Any] = {"ContainerSpec": container}
    if on:
        task["Placement"] = {"Constraints": [f"node.hostname=={on}"]}
    if networks:
        task["Networks"] = [{"Target": network} for network in networks]
    return {
        "Name": name,
        "TaskTemplate": task,
        "Mode": {"Replicated": {"Replicas": replicas}},
        "UpdateConfig": {"Parallelism": parallelism, "Order": "stop-first"},
        "EndpointSpec": {"Mode": "vip" if vip else "dnsrr", "Ports": ports},
    }


def until(what: str, done: Callable[[], object], deadline_s: float = WITHIN_S) -> None:
    deadline = time.monotonic() + deadline_s
    while True:
        with contextlib.suppress(OSError, Refused):
            if done():
                return
        if time.monotonic() > deadline:
            raise Missed(f"{what}: not within {deadline_s:.0f} s")
        time.sleep(POLL_S)


def since(begin: float) -> float:
    return time.perf_counter() - begin
