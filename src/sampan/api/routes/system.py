"""The daemon itself: ping, version, info, events, disk usage, login."""

from __future__ import annotations

import asyncio
import copy
import os
import platform
from collections import Counter
from contextlib import suppress
from itertools import takewhile

import msgspec
from aiohttp import web

from sampan import __version__, components
from sampan.api import cluster, credentials, facts, moments, preflight, versions
from sampan.api.call import Call, encode
from sampan.api.disk import disk_usage
from sampan.api.filters import Filters
from sampan.api.routes.containers import network_ids
from sampan.api.routes.volumes import body_of
from sampan.api.translate import image as image_out
from sampan.api.translate.cluster import swarm_info
from sampan.api.translate.container import state_name
from sampan.api.translate.event import FILTERS, event_out, wants
from sampan.api.translate.summary import Summaries
from sampan.api.types import system as wire
from sampan.api.types.cluster import SwarmInfo
from sampan.api.types.images import AUTH_DECODER, AuthAnswer, ImageSummary
from sampan.api.types.volumes import UsageData
from sampan.engine.drivers import Drivers
from sampan.errors import InvalidArgument, Unsupported
from sampan.http.router import Route
from sampan.image.config import chain_ids
from sampan.image.distribution import ChecksLogins
from sampan.store.events import FeedLagged

_PING = {
    "Builder-Version": "1",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
    "Content-Type": "text/plain; charset=utf-8",
}


async def ping(call: Call) -> web.Response:
    return web.Response(body=b"OK", headers={**call.headers, **_PING, "Swarm": _swarm(call)})


async def ping_head(call: Call) -> web.Response:
    headers = {**call.headers, **_PING, "Swarm": _swarm(call), "Content-Length": "0"}
    return web.Response(headers=headers)


def _swarm(call: Call) -> str:
    """``active/manager``: clients hide commands by it."""
    if call.services.cluster is None:
        return "inactive"
    info = call.services.cluster.info()
    if info.state != "active":
        return info.state
    return "active/manager" if info.control_available else "active/worker"


async def version(call: Call) -> web.Response:
    details = {
        "ApiVersion": versions.text(versions.NEWEST),
        "MinAPIVersion": versions.text(versions.OLDEST),
        "Arch": facts.architecture(),
        "Os": "linux",
        "KernelVersion": platform.release(),
        "PythonVersion": platform.python_version(),
        "GitCommit": "",
        "GoVersion": "",
        "BuildTime": "",
        "Experimental": "false",
    }
    return call.json(
        wire.Version(
            platform=wire.PlatformName(name="sampan"),
            components=[wire.Component(name="Engine", version=__version__, details=details)],
            version=__version__,
            api_version=details["ApiVersion"],
            min_api_version=details["MinAPIVersion"],
            git_commit="",
            go_version="",
            os="linux",
            arch=details["Arch"],
            kernel_version=details["KernelVersion"],
            build_time="",
        )
    )


async def info(call: Call) -> web.Response:
    services, config, drivers = call.services, call.services.config, call.services.drivers
    states = Counter(state_name(container) for container in services.engine.all())
    running = states["running"] + states["restarting"]
    name, os_version = facts.operating_system()
    have = facts.controllers()
    v2 = facts.cgroup_version() == "2"
    driver = services.snapshots.driver
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
    if not facts.swap_limit():
        warnings.append("WARNING: No swap limit support")
    if not v2:
        warnings.append("WARNING: cgroup v1 is deprecated; boot with cgroup v2 where you can")
    warnings += [f"WARNING: {text}" for text in preflight.warnings(config)]
    return call.json(
        wire.Info(
            id=facts.daemon_id(config),
            containers=states.total(),
            containers_running=running,
            containers_paused=states["paused"],
            containers_stopped=states.total() - running - states["paused"],
            images=len(services.store.images),
            driver=driver,
            driver_status=[("Root Dir", str(config.paths.layers))],
            plugins=wire.Plugins(
                volume=list(drivers.volume.names()),
                network=[name for kind, name in drivers.plugins() if kind == "Network"],
                authorization=list(config.plugins.authorization) or None,
                log=list(drivers.log.names()),
            ),
            memory_limit="memory" in have,
            swap_limit=facts.swap_limit(),
            cpu_cfs_period="cpu" in have,
            cpu_cfs_quota="cpu" in have,
            cpu_shares="cpu" in have,
            cpu_set="cpuset" in have,
            pids_limit="pids" in have,
            ipv4_forwarding=facts.ip_forwarding(),
            debug=config.log_level == "debug",
            n_fd=len(os.listdir("/proc/self/fd")),
            oom_kill_disable="memory" in have and not v2,
            n_goroutines=len(asyncio.all_tasks()),
            system_time=moments.rfc3339(services.clock.now()),
            logging_driver=config.log_driver,
            cgroup_driver="cgroupfs",
            cgroup_version="2" if v2 else "1",
            n_events_listener=services.events.listeners,
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
            runtimes=_runtimes(drivers),
            default_runtime=config.default_runtime,
            swarm=_swarm_info(call),
            live_restore_enabled=True,
            isolation="",
            init_binary=init.name if (init := components.find(components.INIT)) else "",
            containerd_commit=wire.Commit(),
            runc_commit=wire.Commit(),
            init_commit=wire.Commit(),
            security_options=["name=seccomp,profile=builtin"],
            default_address_pools=[
                wire.AddressPool(base=base, size=size)
                for base, size in config.default_address_pools
            ]
            or msgspec.UNSET,
            firewall_backend=wire.FirewallBackend(driver="nftables"),
            cdi_spec_dirs=[],
            warnings=warnings or None,
        )
    )


