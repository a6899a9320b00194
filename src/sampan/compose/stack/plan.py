"""What has to be done to make a cluster run a stack: a pure function of the file and what is there.

The plan is a list of steps in the order in which they are carried out, each with its reason;
``stack deploy --dry-run`` prints it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sampan.compose.model.project import Network
from sampan.compose.stack.diff import differences
from sampan.compose.stack.model import IMAGE, Stack, StackFile
from sampan.compose.stack.spec import file_spec, network_body, service_spec
from sampan.errors import InvalidArgument

Kind = Literal["network", "secret", "config", "service"]
Verb = Literal["create", "update", "keep", "remove"]
_BUILTIN = frozenset({"bridge", "host", "none"})
"""Networks of every node, which are in no list of the cluster's."""


class CannotDeploy(InvalidArgument):
    """Something that the file counts on is not there."""


@dataclass(frozen=True, slots=True)
class StackSeen:
    """What the cluster has. Each object is the API's JSON."""

    networks: Mapping[str, Mapping[str, Any]]
    """All of the cluster, by name."""
    secrets: Mapping[str, Mapping[str, Any]]
    """Of the stack and those that the file names, by name."""
    configs: Mapping[str, Mapping[str, Any]]
    services: Mapping[str, Mapping[str, Any]]
    """Of the stack, by name."""


@dataclass(frozen=True, slots=True)
class StackStep:
    verb: Verb
    kind: Kind
    name: str
    reason: str
    ref: str = ""
    """The id of what is there already."""
    version: int = 0
    body: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.verb:<6} {self.kind} {self.name}  ({self.reason})"


@dataclass(frozen=True, slots=True)
class StackPlan:
    steps: tuple[StackStep, ...]
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(map(str, self.steps)) or "nothing to do"

    def of(self, kind: Kind) -> list[StackStep]:
        """The steps about one kind of object."""
        return [step for step in self.steps if step.kind == kind]


def plan_deploy(
    stack: Stack,
    seen: StackSeen,
    *,
    prune: bool = False,
    pins: Mapping[str, str] | None = None,
) -> StackPlan:
    """The plan. ``pins``: image -> the image with its digest, where a registry told it.

    Raises:
        CannotDeploy: an external network, secret or config is missing.
    """
    warnings: list[str] = []
    steps: list[StackStep] = []
    if prune:
        wanted = {stack.scoped(name) for name in stack.services}
        steps += [
            StackStep("remove", "service", name, "the file has it no more", str(old["ID"]))
            for name, old in sorted(seen.services.items())
            if name not in wanted
        ]
    for network in stack.networks.values():
        steps += _network(stack, network, seen, warnings)
    used_secrets = _used(stack, "secrets", stack.secrets)
    used_configs = _used(stack, "configs", stack.configs)
    for file in used_secrets:
        steps += _file(stack, "secret", file, seen.secrets)
    for file in used_configs:
        steps += _file(stack, "config", file, seen.configs)
    for name in sorted(stack.services):
        steps.append(_service(stack, name, seen, pins or {}))
    return StackPlan(tuple(steps), tuple(warnings))


def plan_remove(stack: str, seen: StackSeen) -> StackPlan:
    """Everything of a stack goes; users before what they use."""
    why = f"it belongs to the stack {stack}"
    steps: list[StackStep] = []
    kinds: tuple[tuple[Kind, Mapping[str, Mapping[str, Any]]], ...] = (
        ("service", seen.services),
        ("secret", seen.secrets),
        ("config", seen.configs),
        ("network", seen.networks),
    )
    for kind, known in kinds:
        for name, item in sorted(known.items()):
            ref = str(item.get("ID") or item.get("Id"))
            steps.append(StackStep("remove", kind, name, why, ref))
    return StackPlan(tuple(steps))


def _used(
    stack: Stack, section: Literal["secrets", "configs"], files: Mapping[str, StackFile]
) -> list[StackFile]:
    """Files that the file defines, and those from outside that a service uses."""
    wanted = {
        grant.source
        for one in stack.services.values()
        for grant in (one.secrets if section == "secrets" else one.configs)
    }
    return [file for key, file in files.items() if key in wanted or not file.external]


