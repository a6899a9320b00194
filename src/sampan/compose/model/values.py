"""The values of a compose file's keys: small, frozen, typed. Durations are in nanoseconds, sizes in
bytes. Defaults mean: not said.

Named tuples and not dataclasses: making one costs 0.04 ms instead of 0.4, there are many, and every
command pays for all of them when it starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

STARTED = "service_started"
HEALTHY = "service_healthy"
COMPLETED = "service_completed_successfully"
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Port(NamedTuple):
    target: int
    published: str = ""
    """A port, a range, or empty: the engine picks."""
    host_ip: str = ""
    protocol: str = "tcp"
    mode: str = "ingress"
    name: str = ""
    """Like ``app_protocol``, a note for readers of the file."""
    app_protocol: str = ""


class Mount(NamedTuple):
    kind: str
    """``bind``, ``volume``, ``tmpfs`` or ``image``."""
    target: str
    source: str = ""
    """Host path, key of the top-level ``volumes`` (empty: anonymous), or image."""
    read_only: bool = False
    create_host_path: bool = True
    options: tuple[str, ...] = ()
    """Further mode words of the short form: ``z``, ``rshared``, ``nocopy`` ..."""
    subpath: str = ""
    size: int = 0
    mode: int = 0
    labels: Mapping[str, str] = NOTHING
    """Of the anonymous volume that is made for it."""


class NetworkAttachment(NamedTuple):
    """A service on a network. ``network`` is a key of the top-level ``networks``."""

    network: str
    aliases: tuple[str, ...] = ()
    ipv4: str = ""
    ipv6: str = ""
    link_local: tuple[str, ...] = ()
    mac: str = ""
    driver_opts: Mapping[str, str] = NOTHING
    priority: int = 0
    gw_priority: int = 0


class Dependency(NamedTuple):
    service: str
    condition: str = STARTED
    required: bool = True
    restart: bool = False


class Healthcheck(NamedTuple):
    test: tuple[str, ...] = ()
    interval_ns: int = 0
    timeout_ns: int = 0
    retries: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0


class Build(NamedTuple):
    context: str = "."
    dockerfile: str = "Dockerfile"
    inline: str = ""
    args: Mapping[str, str | None] = NOTHING
    labels: Mapping[str, str] = NOTHING
    cache_from: tuple[str, ...] = ()
    target: str = ""
    network: str = ""
    shm_size: int = 0
    extra_hosts: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    no_cache: bool = False
    pull: bool = False


class Grant(NamedTuple):
    """A secret or config as a file of a container. ``source`` is a key of the top level."""

    source: str
    target: str = ""
    """A path, or a name in the usual folder; empty: the source's name."""
    uid: str = ""
    gid: str = ""
    mode: int | None = None


class Logging(NamedTuple):
    driver: str = ""
    options: Mapping[str, str] = NOTHING


class Throttle(NamedTuple):
    """A block device and a limit on it: bytes or operations a second, or a weight."""

    path: str
    amount: int


class BlockIo(NamedTuple):
    weight: int | None = None
    weight_device: tuple[Throttle, ...] = ()
    device_read_bps: tuple[Throttle, ...] = ()
    device_read_iops: tuple[Throttle, ...] = ()
    device_write_bps: tuple[Throttle, ...] = ()
    device_write_iops: tuple[Throttle, ...] = ()


class DeviceRequest(NamedTuple):
    """Devices that a driver of the engine picks, such as GPUs."""

    driver: str = ""
    amount: int | None = None
    """-1: all of them."""
    device_ids: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    options: Mapping[str, str] = NOTHING


class Amounts(NamedTuple):
    """Limits or reservations of ``deploy.resources``."""

    cpus: float | None = None
    memory: int | None = None
    pids: int | None = None
    generic: tuple[tuple[str, int], ...] = ()
    devices: tuple[DeviceRequest, ...] = ()


class Resources(NamedTuple):
    limits: Amounts | None = None
    reservations: Amounts | None = None


class RestartPolicy(NamedTuple):
    condition: str = ""
    delay_ns: int | None = None
    max_attempts: int | None = None
    window_ns: int | None = None


class Rollout(NamedTuple):
    """How an update or a way back proceeds. ``parallelism`` 0: all at once."""

    parallelism: int = 1
    delay_ns: int | None = None
    failure_action: str = ""
    monitor_ns: int | None = None
    max_failure_ratio: float | None = None
    order: str = ""


class Placement(NamedTuple):
    constraints: tuple[str, ...] = ()
    spread: tuple[str, ...] = ()
    max_per_node: int | None = None


class Deploy(NamedTuple):
    """What a cluster honours; an engine takes replicas, resources and the restart policy of it."""

    mode: str = ""
    """``replicated`` (also when empty), ``global``, ``replicated-job``, ``global-job``."""
    endpoint_mode: str = ""
    replicas: int | None = None
    labels: Mapping[str, str] = NOTHING
    """Of the service; those of its containers are the service's ``labels``."""
    placement: Placement | None = None
    resources: Resources | None = None
    restart_policy: RestartPolicy | None = None
    update: Rollout | None = None
    rollback: Rollout | None = None


class Pool(NamedTuple):
    """One range of addresses of a network."""

    subnet: str = ""
    ip_range: str = ""
    gateway: str = ""
    aux_addresses: Mapping[str, str] = NOTHING


class Ipam(NamedTuple):
    driver: str = ""
    pools: tuple[Pool, ...] = ()
    options: Mapping[str, str] = NOTHING
