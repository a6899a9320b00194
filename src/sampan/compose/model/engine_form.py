"""Values as the engine's create request has them. Pure; named by the tables of keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sampan.compose.model.printers import grant_path
from sampan.compose.model.project import Project
from sampan.compose.model.service import Service
from sampan.compose.model.values import DeviceRequest, Logging, Mount, Port, Throttle

SECRETS = "/run/secrets/"
CONFIGS = "/"
Places = Iterator[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class MadeFor:
    """The container that a request makes."""

    project: Project
    service: Service
    name: str
    keep_volumes: Mapping[str, str]
    """Target -> name of an anonymous volume of the container that is replaced."""
    containers: Mapping[str, str]
    """Service -> id or name of the container whose namespaces others may share."""

    def container(self, service: str) -> str:
        return self.containers.get(service, service)


def environment(value: Mapping[str, str]) -> list[str]:
    return [f"{key}={text}" for key, text in value.items()]


def nano(cpus: float) -> int:
    return round(cpus * 10**9)


def entrypoint(value: tuple[str, ...]) -> list[str]:
    """An empty entrypoint takes the image's away; null would leave it."""
    return list(value) or [""]


def stop_timeout(grace_ns: int) -> int:
    return max(1, round(grace_ns / 10**9))


def restart(text: str) -> dict[str, Any]:
    name, _, count = text.partition(":")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def logging(value: Logging) -> dict[str, Any]:
    return {"Type": value.driver, "Config": dict(value.options)}


def ulimits(value: Mapping[str, tuple[int, int]]) -> list[dict[str, Any]]:
    return [{"Name": name, "Soft": soft, "Hard": hard} for name, (soft, hard) in value.items()]


def tmpfs(value: tuple[str, ...]) -> dict[str, str]:
    return {item.partition(":")[0]: item.partition(":")[2] for item in value}


def devices(value: tuple[str, ...]) -> list[dict[str, str]]:
    found = []
    for text in value:
        parts = text.split(":")
        target = parts[1] if len(parts) > 1 and parts[1].startswith("/") else parts[0]
        rights = parts[-1] if len(parts) > 1 and not parts[-1].startswith("/") else "rwm"
        found.append(
            {"PathOnHost": parts[0], "PathInContainer": target, "CgroupPermissions": rights}
        )
    return found


def device_requests(value: tuple[DeviceRequest, ...]) -> list[dict[str, Any]]:
    return [
        {
            "Driver": request.driver,
            "Count": request.amount or 0,
            "DeviceIDs": list(request.device_ids) or None,
            "Capabilities": [list(request.capabilities)],
            "Options": dict(request.options),
        }
        for request in value
    ]


def rates(value: tuple[Throttle, ...]) -> list[dict[str, Any]]:
    return [{"Path": one.path, "Rate": one.amount} for one in value]


def weights(value: tuple[Throttle, ...]) -> list[dict[str, Any]]:
    return [{"Path": one.path, "Weight": one.amount} for one in value]


def ports(value: tuple[Port, ...], made_for: MadeFor) -> Places:
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in value:
        binding = {"HostIp": port.host_ip, "HostPort": port.published}
        bindings.setdefault(f"{port.target}/{port.protocol}", []).append(binding)
    yield "HostConfig.PortBindings", bindings


def exposed(service: Service) -> dict[str, Any]:
    """Ports that are published are exposed, too."""
    published = (f"{port.target}/{port.protocol}" for port in service.ports)
    return {port: {} for port in (*published, *service.expose)}


def shared(value: str, containers: Mapping[str, str]) -> str:
    """``service:NAME`` as the container that has the namespace."""
    if value.startswith("service:"):
        name = value.removeprefix("service:")
        return f"container:{containers.get(name, name)}"
    return value


def ipc(value: str, made_for: MadeFor) -> Places:
    yield "HostConfig.IpcMode", shared(value, made_for.containers)


