"""A service as the engine's API wants to have it: pure functions from the model to JSON bodies."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from sampan import __version__
from sampan.compose.model.canonical import network_hash, volume_hash
from sampan.compose.model.project import Attachment, Mount, Network, Project, Service, Volume

PREFIX = "com.docker.compose."
PARTS_LABEL = "dev.sampan.compose.parts"
"""Short hashes by key, so that a plan can say *what* changed in a configuration."""

_HOST_TEXTS = {
    "cgroup": "CgroupnsMode",
    "cgroup_parent": "CgroupParent",
    "cpuset": "CpusetCpus",
    "userns_mode": "UsernsMode",
    "uts": "UTSMode",
    "runtime": "Runtime",
    "cap_add": "CapAdd",
    "cap_drop": "CapDrop",
    "security_opt": "SecurityOpt",
    "group_add": "GroupAdd",
    "dns": "Dns",
    "dns_opt": "DnsOptions",
    "dns_search": "DnsSearch",
    "privileged": "Privileged",
    "read_only": "ReadonlyRootfs",
    "init": "Init",
    "oom_kill_disable": "OomKillDisable",
    "mem_limit": "Memory",
    "mem_reservation": "MemoryReservation",
    "memswap_limit": "MemorySwap",
    "mem_swappiness": "MemorySwappiness",
    "shm_size": "ShmSize",
    "cpu_shares": "CpuShares",
    "cpu_quota": "CpuQuota",
    "cpu_period": "CpuPeriod",
    "cpu_rt_period": "CpuRealtimePeriod",
    "cpu_rt_runtime": "CpuRealtimeRuntime",
    "oom_score_adj": "OomScoreAdj",
    "pids_limit": "PidsLimit",
}
_CONFIG_TEXTS = {
    "user": "User",
    "working_dir": "WorkingDir",
    "hostname": "Hostname",
    "domainname": "Domainname",
    "tty": "Tty",
    "stdin_open": "OpenStdin",
    "mac_address": "MacAddress",
}


def container_name(project: Project, service: Service, number: int) -> str:
    """``container_name``, else PROJECT-SERVICE-N."""
    return service.container_name or f"{project.name}-{service.name}-{number}"


def container_labels(
    project: Project,
    service: Service,
    number: int,
    *,
    config_hash: str,
    parts: Mapping[str, str],
    oneoff: bool = False,
) -> dict[str, str]:
    """Everything but the image's id, which is known only when the image is there."""
    depends = (
        f"{d.service}:{d.condition}:{'true' if d.restart else 'false'}" for d in service.depends_on
    )
    return {
        **service.labels,
        PREFIX + "project": project.name,
        PREFIX + "service": service.name,
        PREFIX + "container-number": str(number),
        PREFIX + "oneoff": "True" if oneoff else "False",
        PREFIX + "config-hash": config_hash,
        PREFIX + "project.config_files": ",".join(project.files),
        PREFIX + "project.working_dir": project.directory,
        PREFIX + "depends_on": ",".join(depends),
        PREFIX + "version": __version__,
        PARTS_LABEL: ",".join(f"{key}={value}" for key, value in sorted(parts.items())),
    }


