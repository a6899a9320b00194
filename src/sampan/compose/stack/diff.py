"""Whether two specifications of a service mean the same. Pure.

A manager may spell out defaults, and Docker's own tool writes some things that say nothing. A
service that is updated without a difference would be harmless but for what people see: so what is
compared is what is meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_MEANS_NOTHING: dict[str, tuple[Any, ...]] = {
    "Isolation": ("default",),
    "Runtime": ("container",),
    "StopGracePeriod": (10_000_000_000,),
    "Condition": ("any",),
    "Protocol": ("tcp",),
    "PublishMode": ("ingress",),
    "FailureAction": ("pause",),
    "Order": ("stop-first",),
    "Monitor": (5_000_000_000,),
    "Replicas": (1,),
    "Mode": ("vip",),
}
_IGNORED = frozenset({"ForceUpdate", "NetworkAttachmentSpec", "Platforms"})
_ZERO_COUNTS = frozenset({"Replicas", "StopGracePeriod", "Parallelism"})
"""Zero is something else than nothing here."""
# A word of several meanings: the default of this one is another.
_DELAY_OF_RESTART = 5_000_000_000
_KEEP_EMPTY = frozenset({"Global", "GlobalJob", "Replicated", "ReplicatedJob"})


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], networks: Mapping[str, str]
) -> list[str]:
    """Dotted paths of what differs, sorted; empty: the same. ``networks``: id -> name."""
    left, right = (dict(_flat(_named(spec, networks), "")) for spec in (old, new))
    found = {path for path in left.keys() | right.keys() if left.get(path) != right.get(path)}
    return sorted(found)


def _named(spec: Mapping[str, Any], networks: Mapping[str, str]) -> dict[str, Any]:
    """With networks by name, in one order: the store has them by id."""
    task = dict(spec.get("TaskTemplate") or {})
    attached = [
        {**item, "Target": networks.get(item["Target"], item["Target"])}
        for item in task.get("Networks") or spec.get("Networks") or ()
    ]
    task["Networks"] = sorted(attached, key=lambda item: str(item["Target"]))
    rest = {key: value for key, value in spec.items() if key != "Networks"}
    return {**rest, "TaskTemplate": task}


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(path, value) of everything that says something."""
    name = path.rpartition(".")[2]
    if name in _IGNORED or value in (None, "", 0, [], {}):
        if name in _KEEP_EMPTY and value is not None:
            yield path, {}
        elif value == 0 and (name in _ZERO_COUNTS or path.endswith("RestartPolicy.Delay")):
            yield path, 0
        return
    if value in _MEANS_NOTHING.get(name, ()) and not isinstance(value, dict):
        return
    if name == "Delay" and "RestartPolicy" in path and value == _DELAY_OF_RESTART:
        return
    if isinstance(value, Mapping):
        if name in _KEEP_EMPTY:
            yield path, {}
        if name in ("Labels", "Sysctls", "Options", "DriverOpts"):
            # Their keys are the user's words: none of them is one of ours.
            yield from ((f"{path}.{key}", str(item)) for key, item in value.items())
            return
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else key)
    elif isinstance(value, (list, tuple)):
        if all(not isinstance(item, Mapping) for item in value):
            yield path, list(value)
            return
        for number, item in enumerate(value):
            yield f"{path}[{number}]", {}
            yield from _flat(item, f"{path}[{number}]")
    else:
        yield path, value