def _network(
    stack: Stack, network: Network, seen: StackSeen, warnings: list[str]
) -> list[StackStep]:
    there = seen.networks.get(network.name)
    if network.external:
        if network.name in _BUILTIN:
            return []
        if there is None:
            raise CannotDeploy(
                f'network "{network.name}" is declared as external, but could not be found. You '
                "need to create a swarm-scoped network before the stack is deployed"
            )
        if there.get("Scope") != "swarm":
            raise CannotDeploy(
                f'network "{network.name}" is declared as external, but it is not in the right '
                f'scope: "{there.get("Scope")}" instead of "swarm"'
            )
        return []
    body = network_body(stack, network)
    if there is None or there.get("Scope") != "swarm":
        return [StackStep("create", "network", network.name, "it does not exist", body=body)]
    changed = [
        key.lower()
        for key in ("Driver", "Internal", "Attachable")
        if there.get(key, body[key]) != body[key]
    ]
    if changed:
        warnings.append(
            f"network {network.name} differs from the file ({', '.join(changed)}) and cannot be "
            "changed: remove it to have it made anew"
        )
    return [StackStep("keep", "network", network.name, "it exists", str(there["Id"]))]


def _file(
    stack: Stack,
    kind: Literal["secret", "config"],
    file: StackFile,
    known: Mapping[str, Mapping[str, Any]],
) -> list[StackStep]:
    there = known.get(file.name)
    if file.external:
        if there is None:
            raise CannotDeploy(f"{kind} not found: {file.name}")
        return []
    spec = file_spec(stack, file)
    if there is None:
        return [StackStep("create", kind, file.name, "it does not exist", body=spec)]
    old = there["Spec"]
    ref, version = str(there["ID"]), int(there["Version"]["Index"])
    if kind == "config":
        if (old.get("Data") or "") != spec.get("Data", ""):
            raise CannotDeploy(
                f"failed to update config {file.name}: its content has changed, and the content "
                "of a config never changes: give the new one another name (name: or another key)"
            )
        if (old.get("Labels") or {}) == spec["Labels"]:
            return [StackStep("keep", kind, file.name, "unchanged", ref)]
        return [StackStep("update", kind, file.name, "its labels changed", ref, version, spec)]
    # A secret's content cannot be read back: the manager compares, and refuses a changed one.
    return [StackStep("update", kind, file.name, "content is compared there", ref, version, spec)]


def _service(stack: Stack, key: str, seen: StackSeen, pins: Mapping[str, str]) -> StackStep:
    name = stack.scoped(key)
    secrets = {n: str(item["ID"]) for n, item in seen.secrets.items()}
    configs = {n: str(item["ID"]) for n, item in seen.configs.items()}
    spec = service_spec(stack, stack.services[key], secrets, configs)
    part = spec["TaskTemplate"]["ContainerSpec"]
    image = str(part["Image"])
    there = seen.services.get(name)
    if there is None:
        part["Image"] = pins.get(image) or tagged(image)
        return StackStep("create", "service", name, "it does not exist", body=spec)
    old = there["Spec"]
    same_image = (old.get("Labels") or {}).get(IMAGE) == image
    running = str(old["TaskTemplate"]["ContainerSpec"].get("Image", ""))
    part["Image"] = pins.get(image) or (running if same_image else tagged(image))
    template = spec["TaskTemplate"]
    template["ForceUpdate"] = int(old["TaskTemplate"].get("ForceUpdate") or 0)
    platforms = (old["TaskTemplate"].get("Placement") or {}).get("Platforms")
    if platforms and part["Image"] == running:
        template["Placement"].setdefault("Platforms", platforms)
    names = {str(item["Id"]): name for name, item in seen.networks.items()}
    changed = differences(old, spec, names)
    ref, version = str(there["ID"]), int(there["Version"]["Index"])
    if not changed:
        return StackStep("keep", "service", name, "unchanged", ref, version)
    shown = ", ".join(path.rpartition("Spec.")[2] for path in changed[:3])
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return StackStep("update", "service", name, f"changed: {shown}{more}", ref, version, spec)


def tagged(image: str) -> str:
    """``redis`` -> ``redis:latest``; what has a tag or digest stays."""
    if not image or "@" in image or ":" in image.rpartition("/")[2]:
        return image
    return f"{image}:latest"