def container_body(
    project: Project,
    service: Service,
    name: str,
    labels: Mapping[str, str],
    *,
    keep_volumes: Mapping[str, str],
    containers: Mapping[str, str],
) -> dict[str, Any]:
    """The body of ``POST /containers/create``.

    ``keep_volumes``: target -> name of an anonymous volume of the container that is replaced.
    ``containers``: service -> id or name of the container whose namespaces others may share.
    """
    settings = service.settings
    host: dict[str, Any] = {
        key: list(settings[name_]) if isinstance(settings[name_], tuple) else settings[name_]
        for name_, key in _HOST_TEXTS.items()
        if name_ in settings
    }
    binds, mounts, anonymous = _volumes(project, service, keep_volumes)
    host |= {
        "Binds": binds,
        "Mounts": mounts,
        "PortBindings": _bindings(service),
        "NetworkMode": _network_mode(project, service, containers),
        "RestartPolicy": _restart(service.restart),
        "ExtraHosts": list(service.extra_hosts),
        "Sysctls": dict(service.sysctls),
        "Tmpfs": dict(_tmpfs(item) for item in service.tmpfs),
        "Ulimits": [
            {"Name": key, "Soft": soft, "Hard": hard}
            for key, (soft, hard) in service.ulimits.items()
        ],
        "VolumesFrom": [_volumes_from(item, containers) for item in service.volumes_from],
        "Devices": [_device(item) for item in settings.get("devices", ())],
    }
    if "cpus" in settings:
        host["NanoCpus"] = int(settings["cpus"] * 10**9)
    for key, field in (("ipc", "IpcMode"), ("pid", "PidMode")):
        if key in settings:
            host[field] = _shared(settings[key], containers)
    if service.logging_driver or service.logging_options:
        config = dict(service.logging_options)
        host["LogConfig"] = {"Type": service.logging_driver, "Config": config}
    if not service.attachments and service.links:
        host["Links"] = _links(service, containers)
    body: dict[str, Any] = {
        field: settings[key] for key, field in _CONFIG_TEXTS.items() if key in settings
    }
    body |= {
        "Image": project.image_of(service),
        "Env": [f"{key}={value}" for key, value in service.environment.items()],
        "Labels": dict(labels),
        "ExposedPorts": {_port_key(p.target, p.protocol): {} for p in service.ports}
        | {item: {} for item in service.expose if "-" not in item},
        "Volumes": {target: {} for target in anonymous},
        "HostConfig": {
            key: value for key, value in host.items() if value not in ([], {}, "", None)
        },
        "NetworkingConfig": {
            "EndpointsConfig": {
                project.networks[a.network].name: endpoint(service, a, name, containers)
                for a in service.attachments
            }
        },
    }
    if service.command is not None:
        body["Cmd"] = list(service.command)
    if service.entrypoint is not None:
        # An empty entrypoint takes the image's away; null would leave it.
        body["Entrypoint"] = list(service.entrypoint) or [""]
    if service.stop_signal:
        body["StopSignal"] = service.stop_signal
    if service.stop_grace_ns is not None:
        body["StopTimeout"] = max(1, round(service.stop_grace_ns / 10**9))
    if service.healthcheck is not None:
        check = service.healthcheck
        body["Healthcheck"] = {
            "Test": list(check.test),
            "Interval": check.interval_ns,
            "Timeout": check.timeout_ns,
            "Retries": check.retries,
            "StartPeriod": check.start_period_ns,
        }
        if check.start_interval_ns:
            body["Healthcheck"]["StartInterval"] = check.start_interval_ns
    return body


def endpoint(
    service: Service, attachment: Attachment, name: str, containers: Mapping[str, str]
) -> dict[str, Any]:
    """An EndpointSettings: how a container sits on one network."""
    aliases = [name, service.name, *attachment.aliases]
    data: dict[str, Any] = {"Aliases": list(dict.fromkeys(aliases))}
    ipam: dict[str, Any] = {}
    if attachment.ipv4:
        ipam["IPv4Address"] = attachment.ipv4
    if attachment.ipv6:
        ipam["IPv6Address"] = attachment.ipv6
    if attachment.link_local:
        ipam["LinkLocalIPs"] = list(attachment.link_local)
    if ipam:
        data["IPAMConfig"] = ipam
    if attachment.mac:
        data["MacAddress"] = attachment.mac
    if attachment.driver_opts:
        data["DriverOpts"] = dict(attachment.driver_opts)
    if attachment.gw_priority:
        data["GwPriority"] = attachment.gw_priority
    links = _links(service, containers)
    if links:
        data["Links"] = links
    return data


def network_body(project: Project, network: Network) -> dict[str, Any]:
    """The body of ``POST /networks/create``."""
    body: dict[str, Any] = {
        "Name": network.name,
        "CheckDuplicate": True,
        "Driver": network.driver or "bridge",
        "Internal": network.internal,
        "Attachable": network.attachable,
        "EnableIPv6": network.enable_ipv6,
        "Options": dict(network.driver_opts),
        "Labels": {
            **network.labels,
            PREFIX + "config-hash": network_hash(network),
            PREFIX + "network": network.key,
            PREFIX + "project": project.name,
            PREFIX + "version": __version__,
        },
    }
    if network.ipam_driver or network.pools or network.ipam_options:
        names = {"subnet": "Subnet", "ip_range": "IPRange", "gateway": "Gateway"}
        names["aux_addresses"] = "AuxiliaryAddresses"
        body["IPAM"] = {
            "Driver": network.ipam_driver or "default",
            "Config": [{names[k]: v for k, v in pool.items()} for pool in network.pools],
            "Options": dict(network.ipam_options),
        }
    return body


