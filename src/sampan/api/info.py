"""``docker info``: what this host is, has and can."""

from __future__ import annotations

import asyncio
import os
import platform
from collections import Counter
from dataclasses import dataclass

import msgspec

from sampan import __version__, components
from sampan.aio import in_thread
from sampan.api import facts, preflight, timestamps
from sampan.api.engine_like import EngineLike
from sampan.api.translate.cluster import swarm_info
from sampan.api.translate.container import state_name
from sampan.api.types import system as wire
from sampan.api.types.cluster import SwarmInfo
from sampan.cluster.model import State
from sampan.cluster.node.contract import Membership
from sampan.config import DaemonConfig
from sampan.engine.drivers import Drivers


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What only files of the host know."""

    id: str
    system: tuple[str, str]
    controllers: frozenset[str]
    cgroup_version: str
    swap_limit: bool
    ip_forwarding: bool
    descriptors: int
    init: str
    runtimes: dict[str, wire.Runtime]
    lacks: list[str]
    """A sentence for each component that is not there."""

    @classmethod
    def read(cls, config: DaemonConfig, drivers: Drivers) -> HostFacts:
        """Blocks."""
        init = components.find(components.INIT)
        return cls(
            id=facts.daemon_id(config),
            system=facts.operating_system(),
            controllers=facts.controllers(),
            cgroup_version=facts.cgroup_version(),
            swap_limit=facts.swap_limit(),
            ip_forwarding=facts.ip_forwarding(),
            descriptors=len(os.listdir("/proc/self/fd")),
            init=init.name if init else "",
            runtimes=_runtimes(drivers),
            lacks=preflight.warnings(config),
        )


async def host_info(
    config: DaemonConfig, drivers: Drivers, engine: EngineLike, state: State | None
) -> wire.Info:
    """``docker info`` of this host; ``state``: what it knows of its cluster."""
    host = await in_thread(HostFacts.read, config, drivers)
    states = Counter(state_name(container) for container in engine.engine.all())
    running = states["running"] + states["restarting"]
    (name, os_version), have = host.system, host.controllers
    v2 = host.cgroup_version == "2"
    driver = engine.system.storage_driver
    registries = [r for r in config.insecure_registries if "/" in r] + ["::1/128", "127.0.0.0/8"]
    indexes = {
        host: wire.Index(name=host, mirrors=[], secure=False, official=False)
        for host in config.insecure_registries
        if "/" not in host
    }
    indexes["docker.io"] = wire.Index(
        name="docker.io", mirrors=list(config.registry_mirrors), secure=True, official=True
    )
    warnings = []
    if not host.swap_limit:
        warnings.append("WARNING: No swap limit support")
    if not v2:
        warnings.append("WARNING: cgroup v1 is deprecated; boot with cgroup v2 where you can")
    warnings += [f"WARNING: {text}" for text in host.lacks]
    return wire.Info(
        id=host.id,
        containers=states.total(),
        containers_running=running,
        containers_paused=states["paused"],
        containers_stopped=states.total() - running - states["paused"],
        images=len(engine.images.all()),
        driver=driver,
        driver_status=[("Root Dir", str(config.paths.layers))],
        plugins=wire.Plugins(
            volume=list(drivers.volume.names()),
            network=[name for kind, name in drivers.plugins() if kind == "Network"],
            authorization=list(config.plugins.authorization) or None,
            log=list(drivers.log.names()),
        ),
        memory_limit="memory" in have,
        swap_limit=host.swap_limit,
        cpu_cfs_period="cpu" in have,
        cpu_cfs_quota="cpu" in have,
        cpu_shares="cpu" in have,
        cpu_set="cpuset" in have,
        pids_limit="pids" in have,
        ipv4_forwarding=host.ip_forwarding,
        debug=config.log_level == "debug",
        n_fd=host.descriptors,
        oom_kill_disable="memory" in have and not v2,
        n_goroutines=len(asyncio.all_tasks()),
        system_time=timestamps.rfc3339(engine.clock.now()),
        logging_driver=config.log_driver,
        cgroup_driver="cgroupfs",
        cgroup_version="2" if v2 else "1",
        n_events_listener=engine.events.listeners,
        kernel_version=platform.release(),
        operating_system=name,
        os_version=os_version,
        os_type="linux",
        architecture=platform.machine(),
        index_server_address="https://index.docker.io/v1/",
        registry_config=wire.RegistryConfig(
            insecure_registry_cidrs=registries,
            index_configs=indexes,
            mirrors=list(config.registry_mirrors),
        ),
        n_cpu=os.cpu_count() or 1,
        mem_total=facts.memory_total(),
        generic_resources=None,
        docker_root_dir=str(config.paths.root),
        http_proxy=os.environ.get("HTTP_PROXY", ""),
        https_proxy=os.environ.get("HTTPS_PROXY", ""),
        no_proxy=os.environ.get("NO_PROXY", ""),
        name=platform.node(),
        labels=list(config.labels),
        experimental_build=False,
        server_version=__version__,
        runtimes=host.runtimes,
        default_runtime=config.default_runtime,
        swarm=_swarm_info(engine.cluster, state),
        live_restore_enabled=True,
        isolation="",
        init_binary=host.init,
        containerd_commit=wire.Commit(),
        runc_commit=wire.Commit(),
        init_commit=wire.Commit(),
        security_options=["name=seccomp,profile=builtin"],
        default_address_pools=[
            wire.AddressPool(base=base, size=size) for base, size in config.default_address_pools
        ]
        or msgspec.UNSET,
        firewall_backend=wire.FirewallBackend(driver="nftables"),
        cdi_spec_dirs=[],
        warnings=warnings or None,
    )


def _runtimes(drivers: Drivers) -> dict[str, wire.Runtime]:
    """Those whose programs are there."""
    runtimes = [drivers.runtime.get(name) for name in drivers.runtime.names()]
    return {
        runtime.name: wire.Runtime(path=path, runtime_args=list(runtime.arguments[1:]))
        for runtime in runtimes
        if (path := runtime.path)
    }


def _swarm_info(member: Membership | None, state: State | None) -> SwarmInfo:
    if member is None:
        return SwarmInfo()
    return swarm_info(member.info(), state)