def pid(value: str, made_for: MadeFor) -> Places:
    yield "HostConfig.PidMode", shared(value, made_for.containers)


def network_mode(value: str, made_for: MadeFor) -> Places:
    yield "HostConfig.NetworkMode", shared(value, made_for.containers)


def volumes_from(value: tuple[str, ...], made_for: MadeFor) -> Places:
    found = []
    for item in value:
        name, colon, mode = item.partition(":")
        if name == "container":
            found.append(mode)
        else:
            found.append(f"{made_for.container(name)}{colon}{mode}")
    yield "HostConfig.VolumesFrom", found


def links(service: Service, containers: Mapping[str, str]) -> list[str]:
    """``CONTAINER:ALIAS`` of both kinds of links."""
    found = []
    for item in service.links:
        name, _, alias = item.partition(":")
        found.append(f"{containers.get(name, name)}:{alias or name}")
    for item in service.external_links:
        name, _, alias = item.partition(":")
        found.append(f"{name}:{alias or name}")
    return found


def plain_links(value: tuple[str, ...], made_for: MadeFor) -> Places:
    """On networks links belong to the endpoints."""
    if not made_for.service.attachments:
        yield "HostConfig.Links", links(made_for.service, made_for.containers)


def mounts(value: tuple[Mount, ...], made_for: MadeFor) -> Places:
    """Binds where they can say it, else mounts; anonymous volumes are the image's words."""
    binds: list[str] = []
    whole: list[dict[str, Any]] = []
    anonymous: dict[str, Any] = {}
    volumes = made_for.project.volumes
    for mount in value:
        named = mount.kind != "volume" or mount.source
        kept = "" if named else made_for.keep_volumes.get(mount.target, "")
        special = bool(mount.subpath or mount.labels or not mount.create_host_path)
        if not named:
            special = special or mount.read_only or bool(mount.options)
        if not named and not kept and not special:
            anonymous[mount.target] = {}
        elif mount.kind in ("tmpfs", "image") or (special and not kept):
            whole.append(_mount(made_for.project, mount))
        else:
            source = mount.source
            if mount.kind == "volume":
                source = kept or volumes[mount.source].name
            words = ["ro" if mount.read_only else "rw", *mount.options]
            binds.append(f"{source}:{mount.target}:{','.join(words)}")
    yield "HostConfig.Binds", binds
    yield "HostConfig.Mounts", whole
    yield "Volumes", anonymous


def _mount(project: Project, mount: Mount) -> dict[str, Any]:
    data: dict[str, Any] = {"Type": mount.kind, "Target": mount.target}
    if mount.read_only:
        data["ReadOnly"] = True
    if mount.kind == "tmpfs":
        if mount.size or mount.mode:
            data["TmpfsOptions"] = {"SizeBytes": mount.size, "Mode": mount.mode}
        return data
    data["Source"] = mount.source
    if mount.kind == "volume":
        data["Source"] = project.volumes[mount.source].name if mount.source else ""
        options: dict[str, Any] = {"NoCopy": "nocopy" in mount.options, "Subpath": mount.subpath}
        data["VolumeOptions"] = options | ({"Labels": dict(mount.labels)} if mount.labels else {})
    elif mount.kind == "bind":
        words = [word for word in mount.options if word not in ("z", "Z")]
        if words:
            data["BindOptions"] = {"Propagation": ",".join(words)}
    elif mount.subpath:
        data["ImageOptions"] = {"Subpath": mount.subpath}
    return data


def file_binds(made_for: MadeFor) -> list[str]:
    """Secrets and configs that are files of the host; those that are text are copied in later."""
    service, project = made_for.service, made_for.project
    return [
        f"{known[grant.source].path}:{grant_path(grant, base)}:ro"
        for grants, known, base in (
            (service.secrets, project.secrets, SECRETS),
            (service.configs, project.configs, CONFIGS),
        )
        for grant in grants
        if known[grant.source].content is None
    ]
