"""Namespaces, capabilities, devices and process limits: words that somebody must know.

The runtime would find most of that out when the container starts. What is never right is told when
the container is made.
"""

from __future__ import annotations

import re

from sampan.errors import InvalidArgument
from sampan.kernel.rlimit import Limit
from sampan.runtime import capabilities
from sampan.runtime.spec_devices import DEVICE_RULE
from sampan.runtime.spec_resources import check_ulimit
from sampan.store.records import ContainerSpec, HostConfig, Resources

_MODES: tuple[tuple[str, str, tuple[str, ...], bool], ...] = (
    ("IPC", "ipc_mode", ("", "none", "private", "shareable", "host"), True),
    ("PID", "pid_mode", ("", "private", "host"), True),
    ("UTS", "uts_mode", ("", "private", "host"), False),
    ("cgroup namespace", "cgroupns_mode", ("", "private", "host"), False),
)
"""What it is called, its field, its words, and whether it may be another container's."""
_CONTAINER = re.compile(r"container:.+")


def validate_confinement(spec: ContainerSpec) -> None:
    """Raises InvalidArgument."""
    host = spec.host
    _modes(host)
    capabilities.effective(
        host.cap_add,
        host.cap_drop,
        privileged=host.privileged,
        available=frozenset(capabilities.ALL),
    )
    validate_processes(host.resources)


def validate_processes(limits: Resources) -> None:
    """What each process may have and touch. Raises InvalidArgument."""
    for limit in limits.ulimits:
        check_ulimit(limit.name, Limit(limit.soft, limit.hard))
    for rule in limits.device_cgroup_rules:
        if DEVICE_RULE.fullmatch(rule) is None:
            raise InvalidArgument(
                f"invalid device cgroup rule format: '{rule}': write it as in 'c 1:3 rwm'"
            )


def _modes(host: HostConfig) -> None:
    for what, field, words, joins in _MODES:
        mode = getattr(host, field)
        if mode in words or (joins and _CONTAINER.fullmatch(mode)):
            continue
        known = ", ".join(word for word in words if word)
        others = " or container:NAME" if joins else ""
        raise InvalidArgument(f"invalid {what} mode: {mode}: it is {known}{others}")
