"""Nothing is accepted and dropped: every field of a create body takes effect, is named in a
warning, or is refused. The fields are those of the types that read the body, so that a new one is
asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec
import pytest

from sampan.api.translate import create, hostconfig
from sampan.api.types import containers, volumes
from sampan.api.types.hostconfig import HostConfig
from sampan.engine.spec.validate import warnings_of
from sampan.errors import InvalidArgument, Unsupported

VALUES: dict[str, Any] = {
    "BlkioWeight": 500,
    "CpuPeriod": 50_000,
    "CpuQuota": 50_000,
    "HostConfig.NetworkMode": "host",
    "HostConfig.RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
    "HostConfig.RestartPolicy.MaximumRetryCount": 3,
    "HostConfig.RestartPolicy.Name": "always",
    "Memory": 1 << 30,
    "MemoryReservation": 1 << 20,
    "MemorySwap": -1,
    "MemorySwappiness": 3,
    "HostConfig.Binds": ["/a:/b"],
    "HostConfig.Isolation": "hyperv",
    "HostConfig.UsernsMode": "private",
    "HostConfig.ConsoleSize": [3, 4],
    "HostConfig.VolumesFrom": ["other"],
    "HostConfig.Links": ["a:b"],
    "HostConfig.ExtraHosts": ["a:1.2.3.4"],
    "HostConfig.SecurityOpt": ["label=type:x"],
    "HostConfig.Tmpfs": {"/t": "size=1m"},
    "HostConfig.Devices": [{"PathOnHost": "/dev/null"}],
    "HostConfig.Ulimits": [{"Name": "nofile", "Soft": 3, "Hard": 4}],
    "HostConfig.PortBindings": {"80/tcp": [{"HostPort": "8080"}]},
    "HostConfig.VolumeDriver": "other",
    "ExposedPorts": {"80/tcp": {}},
    "Volumes": {"/v": {}},
    "Healthcheck": {"Test": ["CMD", "true"]},
    "Healthcheck.Test": ["CMD", "true"],
    "Healthcheck.Interval": 5_000_000,
    "Healthcheck.Timeout": 5_000_000,
    "Healthcheck.StartPeriod": 5_000_000,
    "Healthcheck.StartInterval": 5_000_000,
    "Env": ["A=b"],
    "Mounts.BindOptions.Propagation": "rslave",
}
"""What to say, where the type alone does not tell; by the path, or by its end."""

BESIDE: dict[str, dict[str, Any]] = {
    "HostConfig.RestartPolicy.MaximumRetryCount": {"Name": "on-failure"},
    "HostConfig.VolumeDriver": {"Binds": ["vol:/v"]},
    "HostConfig.Ulimits": {},
}
"""What a field needs beside it, in its own object, to mean anything."""

NOTHING_TO_DO = {
    "HostConfig.ContainerIDFile": "the client has written the file itself",
    "HostConfig.Mounts.Consistency": "of hosts that share files over a network: Docker's too",
    **{
        f"NetworkingConfig.EndpointsConfig.{name}": "of an inspect that is sent back: an answer"
        for name in (
            "NetworkID", "EndpointID", "Gateway", "IPAddress", "IPPrefixLen", "IPv6Gateway",
            "GlobalIPv6Address", "GlobalIPv6PrefixLen", "DNSNames",
        )
    },
}  # fmt: skip
BASE: dict[str, Any] = {
    "Image": "busybox",
    "HostConfig": {"RestartPolicy": {"Name": "no"}},
    "NetworkingConfig": {"EndpointsConfig": {"net": {}}},
}
MOUNTS = {
    "BindOptions": {"Type": "bind", "Source": "/src", "Target": "/m"},
    "VolumeOptions": {"Type": "volume", "Source": "vol", "Target": "/m"},
    "TmpfsOptions": {"Type": "tmpfs", "Target": "/m"},
}


def struct_in(kind: Any) -> type[msgspec.Struct] | None:
    """The object that a field holds, in a list, a mapping, or by itself."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    return next((found for one in get_args(kind) if (found := struct_in(one))), None)


def sample(kind: Any) -> Any:
    """Something else than a field's default."""
    if get_origin(kind) in (Union, UnionType):
        return sample(next(one for one in get_args(kind) if one is not type(None)))
    if get_origin(kind) is list:
        return [sample(get_args(kind)[0])]
    if get_origin(kind) is dict:
        return {"key": sample(get_args(kind)[1])}
    return {bool: True, int: 7, str: "word", object: {}}[kind]


def fields(kind: type[msgspec.Struct], path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of every field below ``kind`` that is no object of its own."""
    for field in msgspec.structs.fields(kind):
        here = f"{path}.{field.encode_name}".lstrip(".")
        inner = struct_in(field.type)
        names = (here, here.partition(".")[2], field.encode_name)
        known = next((VALUES[name] for name in names if name in VALUES), None)
        if known is not None:
            yield here, known
        elif inner is None:
            yield here, sample(field.type)
        if inner is not None and known is None:
            yield from fields(inner, here)


FIELDS = dict(fields(containers.CreateBody))


def body_with(path: str, value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The body without and with the field."""
    bodies = []
    for filled in (False, True):
        body = msgspec.json.decode(msgspec.json.encode(BASE))
        at = body
        *above, last = path.split(".")
        for index, name in enumerate(above):
            if name == "EndpointsConfig":
                at = at["EndpointsConfig"]["net"]
            elif name == "Mounts":
                option = path.split(".")[index + 1]
                at = at.setdefault("Mounts", [dict(MOUNTS.get(option, MOUNTS["VolumeOptions"]))])[0]
            elif name in ("BlkioWeightDevice", "DeviceRequests", "Devices", "Ulimits") or (
                name.startswith("BlkioDevice")
            ):
                at = at.setdefault(name, [{}])[0]
            else:
                at = at.setdefault(name, {})
        at.update(BESIDE.get(path, {}))
        if "ReadOnly" in last and last != "ReadOnly":
            body["HostConfig"]["Mounts"][0]["ReadOnly"] = True
        if filled:
            at[last] = value
        bodies.append(body)
    return bodies[0], bodies[1]


def outcome(body: dict[str, Any]) -> tuple[object, list[str]]:
    """The request that the engine gets, and warnings."""
    read = containers.CREATE_DECODER.decode(msgspec.json.encode(body))
    request = create.request(read, name="", platform="")
    said = hostconfig.discarded(read.host_config or HostConfig())
    return request, [*said, *warnings_of(request.spec)]


@pytest.mark.parametrize("path", sorted(FIELDS.keys() - NOTHING_TO_DO.keys()))
def test_a_field_is_not_dropped(path: str) -> None:
    without, filled = body_with(path, FIELDS[path])
    try:
        before, _ = outcome(without)  # with the object that the field is in
        after, warnings = outcome(filled)
    except (InvalidArgument, Unsupported):
        return
    names = path.removeprefix("HostConfig.").split(".")
    assert after != before or any(name in said for name in names for said in warnings), path


def test_the_paths_are_many() -> None:
    """The walk does not end early."""
    assert len(FIELDS) > 110
    assert {path.partition(".")[0] for path in FIELDS} >= {"HostConfig", "NetworkingConfig"}
    assert any("Mounts.VolumeOptions.DriverConfig" in path for path in FIELDS)


def test_what_has_nothing_to_do_is_a_field() -> None:
    assert NOTHING_TO_DO.keys() <= FIELDS.keys()
    assert "cluster_volume_spec" in volumes.CreateBody.__struct_fields__
