"""``up``: a pure function from (model, observed, options) to a plan."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sampan.compose.errors import UsageError
from sampan.compose.model.canonical import hashes, network_hash
from sampan.compose.model.create_request import PREFIX, container_name
from sampan.compose.model.project import Project, chosen
from sampan.compose.model.service import Service
from sampan.compose.model.values import COMPLETED, HEALTHY, STARTED
from sampan.compose.plan.observed import Observed, ObservedContainer
from sampan.compose.plan.steps import (
    Await,
    BuildImage,
    CreateContainer,
    CreateNetwork,
    CreateVolume,
    Plan,
    PullImage,
    RemoveContainer,
    StartContainer,
    StopContainer,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    services: tuple[str, ...] = ()
    """Empty: all of them."""
    scale: Mapping[str, int] = field(default_factory=dict)
    build: bool = False
    no_build: bool = False
    pull: str = ""
    """``always``, ``missing``, ``never`` or empty: as each service says."""
    force_recreate: bool = False
    no_recreate: bool = False
    deps: bool = True
    remove_orphans: bool = False
    start: bool = True
    renew_volumes: bool = False
    timeout_s: int | None = None


def plan_up(project: Project, observed: Observed, options: UpOptions) -> Plan:
    """What to do so that the chosen services are as the file says. Raises UsageError."""
    return _Up(project, observed, options).plan()


class _Up:
    def __init__(self, project: Project, observed: Observed, options: UpOptions) -> None:
        self.project = project
        self.observed = observed
        self.options = options
        self.out = Plan()
        self.names = chosen(project, options.services, options.deps)
        self.networks: dict[str, int] = {}
        self.volumes: dict[str, int] = {}
        self.images: dict[str, int] = {}
        self.image_why: dict[str, str] = {}
        self.created: dict[str, list[int]] = {}
        self.started: dict[str, list[int]] = {}
        self.replicas: dict[str, list[tuple[str, str]]] = {}
        self.awaited: dict[tuple[str, str], int] = {}
        self.recreated: set[str] = set()

    def plan(self) -> Plan:
        self._networks()
        self._volumes()
        for name in self.names:
            self._image(self.project.services[name])
        # Every creation comes before the first start: what cannot be created stops nothing
        # that runs, and creations do not wait for one another's health.
        for name in self.names:
            self._containers(self.project.services[name])
        if self.options.start:
            for name in self.names:
                self._starts(self.project.services[name])
        self._orphans()
        return self.out

    def _networks(self) -> None:
        used = {a.network for n in self.names for a in self.project.services[n].attachments}
        for key, network in self.project.networks.items():
            if key not in used:
                continue
            labels = self.observed.networks.get(network.name)
            if network.external:
                if labels is None and network.name not in ("host", "bridge", "none"):
                    raise UsageError(
                        f"the network {network.name} is declared as external, but is not there: "
                        f"make it with `network create {network.name}`"
                    )
            elif labels is None:
                action = CreateNetwork(network)
                self.networks[key] = self.out.add(
                    "create", f"network {network.name}", "new", action
                )
            else:
                self._foreign("network", network.name, labels)
                old = labels.get(PREFIX + "config-hash")
                if old and PREFIX + "network" in labels and old != network_hash(network):
                    self._network_changed(network.name, labels)

    def _network_changed(self, name: str, labels: Mapping[str, str]) -> None:
        from sampan import __version__

        if labels.get(PREFIX + "version") == __version__:  # others hash differently
            self.out.warnings.append(
                f"the network {name} was made with another configuration and is used as it is; "
                "`down` and `up` make it anew"
            )

    def _foreign(self, kind: str, name: str, labels: Mapping[str, str]) -> None:
        if labels.get(PREFIX + "project") != self.project.name:
            self.out.warnings.append(
                f"the {kind} {name} was not made by this project: "
                "mark it `external: true` if that is intended"
            )

    def _volumes(self) -> None:
        used = {m.source for n in self.names for m in self.project.services[n].mounts}
        for key, volume in self.project.volumes.items():
            if key not in used:
                continue
            labels = self.observed.volumes.get(volume.name)
            if volume.external:
                if labels is None:
                    raise UsageError(
                        f"the volume {volume.name} is declared as external, but is not there: "
                        f"make it with `volume create {volume.name}`"
                    )
            elif labels is None:
                action = CreateVolume(volume)
                self.volumes[key] = self.out.add("create", f"volume {volume.name}", "new", action)
            else:
                self._foreign("volume", volume.name, labels)

    def _image(self, service: Service) -> None:
        reference = self.project.image_of(service)
        if reference in self.images or self._replicas(service) == 0:
            return
        here = reference in self.observed.images
        policy = self.options.pull or service.pull_policy
        if service.build is not None and not self.options.no_build:
            why = ""
            if self.options.build or policy == "build":
                why = "asked for"
            elif not here:
                why = "no image yet"
            if why:
                action = BuildImage(service, reference, pull=self.options.pull == "always")
                self.images[reference] = self.out.add("build", f"image {reference}", why, action)
                return
        if policy == "always" and service.build is None:
            why = "pull policy is always"
        elif not here and policy != "never" and service.build is None:
            why = "not here"
        elif not here:
            raise UsageError(
                f'service "{service.name}": the image {reference} is not here and may not be '
                + ("built: leave --no-build away" if service.build else "pulled")
            )
        else:
            return
        pull = PullImage(reference, service.platform)
        self.images[reference] = self.out.add("pull", f"image {reference}", why, pull)

    def _replicas(self, service: Service) -> int:
        return self.options.scale.get(service.name, service.replicas)

    def _containers(self, service: Service) -> None:
        existing = self.observed.of(service.name)
        wanted = self._replicas(service)
        if service.container_name and wanted > 1:
            raise UsageError(
                f'service "{service.name}" has a fixed container_name: it cannot be scaled'
            )
        self.created[service.name] = []
        self.replicas[service.name] = []
        # Running ones are kept first when there are too many, then the oldest.
        ranked = sorted(existing, key=lambda c: (not c.running, _left_over(c), c.number))
        gone = [
            self._remove(extra, _left_over(extra) or "scaled down") for extra in ranked[wanted:]
        ]
        kept = sorted(ranked[:wanted], key=lambda c: c.number)
        for container in kept:
            why = _left_over(container) or self._outdated(service, container)
            if why:
                self._create(service, container.number, why, container, gone)
            else:
                self.replicas[service.name].append((container.name, container.id))
        numbers = {c.number for c in kept}
        number = 1
        for _ in range(wanted - len(kept)):
            while number in numbers:
                number += 1
            numbers.add(number)
            self._create(service, number, "new" if not existing else "scaled up", None, gone)

    def _create(
        self,
        service: Service,
        number: int,
        why: str,
        old: ObservedContainer | None,
        gone: list[int],
    ) -> None:
        name = container_name(self.project, service, number)
        # What goes away may hold the name or the port of what comes.
        waits: list[int | None] = [self.images.get(self.project.image_of(service)), *gone]
        waits += [self.networks.get(a.network) for a in service.attachments]
        waits += [self.volumes.get(m.source) for m in service.mounts]
        for dependency in (*service.shared_with(), *(li.partition(":")[0] for li in service.links)):
            waits += self.created.get(dependency, [])
        keep = not self.options.renew_volumes
        image = self.project.image_of(service)
        known = "" if image in self.images else self.observed.images.get(image, "")
        action = CreateContainer(service, number, name, known, old, keep, self.options.timeout_s)
        verb = "recreate" if old else "create"
        step = self.out.add(verb, f"container {name}", why, action, *waits)
        self.created[service.name].append(step)
        self.replicas[service.name].append((name, ""))
        if old:
            self.recreated.add(service.name)

    def _outdated(self, service: Service, container: ObservedContainer) -> str:
        """Why ``container`` has to be replaced; empty when it need not be."""
        named = not self.options.services or service.name in self.options.services
        if self.options.no_recreate:
            return ""
        if self.options.force_recreate and named:
            return "recreation asked for"
        digest, parts = hashes(self.project, service)
        if container.config_hash != digest:
            return self._difference(container, parts)
        image = self.project.image_of(service)
        here = self.observed.images.get(image)
        if here and container.image_id and container.image_id != here:
            return "image changed"
        for attachment in service.attachments:
            network = self.project.networks[attachment.network]
            there = self.observed.network_ids.get(network.name)
            if network.name not in container.networks:
                return f"not attached to {network.name}"
            if attachment.network in self.networks:
                return f"network {network.name} is new"
            mine = container.networks[network.name]
            if there and mine and there != mine and network.name != "host":
                return f"network {network.name} was made anew"
        gone = [name for name in service.shared_with() if name in self.recreated]
        if gone:
            return f"dependency recreated: {', '.join(gone)}"
        return ""

    @staticmethod
    def _difference(container: ObservedContainer, parts: Mapping[str, str]) -> str:
        if not container.parts:
            by = container.made_by or "something else"
            return f"config hash differs (made by compose {by})"
        keys = sorted(
            k for k in {*parts, *container.parts} if parts.get(k) != container.parts.get(k)
        )
        return f"config changed: {', '.join(keys)}"

    def _remove(self, container: ObservedContainer, why: str) -> int:
        stop = None
        if container.running:
            action = StopContainer(container, self.options.timeout_s)
            stop = self.out.add("stop", f"container {container.name}", why, action)
        gone = RemoveContainer(container)
        return self.out.add("remove", f"container {container.name}", why, gone, stop)

    def _starts(self, service: Service) -> None:
        self.started[service.name] = []
        waits: list[int | None] = []
        reasons = self.replicas[service.name]
        fresh = bool(self.created[service.name])
        stopped = [
            s for s in self.observed.of(service.name) if not s.running or s.state == "paused"
        ]
        if not fresh and not any((s.name, s.id) in reasons for s in stopped):
            restart = [
                d.service for d in service.depends_on if d.restart and d.service in self.recreated
            ]
            self.out.unchanged += [name for name, _ in reasons]
            if restart:
                self._restarts(service, restart)
            return
        for dependency in service.depends_on:
            waits += self._dependency(dependency.service, dependency.condition)
        for name in service.shared_with():
            waits += self.started.get(name, [])
        for link in service.links:
            waits += self.started.get(link.partition(":")[0], [])
        created = {
            step.action.name: step.n
            for step in self.out.steps
            if isinstance(step.action, CreateContainer) and step.n in self.created[service.name]
        }
        states = {s.name: s.state for s in self.observed.of(service.name)}
        for name, known in reasons:
            if not known:
                why = "created"
            elif states.get(name) in ("running", "restarting"):
                self.out.unchanged.append(name)
                continue
            else:
                why = f"it is {states.get(name, 'stopped')}"
            action = StartContainer(name, known)
            step = self.out.add(
                "start", f"container {name}", why, action, created.get(name), *waits
            )
            self.started[service.name].append(step)

    def _restarts(self, service: Service, because: list[str]) -> None:
        from sampan.compose.plan.steps import Signal

        waits = [step for name in because for step in self.started.get(name, [])]
        for container in self.observed.of(service.name):
            why = f"dependency recreated: {', '.join(because)}"
            action = Signal(container, "restart", timeout_s=self.options.timeout_s)
            self.out.add("restart", f"container {container.name}", why, action, *waits)

    def _dependency(self, name: str, condition: str) -> list[int]:
        """The steps behind which a dependent may start."""
        steps = self.started.get(name, [])
        if condition == STARTED or name not in self.replicas:
            return steps
        known = self.awaited.get((name, condition))
        if known is None:
            containers = self.replicas[name]
            action = Await(
                name, tuple(n for n, _ in containers), condition, {n: i for n, i in containers if i}
            )
            words = {HEALTHY: "healthy", COMPLETED: "completed"}[condition]
            known = self.out.add("wait", f"service {name}", f"until {words}", action, *steps)
            self.awaited[(name, condition)] = known
        return [known]

    def _orphans(self) -> None:
        known = {*self.project.services, *self.project.disabled}
        orphans = [c for c in self.observed.containers if not c.oneoff and c.service not in known]
        if orphans and self.options.remove_orphans:
            for container in orphans:
                self._remove(container, "its service is no longer in the file")
        elif orphans:
            names = ", ".join(c.name for c in orphans)
            self.out.warnings.append(
                f"containers of services that are not in the file: {names}; "
                "--remove-orphans removes them"
            )


def _left_over(container: ObservedContainer) -> str:
    """Why a container with a temporary name is there; empty for all others."""
    temporary = re.match(r"[0-9a-f]{12}_", container.name)
    return "left by an interrupted recreation" if temporary else ""
