"""Values as the specification of a cluster's service has them. Pure; named by the tables of keys.

Lists are sorted as Docker's own tool sorts them, so that both agree on what has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sampan.compose.model.engine_form import nano, ulimits
from sampan.compose.model.project import FileSource, Network, Volume
from sampan.compose.model.service import Service
from sampan.compose.model.values import (
    Amounts,
    Deploy,
    Grant,
    Logging,
    Mount,
    NetworkAttachment,
    Port,
    RestartPolicy,
)
from sampan.compose.units import port_range
from sampan.units import size_bytes

_PROPAGATION = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
Places = Iterator[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class MadeFor:
    """The service that a specification is of, and what it uses."""

    service: Service
    networks: Mapping[str, Network]
    volumes: Mapping[str, Volume]
    secrets: Mapping[str, FileSource]
    configs: Mapping[str, FileSource]
    secret_ids: Mapping[str, str]
    config_ids: Mapping[str, str]
    labels: Mapping[str, str]
    """What every object of the stack carries."""


def said(**values: Any) -> dict[str, Any]:
    """Only what has a value: the API's way to say nothing."""
    return {key: value for key, value in values.items() if value not in (None, "", 0, [], {}, ())}


def environment(value: Mapping[str, str]) -> list[str]:
    return sorted(f"{key}={text}" for key, text in value.items())


def labels(value: Mapping[str, str], made_for: MadeFor) -> Places:
    yield "ContainerSpec.Labels", {**value, **made_for.labels}


def capabilities(names: tuple[str, ...]) -> list[str]:
    upper = (name.upper() for name in names)
    return sorted({n if n == "ALL" or n.startswith("CAP_") else f"CAP_{n}" for n in upper})


def extra_hosts(items: tuple[str, ...]) -> list[str]:
    """``name:address`` as ``address name``."""
    pairs = (item.partition(":") for item in items)
    return [f"{address.strip('[]')} {name}" for name, _, address in pairs]


def sorted_ulimits(value: Mapping[str, tuple[int, int]]) -> list[dict[str, Any]]:
    return ulimits(dict(sorted(value.items())))


def logging(value: Logging, made_for: MadeFor) -> Places:
    """Options alone mean nothing: they are a driver's."""
    if value.driver:
        yield "LogDriver", said(Name=value.driver, Options=dict(value.options))


def platform(text: str) -> list[dict[str, str]]:
    system, _, architecture = text.partition("/")
    return [said(OS=system, Architecture=architecture)]


def pids_limit(value: int, made_for: MadeFor) -> Places:
    if value > 0:
        yield "Resources.Limits.Pids", value


def restart(word: str, made_for: MadeFor) -> Places:
    """What ``restart`` says for one host, in the cluster's words."""
    name, _, count = word.partition(":")
    if name == "on-failure":
        yield "RestartPolicy.Condition", "on-failure"
        if count:
            yield "RestartPolicy.MaxAttempts", int(count)
    elif name != "no":
        yield "RestartPolicy.Condition", "any"


def restart_policy(policy: RestartPolicy, made_for: MadeFor) -> Places:
    """Takes the place of what ``restart`` says."""
    found = {
        "Condition": policy.condition or None,
        "Delay": policy.delay_ns,
        "MaxAttempts": policy.max_attempts,
        "Window": policy.window_ns,
    }
    yield "RestartPolicy", {key: value for key, value in found.items() if value is not None}


def mode(service: Service) -> dict[str, Any]:
    """How many replicas there are to be."""
    said_mode = service.deploy.mode if service.deploy else ""
    if said_mode == "global":
        return {"Global": {}}
    if said_mode == "global-job":
        return {"GlobalJob": {}}
    replicas = replicas_of(service)
    if said_mode == "replicated-job":
        if replicas is None:
            return {"ReplicatedJob": {}}
        return {"ReplicatedJob": {"MaxConcurrent": replicas, "TotalCompletions": replicas}}
    return {"Replicated": {} if replicas is None else {"Replicas": replicas}}


def replicas_of(service: Service) -> int | None:
    """``deploy.replicas``, else ``scale``; None: not said."""
    if service.deploy is not None and service.deploy.replicas is not None:
        return service.deploy.replicas
    return service.scale


