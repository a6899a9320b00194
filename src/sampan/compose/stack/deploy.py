"""Look at what a cluster has of a stack, and carry a plan out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sampan.client import ApiError, Client, NotFound, cluster, networks, services, stored
from sampan.compose.stack.model import NAMESPACE, Stack
from sampan.compose.stack.plan import CannotDeploy, StackPlan, StackSeen, StackStep

_REGISTRY_THREADS = 8
_RETRY_S = 0.1
Say = Callable[[str], None]


def observe(client: Client, name: str, stack: Stack | None = None) -> StackSeen:
    """What there is: with ``stack`` also the files that it names, and every network."""
    label = {"label": [f"{NAMESPACE}={name}"]}
    found = services.list_(client, label)
    secrets = _by_name(stored.list_(client, "secrets", label))
    configs = _by_name(stored.list_(client, "configs", label))
    attached = networks.list_(client, None if stack else label)
    if stack is not None:
        for kind, known, files in (
            ("secrets", secrets, stack.secrets),
            ("configs", configs, stack.configs),
        ):
            wanted = sorted({file.name for file in files.values()} - known.keys())
            if wanted:
                # The filter takes beginnings of names: only whole ones count.
                others = _by_name(stored.list_(client, kind, {"name": wanted}))
                known |= {key: item for key, item in others.items() if key in wanted}
    local_last = sorted(attached, key=lambda item: item.get("Scope") == "swarm")
    return StackSeen(
        {str(item["Name"]): item for item in local_last}, secrets, configs, _by_name(found)
    )


def _by_name(items: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {str(item["Spec"]["Name"]): item for item in items}


def pins(
    client: Client, images: Iterable[str], auth: Callable[[str], str | None]
) -> dict[str, str]:
    """image -> image with its digest, of those that a registry knows; all are asked at once."""
    from concurrent.futures import ThreadPoolExecutor

    from sampan.compose.stack.plan import tagged

    def one(image: str) -> tuple[str, str]:
        if "@" in image:
            return image, ""
        full = tagged(image)
        try:
            found = services.distribution(client, full, auth(full))
        except ApiError:
            return image, ""  # each node takes the tag as it finds it
        return image, f"{full}@{found['Descriptor']['digest']}"

    wanted = list(dict.fromkeys(images))
    if not wanted:
        return {}
    client.version  # noqa: B018 - asked once, before the threads would all ask
    with ThreadPoolExecutor(min(_REGISTRY_THREADS, len(wanted))) as pool:
        return {image: pinned for image, pinned in pool.map(one, wanted) if pinned}


class Deployment:
    """Carries a plan out, in its order. ``changed``: id -> name of the services it touched."""

    def __init__(
        self, client: Client, say: Say, warn: Say, auth: Callable[[str], str | None]
    ) -> None:
        """``auth``: image -> X-Registry-Auth to leave with the cluster, or None."""
        self._client = client
        self._say, self._warn = say, warn
        self._auth = auth
        self._made: dict[tuple[str, str], str] = {}
        self.changed: dict[str, str] = {}

    def run(self, plan: StackPlan) -> None:
        """Raises ApiError, CannotDeploy at the first step that fails; what was done stays."""
        for step in plan.steps:
            self._one(step)

    def _one(self, step: StackStep) -> None:
        if step.verb == "keep":
            return
        if step.verb == "remove":
            self._say(f"Removing {step.kind} {step.name}")
            _remove(self._client, step)
            return
        if step.kind == "service":
            self._service(step)
        elif step.kind == "network":
            self._say(f"Creating network {step.name}")
            try:
                made = networks.create(self._client, step.body)
            except ApiError as error:
                raise CannotDeploy(f"failed to create network {step.name}: {error}") from error
            if warning := made.get("Warning"):
                self._warn(str(warning))
        else:
            self._file(step)

    def _file(self, step: StackStep) -> None:
        kind = f"{step.kind}s"
        if step.verb == "create":
            self._say(f"Creating {step.kind} {step.name}")
            try:
                made = stored.create(self._client, kind, step.body)
            except ApiError as error:
                raise CannotDeploy(f"failed to create {step.kind} {step.name}: {error}") from error
            self._made[step.kind, step.name] = made
            return
        try:
            stored.update(self._client, kind, step.ref, step.version, step.body)
        except ApiError as error:
            hint = ""
            if "only updates to Labels" in str(error):
                hint = (
                    f": the content of a {step.kind} never changes: give the new one another "
                    "name (name: or another key)"
                )
            raise CannotDeploy(
                f"failed to update {step.kind} {step.name}: {error}{hint}"
            ) from error

    def _service(self, step: StackStep) -> None:
        spec = self._with_ids(step.body)
        image = str(spec["TaskTemplate"]["ContainerSpec"]["Image"])
        auth = self._auth(image)
        try:
            if step.verb == "create":
                self._say(f"Creating service {step.name}")
                made = services.create(self._client, spec, auth=auth)
                self.changed[str(made["ID"])] = step.name
                return
            self._say(f"Updating service {step.name} (id: {step.ref})")
            services.update(
                self._client,
                step.ref,
                step.version,
                spec,
                auth=auth,
                auth_from=None if auth else "spec",
            )
            self.changed[step.ref] = step.name
        except ApiError as error:
            raise CannotDeploy(f"failed to {step.verb} service {step.name}: {error}") from error

    def _with_ids(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The specification with the ids of what this very plan has made."""
        from copy import deepcopy

        spec = deepcopy(dict(body))
        part = spec["TaskTemplate"]["ContainerSpec"]
        for kind in ("Secret", "Config"):
            for grant in part.get(f"{kind}s") or ():
                made = self._made.get((kind.lower(), str(grant[f"{kind}Name"])))
                if made:
                    grant[f"{kind}ID"] = made
        return spec


def _remove(client: Client, step: StackStep) -> None:
    try:
        if step.kind == "service":
            services.remove(client, step.ref)
        elif step.kind == "network":
            networks.remove(client, step.ref)
        else:
            stored.remove(client, f"{step.kind}s", step.ref)
    except NotFound:
        return  # somebody else was faster: it is as wanted


def tasks_left(client: Client, name: str) -> int:
    """How many tasks of a stack have not ended."""
    found = cluster.tasks(client, {"label": [f"{NAMESPACE}={name}"]})
    over = ("complete", "shutdown", "failed", "rejected", "remove", "orphaned")
    return sum((task.get("Status") or {}).get("State") not in over for task in found)


def remove_stack(
    client: Client, plan: StackPlan, say: Say, wait: Callable[[float], None], patience_s: float
) -> list[str]:
    """Carry a removal out; sentences about what could not be removed.

    A network or secret is in use until the last task has ended, which takes the tasks' own time
    to stop: it is tried again for ``patience_s``.
    """
    failures: dict[str, str] = {}
    for step in plan.steps:
        say(f"Removing {step.kind} {step.name}")
        left = patience_s
        while True:
            try:
                _remove(client, step)
            except ApiError as error:
                busy = any(words in str(error) for words in ("in use", "active endpoints"))
                if busy and left > 0:
                    wait(_RETRY_S)
                    left -= _RETRY_S
                    continue
                failures[step.name] = f"Failed to remove {step.kind} {step.name}: {error}"
            break
    return list(failures.values())
