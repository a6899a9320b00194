"""Values as ``config`` prints them: plain data under the specification's keys, in long form."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from sampan.compose.model.values import (
    STARTED,
    Dependency,
    DeviceRequest,
    Grant,
    Mount,
    Port,
    Throttle,
)


def said(**values: Any) -> dict[str, Any]:
    """Only what has a value."""
    return {key: value for key, value in values.items() if value}


def ports(value: tuple[Port, ...]) -> list[dict[str, Any]]:
    """In the order of docker compose."""
    return [
        said(
            name=port.name,
            mode=port.mode,
            host_ip=port.host_ip,
            target=port.target,
            published=port.published,
            protocol=port.protocol,
            app_protocol=port.app_protocol,
        )
        for port in value
    ]


def expose(value: tuple[str, ...]) -> list[str]:
    """TCP goes without saying."""
    return [item.removesuffix("/tcp") for item in value]


def mounts(value: tuple[Mount, ...]) -> list[dict[str, Any]]:
    """Each in the long form."""
    return [_mount(mount) for mount in value]


def _mount(mount: Mount) -> dict[str, Any]:
    data: dict[str, Any] = {"type": mount.kind}
    data |= said(source=mount.source, target=mount.target, read_only=mount.read_only)
    if mount.kind == "bind":
        data["bind"] = {"create_host_path": mount.create_host_path}
        words = [word for word in mount.options if word not in ("nocopy", "z", "Z")]
        selinux = [word for word in mount.options if word in ("z", "Z")]
        if words:
            data["bind"]["propagation"] = ",".join(words)
        if selinux:
            data["bind"]["selinux"] = selinux[-1]
    elif mount.kind in ("volume", "image"):
        data[mount.kind] = {"nocopy": True} if "nocopy" in mount.options else {}
        data[mount.kind] |= said(subpath=mount.subpath, labels=dict(mount.labels))
    elif mount.size or mount.mode:
        data["tmpfs"] = said(size=mount.size, mode=mount.mode)
    return data


def dependencies(value: tuple[Dependency, ...]) -> dict[str, Any]:
    """Each in the long form."""
    return {
        d.service: {"condition": d.condition or STARTED, "required": d.required}
        | ({"restart": True} if d.restart else {})
        for d in value
    }


def grants(base: str) -> Callable[[tuple[Grant, ...]], list[dict[str, Any]]]:
    """With whole paths; ``base`` is the usual folder."""
    return lambda value: [
        {"source": grant.source, "target": grant_path(grant, base)}
        | said(uid=grant.uid, gid=grant.gid)
        | ({"mode": grant.mode} if grant.mode is not None else {})
        for grant in value
    ]


def grant_path(grant: Grant, base: str) -> str:
    """Where the file is in the container."""
    return os.path.join(base, grant.target or grant.source)


def ulimits(value: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """Both numbers of each."""
    return {name: {"soft": soft, "hard": hard} for name, (soft, hard) in value.items()}


def device_requests(value: tuple[DeviceRequest, ...]) -> list[dict[str, Any]]:
    """Each in the long form."""
    return [
        said(
            driver=request.driver,
            count=request.amount,
            device_ids=list(request.device_ids),
            capabilities=list(request.capabilities),
            options=dict(request.options),
        )
        for request in value
    ]


def throttles(amount: str) -> Callable[[tuple[Throttle, ...]], list[dict[str, Any]]]:
    """``amount`` is the key of the number."""
    return lambda value: [{"path": one.path, amount: one.amount} for one in value]


def spread(value: tuple[str, ...]) -> list[dict[str, str]]:
    """The only strategy that there is."""
    return [{"spread": word} for word in value]


def generic_resources(value: tuple[tuple[str, int], ...]) -> list[dict[str, Any]]:
    """As the specification spells them."""
    return [{"discrete_resource_spec": {"kind": kind, "value": amount}} for kind, amount in value]


def scale(value: int | None) -> int | None:
    """One goes without saying."""
    return None if value == 1 else value
