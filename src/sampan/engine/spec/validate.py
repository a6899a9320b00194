"""Requests that make no sense, refused in Docker's sentences before anything is made."""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath

from sampan.config import DaemonConfig
from sampan.engine.spec.signals import parse_signal
from sampan.engine.spec.validate_confinement import validate_confinement
from sampan.engine.spec.validate_names import validate_names
from sampan.errors import InvalidArgument
from sampan.runtime import security_options
from sampan.runtime.mount_targets import TMPFS, Target, check_written
from sampan.store.records import (
    ContainerSpec,
    HostConfig,
    Mount,
    PortBinding,
    Resources,
    RestartPolicy,
)

MEMORY_MINIMUM = 6 * 1024 * 1024
_PORT = re.compile(r"(\d+)(?:/(tcp|udp|sctp))?", re.IGNORECASE)


def validate(spec: ContainerSpec, config: DaemonConfig) -> None:
    """Raises InvalidArgument when a container of ``spec`` (merged with its image) cannot be."""
    if spec.stop_signal:
        parse_signal(spec.stop_signal)
    if spec.working_dir and not PurePosixPath(spec.working_dir).is_absolute():
        raise InvalidArgument(
            f"the working directory '{spec.working_dir}' is invalid, it needs to be an absolute "
            "path"
        )
    for entry in spec.env:
        if not entry or entry.startswith("="):
            raise InvalidArgument(f"invalid environment variable: {entry}")
    validate_names(spec)
    security_options.parse(spec.host.security_opt)
    validate_confinement(spec)
    validate_mounts(spec.mounts)
    validate_ports(spec)
    validate_resources(spec.host.resources)
    validate_restart(spec.host.restart_policy, auto_remove=spec.host.auto_remove)
    _host(spec.host, config)


def warnings_of(spec: ContainerSpec) -> tuple[str, ...]:
    """What is taken and has no effect."""
    labels = security_options.parse(spec.host.security_opt).labels
    return tuple(
        f"--security-opt label={label} has no effect: sampan sets no SELinux labels"
        for label in labels
        if label != "disable"
    )


def _host(host: HostConfig, config: DaemonConfig) -> None:
    if host.storage_opt:
        raise InvalidArgument(
            f"--storage-opt {', '.join(sorted(host.storage_opt))} is not supported: a container's "
            "root has no size of its own. Leave it out, and write what may grow into a volume of "
            "a bounded size (`volume create -o type=tmpfs -o device=tmpfs -o o=size=10m`)"
        )
    check_written(Target(TMPFS, "", target) for target in host.tmpfs)
    for target, options in host.tmpfs.items():
        _tmpfs_options(target, options)
    if host.shm_size < 0:
        raise InvalidArgument("SHM size can not be less than 0")
    if not -1000 <= host.oom_score_adj <= 1000:
        raise InvalidArgument(
            f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]"
        )
    private = host.network_mode in ("host", "none") or host.network_mode.startswith("container:")
    if private and host.links:
        raise InvalidArgument(
            "conflicting options: host type networking can't be used with links. This would "
            "result in undefined behavior"
        )
    if host.network_mode.startswith("container:") and (
        host.port_bindings or host.publish_all_ports
    ):
        raise InvalidArgument(
            "conflicting options: port publishing and the container type network mode"
        )


def validate_mounts(mounts: tuple[Mount, ...]) -> None:
    """Raises InvalidArgument: a bad target, a source that is not there, a target used twice."""
    seen: set[str] = set()
    for mount in mounts:
        _mount(mount)
        target = os.path.normpath(mount.target)
        if target in seen:
            raise InvalidArgument(f"Duplicate mount point: {mount.target}")
        seen.add(target)
    check_written(Target(mount.type, mount.source, mount.target) for mount in mounts)


def _mount(mount: Mount) -> None:
    prefix = f'invalid mount config for type "{mount.type}": '
    if mount.origin == "binds" and (not mount.target or not mount.target.startswith("/")):
        raise InvalidArgument(
            f"invalid volume specification: '{mount.source}:{mount.target}': invalid mount path: "
            f"'{mount.target}' mount path must be absolute"
        )
    if not mount.target:
        raise InvalidArgument(prefix + "field Target must not be empty")
    if not mount.target.startswith("/"):
        raise InvalidArgument(
            prefix + f"invalid mount path: '{mount.target}' mount path must be absolute"
        )
    if os.path.normpath(mount.target).strip("/") == "":
        if mount.origin in ("binds", "volumes", "image"):
            raise InvalidArgument(
                f"invalid volume specification: '{mount.source}:{mount.target}': invalid mount "
                "config: destination can't be '/'"
            )
        raise InvalidArgument(prefix + "invalid specification: destination can't be '/'")
    if mount.type == "bind":
        if not mount.source:
            raise InvalidArgument(prefix + "field Source must not be empty")
        if not mount.source.startswith("/"):
            raise InvalidArgument(
                prefix + f"invalid mount path: '{mount.source}' mount path must be absolute"
            )
        if not mount.create_source and not os.path.lexists(mount.source):
            raise InvalidArgument(prefix + f"bind source path does not exist: {mount.source}")
        _recursion(mount, prefix)
    if mount.type == "tmpfs":
        _tmpfs_options(mount.target, mount.tmpfs_options)
    if mount.type == "tmpfs" and mount.source:
        raise InvalidArgument(prefix + "field Source must not be specified")