def _runtimes(drivers: Drivers) -> dict[str, wire.Runtime]:
    """Those whose programs are there."""
    runtimes = [drivers.runtime.get(name) for name in drivers.runtime.names()]
    return {
        runtime.name: wire.Runtime(path=path, runtime_args=list(runtime.arguments[1:]))
        for runtime in runtimes
        if (path := runtime.path)
    }


def _swarm_info(call: Call) -> SwarmInfo:
    if call.services.cluster is None:
        return SwarmInfo()
    return swarm_info(call.services.cluster.info(), cluster.copy_at_hand(call))


async def events(call: Call) -> web.StreamResponse:
    """JSON lines, until ``until`` or until the client hangs up."""
    clock = call.services.clock
    now = clock.now()
    since = moments.parse_ns(call.text("since"), "since", now=now)
    until = moments.parse_ns(call.text("until"), "until", now=now)
    if since and until and since > until:
        raise InvalidArgument("until cannot be before since")
    filters = Filters.parse(call.text("filters"), FILTERS)
    question = wants(filters)
    with call.services.events.feed(
        lambda event: question(event) and not (until and event.time_ns > until),
        # Only "until" and no "since": from the beginning of what is known, as "since 0" is.
        since_ns=since if since or call.text("since") else None,
    ) as feed:
        response = await call.stream("application/json")
        left = until / 1e9 - clock.now() if until else None
        if left is not None:
            # What history holds is in the feed already; nothing newer counts once it is late.
            asyncio.get_running_loop().call_later(max(left, 0), feed.close)
        with suppress(FeedLagged):
            async for event in feed:
                # Who acts on an event must not be ahead of the disk.
                await call.services.store.durable()
                await response.write(encode(event_out(event, call.version)) + b"\n")
        return response


async def df(call: Call) -> web.Response:
    services = call.services
    store, engine = services.store, services.engine
    kinds = set(call.query.getall("type", [])) or {"container", "image", "volume", "build-cache"}
    users = Counter(container.image_id for container in store.containers.values())
    body = wire.DiskUsage(
        layers_size=sum(layer.size for layer in store.layers.values()),
        images=None,
        containers=None,
        volumes=None,
        build_cache=None,
    )
    if "image" in kinds:
        body.images = [_image_usage(call, image_id, users) for image_id in store.images]
    if "container" in kinds:
        summaries, body.containers = Summaries(), []
        network_id = network_ids(engine)
        for container in engine.all():
            row = copy.copy(summaries.row(container, services.clock.now(), network_id))
            row.size_rw, row.size_root_fs = await engine.size(container.id)
            body.containers.append(row)
    if "volume" in kinds:
        body.volumes = [
            body_of(
                volume,
                services.volumes.scope(volume),
                UsageData(
                    ref_count=len(engine.volume_users(volume.name)),
                    size=await disk_usage(volume.mountpoint),
                ),
            )
            for volume in engine.volumes()
        ]
    if "build-cache" in kinds:
        body.build_cache = [
            wire.CacheRecord(
                id=entry.key,
                type="regular",
                description=entry.image_id,
                in_use=entry.image_id in users,
                shared=False,
                size=0,
                created_at=moments.rfc3339(entry.created_at),
                last_used_at=moments.rfc3339(entry.last_used_at),
                usage_count=1,
            )
            for entry in store.build_cache.values()
        ]
    if call.version < (1, 42):
        body.builder_size = 0
    return call.json(body)


def _image_usage(call: Call, image_id: str, users: Counter[str]) -> ImageSummary:
    """An image with what it shares with others: layers that other images have, too."""
    services = call.services
    images, store = services.images, services.store
    image = store.images[image_id]
    row = image_out.summary(
        image,
        images.config(image),
        tags=images.tags(image_id),
        digests=images.digests(image_id),
        containers=users[image_id],
        version=call.version,
    )
    others = [other.layers for key, other in store.images.items() if key != image_id]
    common = max((_common(image.layers, layers) for layers in others), default=0)

    shared = chain_ids(image.layers[:common])
    row.shared_size = sum(store.layers[chain].size for chain in shared if chain in store.layers)
    return row


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many layers two stacks have in common."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return sum(1 for _ in same)


async def auth(call: Call) -> web.Response:
    body = await call.body(AUTH_DECODER)
    images = call.services.images
    if not isinstance(images, ChecksLogins):
        raise Unsupported("checking a login is not supported: it is used when an image is pulled")
    await images.login(body.serveraddress or "docker.io", credentials.from_body(body))
    return call.json(AuthAnswer(status="Login Succeeded"))


ROUTES = (
    Route("GET", "/_ping", ping),
    Route("HEAD", "/_ping", ping_head),
    Route("GET", "/version", version),
    Route("GET", "/info", info),
    Route("GET", "/events", events, streams=True),
    Route("GET", "/system/df", df),
    Route("POST", "/auth", auth),
)