def volume_body(project: Project, volume: Volume) -> dict[str, Any]:
    """The body of ``POST /volumes/create``."""
    return {
        "Name": volume.name,
        "Driver": volume.driver or "local",
        "DriverOpts": dict(volume.driver_opts),
        "Labels": {
            **volume.labels,
            PREFIX + "config-hash": volume_hash(volume),
            PREFIX + "volume": volume.key,
            PREFIX + "project": project.name,
            PREFIX + "version": __version__,
        },
    }


def _network_mode(project: Project, service: Service, containers: Mapping[str, str]) -> str:
    if service.attachments:
        return project.networks[service.attachments[0].network].name
    return _shared(service.network_mode, containers)


def _shared(mode: str, containers: Mapping[str, str]) -> str:
    if mode.startswith("service:"):
        name = mode.removeprefix("service:")
        return f"container:{containers.get(name, name)}"
    return mode


def _volumes_from(item: str, containers: Mapping[str, str]) -> str:
    if item.startswith("container:"):
        return item.removeprefix("container:")
    name, colon, mode = item.partition(":")
    return f"{containers.get(name, name)}{colon}{mode}"


def _links(service: Service, containers: Mapping[str, str]) -> list[str]:
    found = []
    for item in service.links:
        name, _, alias = item.partition(":")
        found.append(f"{containers.get(name, name)}:{alias or name}")
    for item in service.external_links:
        name, _, alias = item.partition(":")
        found.append(f"{name}:{alias or name}")
    return found


def _volumes(
    project: Project, service: Service, keep: Mapping[str, str]
) -> tuple[list[str], list[dict[str, Any]], list[str]]:
    binds: list[str] = []
    mounts: list[dict[str, Any]] = []
    anonymous: list[str] = []
    covered = {mount.target for mount in service.mounts}
    for mount in service.mounts:
        kept = keep.get(mount.target) if not mount.source and mount.kind == "volume" else None
        if mount.kind == "volume" and not mount.source and not kept:
            anonymous.append(mount.target)
        elif mount.kind in ("tmpfs", "image") or mount.subpath or not mount.create_host_path:
            mounts.append(_mount(project, mount))
        else:
            source = mount.source
            if mount.kind == "volume":
                source = kept or project.volumes[mount.source].name
            words = ["ro" if mount.read_only else "rw", *mount.options]
            binds.append(f"{source}:{mount.target}:{','.join(words)}")
    binds += [f"{name}:{target}:rw" for target, name in keep.items() if target not in covered]
    for grants, known in ((service.secrets, project.secrets), (service.configs, project.configs)):
        binds += [
            f"{known[grant.source].path}:{grant.target}:ro"
            for grant in grants
            if known[grant.source].content is None
        ]
    return binds, mounts, anonymous


def _mount(project: Project, mount: Mount) -> dict[str, Any]:
    data: dict[str, Any] = {"Type": mount.kind, "Target": mount.target}
    if mount.read_only:
        data["ReadOnly"] = True
    if mount.kind == "tmpfs":
        if mount.size or mount.mode:
            data["TmpfsOptions"] = {"SizeBytes": mount.size, "Mode": mount.mode}
    elif mount.kind == "volume":
        data["Source"] = project.volumes[mount.source].name if mount.source else ""
        data["VolumeOptions"] = {"NoCopy": "nocopy" in mount.options, "Subpath": mount.subpath}
    else:
        data["Source"] = mount.source
        if mount.subpath:
            data["ImageOptions"] = {"Subpath": mount.subpath}
    return data


def _tmpfs(item: str) -> tuple[str, str]:
    target, _, options = item.partition(":")
    return target, options


def _port_key(number: int, protocol: str) -> str:
    return f"{number}/{protocol}"


def _bindings(service: Service) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for port in service.ports:
        binding = {"HostIp": port.host_ip, "HostPort": port.published}
        found.setdefault(_port_key(port.target, port.protocol), []).append(binding)
    return found


def _restart(text: str) -> dict[str, Any]:
    name, _, count = text.partition(":")
    return {"Name": name or "no", "MaximumRetryCount": int(count or 0)}


def _device(text: str) -> dict[str, str]:
    parts = text.split(":")
    target = parts[1] if len(parts) > 1 and parts[1].startswith("/") else parts[0]
    rights = parts[-1] if len(parts) > 1 and not parts[-1].startswith("/") else "rwm"
    return {
        "PathOnHost": os.fspath(parts[0]),
        "PathInContainer": target,
        "CgroupPermissions": rights,
    }
