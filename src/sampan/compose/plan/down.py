"""``down``, ``stop``, ``rm``, ``restart`` ...: pure functions from what is there to a plan."""

from __future__ import annotations

from collections.abc import Iterable

from sampan.compose.model.project import Project
from sampan.compose.plan.observed import ObservedContainer
from sampan.compose.plan.steps import (
    Plan,
    RemoveContainer,
    RemoveImage,
    RemoveNetwork,
    RemoveVolume,
    Signal,
    StartContainer,
    StopContainer,
)


def plan_down(
    containers: Iterable[ObservedContainer],
    *,
    networks: Iterable[str] = (),
    volumes: Iterable[str] = (),
    images: Iterable[str] = (),
    anonymous: bool = False,
    timeout_s: int | None = None,
) -> Plan:
    """Stop and remove ``containers``, dependents first; then the rest.

    ``anonymous``: their anonymous volumes too.
    """
    plan = Plan()
    there = list(containers)
    removed: list[int] = []
    stops = _stop_all(plan, there, timeout_s, "down")
    for container in there:
        action = RemoveContainer(container, volumes=anonymous, force=container.state == "dead")
        target = f"container {container.name}"
        removed.append(plan.add("remove", target, "down", action, stops.get(container.id)))
    for name in networks:
        plan.add("remove", f"network {name}", "down", RemoveNetwork(name), *removed)
    # One that outlived a recreation is a named volume to the engine: it does not go by itself.
    kept = [n for c in there for n in c.anonymous.values()] if anonymous else []
    for name in (*volumes, *sorted(set(kept))):
        plan.add("remove", f"volume {name}", "volumes asked for", RemoveVolume(name), *removed)
    for name in images:
        plan.add("remove", f"image {name}", "images asked for", RemoveImage(name), *removed)
    return plan


def plan_stop(containers: Iterable[ObservedContainer], timeout_s: int | None = None) -> Plan:
    """Stop what runs, dependents first."""
    plan = Plan()
    _stop_all(plan, list(containers), timeout_s, "asked for")
    return plan


def _stop_all(
    plan: Plan, there: list[ObservedContainer], timeout_s: int | None, why: str
) -> dict[str, int]:
    """A service is stopped when everything that depends on it has stopped."""
    stops: dict[str, int] = {}
    by_service: dict[str, list[ObservedContainer]] = {}
    for container in there:
        by_service.setdefault(container.service, []).append(container)
    dependents: dict[str, set[str]] = {name: set() for name in by_service}
    for container in there:
        for dependency in container.depends_on:
            if dependency in dependents and dependency != container.service:
                dependents[dependency].add(container.service)
    visited: dict[str, list[int]] = {}

    def visit(name: str, trail: tuple[str, ...]) -> list[int]:
        if name in visited:
            return visited[name]
        if name in trail:  # labels of different ages may contradict each other
            return []
        waits = [n for d in sorted(dependents[name]) for n in visit(d, (*trail, name))]
        own = []
        for container in by_service[name]:
            if container.running:
                action = StopContainer(container, timeout_s)
                step = plan.add("stop", f"container {container.name}", why, action, *waits)
                stops[container.id] = step
                own.append(step)
        visited[name] = own or waits
        return visited[name]

    for name in by_service:
        visit(name, ())
    return stops


def plan_start(project: Project, containers: Iterable[ObservedContainer]) -> Plan:
    """Start what is stopped, dependencies first."""
    plan = Plan()
    steps: dict[str, list[int]] = {}
    there = list(containers)
    for name in project.order():
        waits = [n for d in project.services[name].dependencies() for n in steps.get(d.service, [])]
        for container in there:
            if container.service == name and not container.running:
                action = StartContainer(container.name, container.id)
                why = f"it is {container.state}"
                step = plan.add("start", f"container {container.name}", why, action, *waits)
                steps.setdefault(name, []).append(step)
    return plan


def plan_remove(
    containers: Iterable[ObservedContainer],
    *,
    stop: bool = False,
    volumes: bool = False,
    timeout_s: int | None = None,
) -> Plan:
    """``rm``: remove what is stopped; with ``stop`` also what runs."""
    plan = Plan()
    there = [c for c in containers if stop or not c.running]
    stops = _stop_all(plan, there, timeout_s, "to be removed")
    for container in there:
        action = RemoveContainer(container, volumes)
        target = f"container {container.name}"
        plan.add("remove", target, "asked for", action, stops.get(container.id))
    return plan


def plan_signal(
    containers: Iterable[ObservedContainer],
    verb: str,
    *,
    signal: str = "",
    timeout_s: int | None = None,
) -> Plan:
    """``kill``, ``pause``, ``unpause`` or ``restart`` each container that it applies to."""
    plan = Plan()
    for container in containers:
        applies = {
            "restart": True,
            "kill": container.running,
            "pause": container.state == "running",
            "unpause": container.state == "paused",
        }[verb]
        if applies:
            action = Signal(container, verb, signal, timeout_s)
            plan.add(verb, f"container {container.name}", "asked for", action)
    return plan


def plan_restart(
    containers: Iterable[ObservedContainer],
    services: tuple[str, ...],
    *,
    deps: bool = True,
    timeout_s: int | None = None,
) -> Plan:
    """``restart``: the containers of ``services`` (none: all), then those that depend on them
    with ``restart: true``, unless ``deps`` is off."""
    plan = Plan()
    there = list(containers)
    why = {c.service: "asked for" for c in there if not services or c.service in services}
    grown = deps
    while grown:
        more = {
            c.service: f"its dependency {name} restarts"
            for c in there
            for name in c.restarts_with
            if name in why and c.service not in why
        }
        why |= more
        grown = bool(more)
    steps: dict[str, list[int]] = {}
    for name in _dependencies_first(there, why):
        for container in there:
            if container.service == name:
                waits = [n for d in container.restarts_with for n in steps.get(d, [])]
                action = Signal(container, "restart", "", timeout_s)
                target = f"container {container.name}"
                step = plan.add("restart", target, why[name], action, *waits)
                steps.setdefault(name, []).append(step)
    return plan


def _dependencies_first(there: list[ObservedContainer], names: Iterable[str]) -> list[str]:
    needs = {c.service: c.restarts_with for c in there}
    wanted, done = set(names), dict[str, None]()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in done or name in trail or name not in wanted:
            return
        for dependency in needs.get(name, ()):
            visit(dependency, (*trail, name))
        done[name] = None

    for name in sorted(wanted):
        visit(name, ())
    return list(done)
