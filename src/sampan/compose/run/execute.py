"""Carry a plan out: threads, no decisions. A step that fails fails what waits for it, by name."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from sampan.client import Client, NotFound, containers, images, networks, volumes
from sampan.compose.errors import UsageError
from sampan.compose.model import create_request as bodies
from sampan.compose.model.canonical import hashes
from sampan.compose.model.engine_form import CONFIGS, SECRETS
from sampan.compose.model.printers import grant_path
from sampan.compose.model.project import Project
from sampan.compose.model.service import Service
from sampan.compose.plan.observed import ObservedContainer
from sampan.compose.plan.steps import (
    Await,
    BuildImage,
    CreateContainer,
    CreateNetwork,
    CreateVolume,
    Plan,
    PullImage,
    RemoveContainer,
    RemoveImage,
    RemoveNetwork,
    RemoveVolume,
    Signal,
    StartContainer,
    Step,
    StopContainer,
)
from sampan.compose.run.images import build_image, pull_image
from sampan.compose.run.progress import Progress
from sampan.compose.run.watch import Watch

_WORKERS = 8


@dataclass(slots=True)
class StepOutcome:
    """What became of a plan. ``failed`` holds the causes, ``skipped`` what fell with them."""

    failed: list[tuple[Step, BaseException]] = field(default_factory=list)
    skipped: list[Step] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.failed


class Executor:
    """Runs plans against one engine. ``ids``: containers made so far, by name."""

    def __init__(
        self,
        client: Client,
        project: Project,
        progress: Progress,
        before_start: Callable[[str, str], None] = lambda name, container: None,
    ) -> None:
        self.client = client
        self.project = project
        self.progress = progress
        self.before_start = before_start
        self.ids: dict[str, str] = {}
        self._watch: Watch | None = None

    def run(self, plan: Plan) -> StepOutcome:
        """Every step whose predecessors succeeded, as many at once as they allow."""
        outcome = StepOutcome()
        if not plan.steps:
            return outcome
        if any(isinstance(step.action, Await) for step in plan.steps):
            # Listening begins before the first start, so that no event is missed.
            self._watch = Watch(self.client, self.project.name)
        try:
            _Run(self, plan, outcome).run()
        finally:
            if self._watch is not None:
                self._watch.close()
                self._watch = None
        return outcome

    def do(self, step: Step) -> str:
        """Carry out one step; answers what to show behind it, if anything."""
        client, action = self.client, step.action
        match action:
            case PullImage(reference, platform):
                pull_image(client, reference, platform, self.progress)
            case BuildImage():
                build_image(client, action, self.progress)
            case CreateNetwork(network):
                made = networks.create(client, bodies.network_body(self.project, network))
                if made.get("Warning"):
                    self.progress.warn(str(made["Warning"]))
            case CreateVolume(volume):
                volumes.create(client, bodies.volume_body(self.project, volume))
            case CreateContainer():
                self._create(action)
            case StartContainer(name, known):
                container = known or self.ids[name]
                self.before_start(name, container)
                containers.start(client, container)
            case StopContainer(container_, timeout_s):
                containers.stop(client, container_.id, timeout_s=timeout_s)
            case RemoveContainer(container_, with_volumes, force):
                _gone(
                    lambda: containers.remove(
                        client, container_.id, force=force, volumes=with_volumes
                    )
                )
            case RemoveNetwork(name):
                _gone(lambda: networks.remove(client, name))
            case RemoveVolume(name):
                _gone(lambda: volumes.remove(client, name))
            case RemoveImage(reference):
                _gone(lambda: images.remove(client, reference))
            case Signal(container_, verb, signal, timeout_s):
                self._signal(container_, verb, signal, timeout_s)
            case Await():
                assert self._watch is not None
                return self._watch.wait(action, self.ids)
        return ""

    def _signal(
        self, container: ObservedContainer, verb: str, signal: str, timeout_s: int | None
    ) -> None:
        if verb == "restart":
            containers.restart(self.client, container.id, timeout_s=timeout_s)
        elif verb == "kill":
            containers.kill(self.client, container.id, signal or None)
        elif verb == "pause":
            containers.pause(self.client, container.id)
        else:
            containers.unpause(self.client, container.id)

    def _create(self, action: CreateContainer) -> None:
        old = action.replaces
        if old is None:
            self.ids[action.name] = self._post(action, action.name, {})
            return
        keep = old.anonymous if action.keep_volumes else {}
        # The new one is made under another name while the old one runs on: when it cannot be
        # made, nothing has happened. Until the old one is removed, every step can be undone.
        with ExitStack() as undo:
            container = self._post(action, f"{old.id[:12]}_{action.name}", keep)
            undo.callback(containers.remove, self.client, container, force=True)
            if old.running:
                containers.stop(self.client, old.id, timeout_s=action.timeout_s)
                undo.callback(containers.start, self.client, old.id)
            aside = f"{old.id[:12]}_{old.name}"[:200]
            if old.name == action.name:
                containers.rename(self.client, old.id, f"{aside}_old")
                undo.callback(containers.rename, self.client, old.id, old.name)
            containers.rename(self.client, container, action.name)
            undo.pop_all()
        self.ids[action.name] = container
        containers.remove(self.client, old.id, volumes=not action.keep_volumes)

    def _post(self, action: CreateContainer, name: str, keep: dict[str, str]) -> str:
        project, service = self.project, action.service
        digest, parts = hashes(project, service)
        image = action.image_id or images.inspect(self.client, project.image_of(service))["Id"]
        labels = bodies.container_labels(
            project, service, action.number, config_hash=digest, parts=parts
        )
        labels[bodies.PREFIX + "image"] = image
        return create_container(
            self.client,
            project,
            service,
            name,
            labels,
            alias=action.name,
            keep=keep,
            known=self.ids,
            warn=self.progress.warn,
        )


@dataclass(frozen=True, slots=True)
class OneOff:
    """What is special about a container of ``run``."""

    auto_remove: bool = False
    """The engine removes it when it ends."""
    service_aliases: bool = False
    """It answers to the service's name and aliases, as the service's own containers do."""


def create_container(
    client: Client,
    project: Project,
    service: Service,
    name: str,
    labels: dict[str, str],
    *,
    alias: str,
    keep: dict[str, str],
    known: dict[str, str],
    warn: Callable[[str], None],
    oneoff: OneOff | None = None,
) -> str:
    """Create and attach; answers the id. What was made is removed again when attaching fails.

    ``warn`` hears what the engine says that it does not honour.
    """
    peers = {
        other: known.get(bodies.container_name(project, s, 1), bodies.container_name(project, s, 1))
        for other, s in project.services.items()
    }
    request = bodies.container_body(
        project, service, alias, labels, keep_volumes=keep, containers=peers
    )
    if oneoff is not None:
        bodies.make_oneoff(
            request, alias, remove=oneoff.auto_remove, aliases=oneoff.service_aliases
        )
    later: list[tuple[str, Any]] = []
    endpoints = request["NetworkingConfig"]["EndpointsConfig"]
    if len(endpoints) > 1 and client.version < (1, 44):
        # Older engines take one network at creation; the others are connected behind it.
        first, *rest = endpoints.items()
        request["NetworkingConfig"]["EndpointsConfig"] = dict([first])
        later = rest
    made = containers.create(client, request, name=name, platform=service.platform or None)
    container = str(made["Id"])
    for warning in made.get("Warnings") or ():
        warn(f"container {name}: {warning}")
    with ExitStack() as undo:
        undo.callback(containers.remove, client, container, force=True, volumes=True)
        for network, settings in later:
            networks.connect(client, network, container, settings)
        for tar in secret_files(project, service):
            containers.archive_put(client, container, "/", iter([tar]))
        undo.pop_all()
    return container


def secret_files(project: Project, service: Service) -> list[bytes]:
    """A tar of the secrets and configs that are text in the file (files are bind-mounted)."""
    import io
    import tarfile

    wanted = [
        (grant, grant_path(grant, base), str(known[grant.source].content))
        for grants, known, base in (
            (service.secrets, project.secrets, SECRETS),
            (service.configs, project.configs, CONFIGS),
        )
        for grant in grants
        if known[grant.source].content is not None
    ]
    if not wanted:
        return []
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for grant, target, content in wanted:
            info = tarfile.TarInfo(target.lstrip("/"))
            data = content.encode()
            info.size, info.mode = len(data), 0o444 if grant.mode is None else grant.mode
            info.uid, info.gid = (_number(text) for text in (grant.uid, grant.gid))
            tar.addfile(info, io.BytesIO(data))
    return [buffer.getvalue()]


def _number(text: str) -> int:
    """An owner's number: names are the image's, and not known here."""
    if text and not text.isdecimal():
        raise UsageError(f"uid and gid of secrets and configs are numbers, not {text!r}")
    return int(text or 0)


def _gone(remove: Callable[[], Any]) -> None:
    with suppress(NotFound):  # somebody else was faster: it is as wanted
        remove()


class _Run:
    """One execution: which steps are ready, running, done."""

    def __init__(self, executor: Executor, plan: Plan, outcome: StepOutcome) -> None:
        self._executor = executor
        self._outcome = outcome
        self._todo = {step.n: step for step in plan.steps}
        self._done: set[int] = set()
        self._lost: set[int] = set()
        self._changed = threading.Condition()
        self._busy = 0
        self._waiting = 0

    def run(self) -> None:
        with self._changed:
            while self._todo or self._busy or self._waiting:
                self._skip_lost()
                self._launch()
                if self._busy or self._waiting:
                    self._changed.wait()

    def _skip_lost(self) -> None:
        for step in list(self._todo.values()):
            broken = self._lost & set(step.after)
            if broken:
                del self._todo[step.n]
                self._lost.add(step.n)
                self._outcome.skipped.append(step)
                self._executor.progress.skipped(step, min(broken))

    def _launch(self) -> None:
        for step in list(self._todo.values()):
            if not set(step.after) <= self._done:
                continue
            waits = isinstance(step.action, Await)
            if not waits and self._busy >= _WORKERS:
                continue
            del self._todo[step.n]
            if waits:
                self._waiting += 1
            else:
                self._busy += 1
            name = f"step {step.n}"
            threading.Thread(target=self._one, args=(step, waits), name=name, daemon=True).start()

    def _one(self, step: Step, waits: bool) -> None:
        progress = self._executor.progress
        failure: BaseException | None = None
        try:
            progress.begins(step)
            note = self._executor.do(step)
            progress.ends(step, note)
        except BaseException as error:  # noqa: BLE001 - a bug here must not leave the plan hanging
            failure = error
            progress.fails(step, error)
        with self._changed:
            if waits:
                self._waiting -= 1
            else:
                self._busy -= 1
            if failure is None:
                self._done.add(step.n)
            else:
                self._lost.add(step.n)
                self._outcome.failed.append((step, failure))
            self._changed.notify()