def _tmpfs_options(target: str, options: str) -> None:
    """``tmpcopyup``, of runtimes and not of Docker, would bring the links of an image along."""
    if "tmpcopyup" in options.split(","):
        raise InvalidArgument(f"invalid tmpfs option for {target}: tmpcopyup: leave it out")


def _recursion(mount: Mount, prefix: str) -> None:
    asked = [
        name
        for name, on in (
            ("NonRecursive", mount.non_recursive),
            ("ReadOnlyNonRecursive", mount.read_only_non_recursive),
            ("ReadOnlyForceRecursive", mount.read_only_force_recursive),
        )
        if on
    ]
    if len(asked) > 1:
        raise InvalidArgument(f"{prefix}{' and '.join(asked)} exclude each other: choose one")
    if asked and asked[0] != "NonRecursive" and not mount.read_only:
        raise InvalidArgument(f"{prefix}{asked[0]} needs ReadOnly: make the mount read-only too")
    if mount.read_only_force_recursive and mount.propagation not in ("", "rprivate"):
        raise InvalidArgument(
            f"{prefix}ReadOnlyForceRecursive needs the propagation rprivate: leave it out"
        )


def validate_ports(spec: ContainerSpec) -> None:
    """Raises InvalidArgument for what is not a port."""
    for port in (*spec.exposed_ports, *spec.host.port_bindings):
        match = _PORT.fullmatch(port)
        if not match or not 1 <= int(match[1]) <= 65535:
            raise InvalidArgument(f"invalid port specification: {port!r}".replace("'", '"'))
    for bindings in spec.host.port_bindings.values():
        for binding in bindings:
            _binding(binding)


def _binding(binding: PortBinding) -> None:
    if not binding.host_port:
        return
    first, dash, last = binding.host_port.partition("-")
    numbers = [first, last] if dash else [first]
    if not all(n.isdigit() and 0 <= int(n) <= 65535 for n in numbers) or (
        dash and int(first) > int(last)
    ):
        raise InvalidArgument(f'invalid port specification: "{binding.host_port}"')


def validate_restart(policy: RestartPolicy, *, auto_remove: bool) -> None:
    """Raises InvalidArgument for a count that does not fit, or together with ``--rm``."""
    if policy.maximum_retry_count < 0:
        raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")
    if policy.name != "on-failure" and policy.maximum_retry_count:
        raise InvalidArgument(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        )
    if auto_remove and policy.name not in ("", "no"):
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")


def validate_resources(limits: Resources) -> None:
    """Raises InvalidArgument for limits that the host cannot keep or that contradict."""
    if 0 < limits.memory < MEMORY_MINIMUM:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if limits.memory_swap > 0 and not limits.memory:
        raise InvalidArgument(
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        )
    if 0 < limits.memory_swap < limits.memory:
        raise InvalidArgument(
            "Minimum memoryswap limit should be larger than memory limit, see usage"
        )
    if limits.memory and limits.memory_reservation > limits.memory:
        raise InvalidArgument(
            "Minimum memory limit can not be less than memory reservation limit, see usage"
        )
    swappiness = limits.memory_swappiness
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise InvalidArgument(
            f"Invalid value: {swappiness}, valid memory swappiness range is 0-100"
        )
    _cpus(limits)
    if limits.blkio_weight and not 10 <= limits.blkio_weight <= 1000:
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")


def _cpus(limits: Resources) -> None:
    count = os.cpu_count() or 1
    if limits.nano_cpus and (limits.cpu_period or limits.cpu_quota):
        raise InvalidArgument(
            "Conflicting options: Nano CPUs and CPU Period/Quota cannot both be set"
        )
    if limits.nano_cpus and not 10_000_000 <= limits.nano_cpus <= count * 1_000_000_000:
        raise InvalidArgument(
            f"range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available"
        )
    if limits.cpu_shares < 0:
        raise InvalidArgument(f"invalid CPU shares ({limits.cpu_shares}): value must be positive")
    if limits.cpu_period and not 1000 <= limits.cpu_period <= 1_000_000:
        raise InvalidArgument(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if limits.cpu_quota not in (0, -1) and limits.cpu_quota < 1000:
        raise InvalidArgument(
            "CPU cfs quota can not be less than 1ms (i.e. 1000), or it is -1 for none"
        )
    if limits.cpuset_mems:
        _cpu_list(limits.cpuset_mems, "mems")
    if limits.cpuset_cpus:
        wanted = _cpu_list(limits.cpuset_cpus, "cpus")
        if not wanted <= set(range(count)):
            raise InvalidArgument(
                f"Requested CPUs are not available - requested {limits.cpuset_cpus}, available: "
                f"0-{count - 1}"
            )


def _cpu_list(text: str, what: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        numbers = (first, last) if dash else (first,)
        if not all(n.isascii() and n.isdigit() and len(n) < 6 for n in numbers) or (
            dash and int(first) > int(last)
        ):
            raise InvalidArgument(f"Invalid value {text[:80]} for cpuset {what}")
        found.update(range(int(first), int(numbers[-1]) + 1))
    return found
