"""One service of a compose file, frozen and typed: a field for every key that has a meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sampan.compose.errors import Where
from sampan.compose.model.values import (
    NOTHING,
    BlockIo,
    Build,
    Dependency,
    Deploy,
    DeviceRequest,
    Grant,
    Healthcheck,
    Logging,
    Mount,
    NetworkAttachment,
    Port,
)


class Service(NamedTuple):
    """Fields are named like their keys, or as ``service_keys`` says. Defaults mean: not said."""

    name: str
    where: Where
    annotations: Mapping[str, str] = NOTHING
    attach: bool | None = None
    attachments: tuple[NetworkAttachment, ...] = ()
    blkio: BlockIo | None = None
    build: Build | None = None
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    cgroup: str = ""
    cgroup_parent: str = ""
    command: tuple[str, ...] | None = None
    configs: tuple[Grant, ...] = ()
    container_name: str = ""
    cpu_period: int | None = None
    cpu_quota: int | None = None
    cpu_rt_period: int | None = None
    cpu_rt_runtime: int | None = None
    cpu_shares: int | None = None
    cpus: float | None = None
    cpuset: str = ""
    depends_on: tuple[Dependency, ...] = ()
    deploy: Deploy | None = None
    device_cgroup_rules: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_opt: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    domainname: str = ""
    entrypoint: tuple[str, ...] | None = None
    environment: Mapping[str, str] = NOTHING
    expose: tuple[str, ...] = ()
    external_links: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    gpus: tuple[DeviceRequest, ...] = ()
    group_add: tuple[str, ...] = ()
    healthcheck: Healthcheck | None = None
    hostname: str = ""
    image: str = ""
    init: bool | None = None
    ipc: str = ""
    isolation: str = ""
    labels: Mapping[str, str] = NOTHING
    links: tuple[str, ...] = ()
    logging: Logging | None = None
    mac_address: str = ""
    mem_limit: int | None = None
    mem_reservation: int | None = None
    mem_swappiness: int | None = None
    memswap_limit: int | None = None
    mounts: tuple[Mount, ...] = ()
    network_mode: str = ""
    oom_kill_disable: bool | None = None
    oom_score_adj: int | None = None
    pid: str = ""
    pids_limit: int | None = None
    platform: str = ""
    ports: tuple[Port, ...] = ()
    privileged: bool | None = None
    profiles: tuple[str, ...] = ()
    pull_policy: str = ""
    read_only: bool | None = None
    restart: str = ""
    runtime: str = ""
    scale: int | None = None
    secrets: tuple[Grant, ...] = ()
    security_opt: tuple[str, ...] = ()
    shm_size: int | None = None
    stdin_open: bool | None = None
    stop_grace_ns: int | None = None
    stop_signal: str = ""
    storage_opt: Mapping[str, str] = NOTHING
    sysctls: Mapping[str, str] = NOTHING
    tmpfs: tuple[str, ...] = ()
    tty: bool | None = None
    ulimits: Mapping[str, tuple[int, int]] = NOTHING
    user: str = ""
    userns_mode: str = ""
    uts: str = ""
    volumes_from: tuple[str, ...] = ()
    working_dir: str = ""

    @property
    def replicas(self) -> int:
        """How many containers: 1 when nothing is said."""
        return 1 if self.scale is None else self.scale

    def dependencies(self) -> tuple[Dependency, ...]:
        """Everything that has to be there first, also what follows from links and namespaces."""
        found = {d.service: d for d in self.depends_on}
        for link in self.links:
            found.setdefault(link.partition(":")[0], Dependency(link.partition(":")[0]))
        for shared in self.shared_with():
            found.setdefault(shared, Dependency(shared))
        return tuple(found.values())

    def shared_with(self) -> tuple[str, ...]:
        """Services whose containers must exist before this one can be created."""
        modes = (self.network_mode, self.ipc, self.pid)
        found = [m.removeprefix("service:") for m in modes if m.startswith("service:")]
        found += [v.partition(":")[0] for v in self.volumes_from if not v.startswith("container:")]
        return tuple(dict.fromkeys(found))
