"""The model back as plain data: what ``config`` prints, and what the configuration hash covers."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sampan.compose.model.project import (
    Attachment,
    Build,
    Healthcheck,
    Mount,
    Network,
    Port,
    Project,
    Service,
    Volume,
)
from sampan.compose.units import duration_text

_NOT_HASHED = ("build", "depends_on", "profiles", "scale", "pull_policy")
"""Changes of these do not change a container that runs already."""


def service_data(service: Service) -> dict[str, Any]:
    """The service under the specification's keys, in long form, without what is not set."""
    data: dict[str, Any] = {
        "build": _build(service.build) if service.build else None,
        "command": list(service.command) if service.command is not None else None,
        "configs": [{"source": g.source, "target": g.target} for g in service.configs],
        "container_name": service.container_name,
        "depends_on": {
            d.service: {"condition": d.condition, "required": d.required}
            | ({"restart": True} if d.restart else {})
            for d in service.depends_on
        },
        "entrypoint": list(service.entrypoint) if service.entrypoint is not None else None,
        "environment": dict(sorted(service.environment.items())),
        "expose": [e.removesuffix("/tcp") for e in service.expose],
        "external_links": list(service.external_links),
        "extra_hosts": list(service.extra_hosts),
        "healthcheck": _healthcheck(service.healthcheck) if service.healthcheck else None,
        "image": service.image,
        "labels": dict(sorted(service.labels.items())),
        "links": list(service.links),
        "logging": {
            k: v
            for k, v in (("driver", service.logging_driver), ("options", service.logging_options))
            if v
        },
        "network_mode": service.network_mode,
        "networks": {a.network: _attachment(a) for a in service.attachments},
        "platform": service.platform,
        "ports": [_port(p) for p in service.ports],
        "profiles": list(service.profiles),
        "pull_policy": service.pull_policy,
        "restart": service.restart,
        "scale": service.scale if service.scale != 1 else None,
        "secrets": [{"source": g.source, "target": g.target} for g in service.secrets],
        "stop_grace_period": (
            duration_text(service.stop_grace_ns) if service.stop_grace_ns is not None else None
        ),
        "stop_signal": service.stop_signal,
        "sysctls": dict(service.sysctls),
        "tmpfs": list(service.tmpfs),
        "ulimits": {k: {"soft": s, "hard": h} for k, (s, h) in service.ulimits.items()},
        "volumes": [_mount(m) for m in service.mounts],
        "volumes_from": list(service.volumes_from),
    }
    data |= {k: list(v) if isinstance(v, tuple) else v for k, v in service.settings.items()}
    kept = {k: v for k, v in data.items() if v is not None and v != [] and v != {} and v != ""}
    for key in ("command", "entrypoint"):
        if data[key] is not None:
            kept[key] = data[key]  # an empty list is not the same as nothing
    return dict(sorted(kept.items()))


def project_data(project: Project) -> dict[str, Any]:
    """The whole project as ``config`` prints it."""
    data: dict[str, Any] = {
        "name": project.name,
        "services": {n: service_data(s) for n, s in sorted(project.services.items())},
        "networks": {k: _network(n) for k, n in sorted(project.networks.items())},
        "volumes": {k: _volume(v) for k, v in sorted(project.volumes.items())},
    }
    for kind, files in (("secrets", project.secrets), ("configs", project.configs)):
        data[kind] = {
            k: {"file": f.path} if f.content is None else {"content": f.content}
            for k, f in sorted(files.items())
        }
    return {key: value for key, value in data.items() if value or key in ("name", "services")}


def part_hashes(service: Service, extra: dict[str, str]) -> dict[str, str]:
    """A short hash for each key that makes the container what it is.

    ``extra`` are things that the file only points at: the content of secrets, for example.
    """
    data = {k: v for k, v in service_data(service).items() if k not in _NOT_HASHED}
    return {key: _digest(value)[:8] for key, value in {**data, **extra}.items()}


def config_hash(parts: dict[str, str]) -> str:
    """The value of the config-hash label: 64 hex digits."""
    return _digest(parts)


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _drop(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}


def _build(build: Build) -> dict[str, Any]:
    data = _drop(
        context=build.context,
        dockerfile=None if build.inline else build.dockerfile,
        dockerfile_inline=build.inline,
        args=dict(build.args),
        labels=dict(build.labels),
        cache_from=list(build.cache_from),
        target=build.target,
        network=build.network,
        extra_hosts=list(build.extra_hosts),
        tags=list(build.tags),
        no_cache=build.no_cache,
        pull=build.pull,
        shm_size=build.shm_size or None,
    )
    return data


def _port(port: Port) -> dict[str, Any]:
    data = _drop(
        mode=port.mode,
        host_ip=port.host_ip,
        target=port.target,
        published=port.published,
        protocol=port.protocol,
    )
    return data


def _mount(mount: Mount) -> dict[str, Any]:
    data: dict[str, Any] = {"type": mount.kind}
    data |= _drop(source=mount.source, target=mount.target, read_only=mount.read_only)
    words = [word for word in mount.options if word != "nocopy"]
    if mount.kind == "bind":
        data["bind"] = {"create_host_path": mount.create_host_path}
        if words:
            data["bind"]["propagation"] = ",".join(words)
    elif mount.kind in ("volume", "image"):
        data[mount.kind] = {"nocopy": True} if "nocopy" in mount.options else {}
        if mount.subpath:
            data[mount.kind]["subpath"] = mount.subpath
    elif mount.size or mount.mode:
        data["tmpfs"] = {k: v for k, v in (("size", mount.size), ("mode", mount.mode)) if v}
    return data


def _attachment(attachment: Attachment) -> dict[str, Any] | None:
    data = {
        "aliases": list(attachment.aliases),
        "ipv4_address": attachment.ipv4,
        "ipv6_address": attachment.ipv6,
        "link_local_ips": list(attachment.link_local),
        "mac_address": attachment.mac,
        "driver_opts": dict(attachment.driver_opts),
        "priority": attachment.priority,
        "gw_priority": attachment.gw_priority,
    }
    return {key: value for key, value in data.items() if value} or None


def _healthcheck(check: Healthcheck) -> dict[str, Any]:
    if check.test == ("NONE",):
        return {"disable": True}
    data: dict[str, Any] = {"test": list(check.test)} if check.test else {}
    for key, value in (
        ("interval", check.interval_ns),
        ("timeout", check.timeout_ns),
        ("start_period", check.start_period_ns),
        ("start_interval", check.start_interval_ns),
    ):
        if value:
            data[key] = duration_text(value)
    if check.retries:
        data["retries"] = check.retries
    return data


def _network(network: Network) -> dict[str, Any]:
    ipam = _drop(
        driver=network.ipam_driver, config=list(network.pools), options=network.ipam_options
    )
    return _drop(
        name=network.name,
        external=network.external,
        driver=network.driver,
        driver_opts=network.driver_opts,
        ipam=ipam,
        internal=network.internal,
        attachable=network.attachable,
        enable_ipv6=network.enable_ipv6,
        labels=network.labels,
    )


def _volume(volume: Volume) -> dict[str, Any]:
    return _drop(
        name=volume.name,
        external=volume.external,
        driver=volume.driver,
        driver_opts=volume.driver_opts,
        labels=volume.labels,
    )


def network_hash(network: Network) -> str:
    """The value of a network's config-hash label."""
    return _digest(_network(network))


def volume_hash(volume: Volume) -> str:
    """The value of a volume's config-hash label."""
    return _digest(_volume(volume))