def amounts(kind: str) -> Callable[[Amounts, Any], Places]:
    """``Limits`` or ``Reservations``: they win over ``mem_limit`` and the like."""

    def places(value: Amounts, made_for: Any) -> Places:
        if value.cpus is not None:
            yield f"{kind}.NanoCPUs", nano(value.cpus)
        if value.memory is not None:
            yield f"{kind}.MemoryBytes", value.memory
        if value.pids is not None:
            yield f"{kind}.Pids", value.pids
        if value.generic:
            yield (
                f"{kind}.GenericResources",
                [
                    {"DiscreteResourceSpec": {"Kind": name, "Value": amount}}
                    for name, amount in value.generic
                ],
            )

    return places


def spread(value: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"Spread": {"SpreadDescriptor": word}} for word in value]


def attachments(value: tuple[NetworkAttachment, ...], made_for: MadeFor) -> Places:
    """The service answers to its plain name inside of its stack."""
    found = [
        {
            "Target": made_for.networks[one.network].name,
            "Aliases": list(dict.fromkeys([*one.aliases, made_for.service.name])),
            **said(DriverOpts=dict(one.driver_opts)),
        }
        for one in value
    ]
    yield "Networks", sorted(found, key=lambda item: str(item["Target"]))


def ports(value: tuple[Port, ...], made_for: MadeFor) -> Places:
    """A range of published ports is one entry each."""
    found = [
        {
            "Protocol": port.protocol,
            "TargetPort": port.target,
            **said(Name=port.name, PublishedPort=published),
            "PublishMode": port.mode,
        }
        for port in value
        for published in (port_range(port.published) if port.published else (0,))
    ]
    yield "EndpointSpec.Ports", sorted(found, key=lambda port: int(port.get("PublishedPort", 0)))


def secrets(value: tuple[Grant, ...], made_for: MadeFor) -> Places:
    ids = made_for.secret_ids
    yield "ContainerSpec.Secrets", [_grant(g, "Secret", made_for.secrets, ids) for g in value]


def configs(value: tuple[Grant, ...], made_for: MadeFor) -> Places:
    ids = made_for.config_ids
    yield "ContainerSpec.Configs", [_grant(g, "Config", made_for.configs, ids) for g in value]


def _grant(
    grant: Grant, kind: str, files: Mapping[str, FileSource], ids: Mapping[str, str]
) -> dict[str, Any]:
    name = files[grant.source].name
    file = {
        "Name": grant.target or grant.source,
        "UID": grant.uid or "0",
        "GID": grant.gid or "0",
        "Mode": 0o444 if grant.mode is None else grant.mode,
    }
    return {"File": file, f"{kind}ID": ids.get(name, ""), f"{kind}Name": name}


def mounts(service: Service, made_for: MadeFor) -> list[dict[str, Any]]:
    """``volumes`` and ``tmpfs``: both are mounts here."""
    found = [_mount(made_for, mount) for mount in service.mounts]
    taken = {mount.target for mount in service.mounts}
    for item in service.tmpfs:
        target, _, options = item.partition(":")
        if target not in taken:
            found.append({"Type": "tmpfs", "Target": target, **_tmpfs_options(options)})
    return found


def _tmpfs_options(options: str) -> dict[str, Any]:
    words = dict(pair.partition("=")[::2] for pair in options.split(",") if pair)
    found = said(
        SizeBytes=size_bytes(words["size"]) if words.get("size") else 0,
        Mode=int(words["mode"], 8) if words.get("mode") else 0,
    )
    return {"TmpfsOptions": found} if found else {}


def _mount(made_for: MadeFor, mount: Mount) -> dict[str, Any]:
    found = {"Type": mount.kind, "Target": mount.target, **said(ReadOnly=mount.read_only)}
    if mount.kind == "bind":
        propagation = next((word for word in mount.options if word in _PROPAGATION), "")
        found |= {"Source": mount.source, **said(BindOptions=said(Propagation=propagation))}
    elif mount.kind == "tmpfs":
        found |= said(TmpfsOptions=said(SizeBytes=mount.size, Mode=mount.mode))
    else:
        options = said(NoCopy="nocopy" in mount.options, Subpath=mount.subpath)
        if mount.labels:
            options["Labels"] = dict(mount.labels)
        if mount.source:
            volume = made_for.volumes[mount.source]
            found["Source"] = volume.name
            if not volume.external:
                options["Labels"] = {**mount.labels, **volume.labels, **made_for.labels}
                driver = said(Name=volume.driver, Options=dict(volume.driver_opts))
                options |= said(DriverConfig=driver)
        found |= said(VolumeOptions=options)
    return found


def service_labels(deploy: Deploy | None) -> Mapping[str, str]:
    """Those of the service itself."""
    return deploy.labels if deploy else {}
