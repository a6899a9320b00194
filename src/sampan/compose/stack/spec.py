"""A stack as the API's specifications. Pure: the same file gives the same JSON.

Lists are sorted as Docker's own tool sorts them, so that both agree on what has changed.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from sampan.compose.model.project import Healthcheck, Mount, Network, Port, Service
from sampan.compose.stack.model import (
    IMAGE,
    Amounts,
    Restart,
    Rollout,
    Stack,
    StackFile,
    StackGrant,
    StackService,
)
from sampan.compose.units import port_range

_DEFAULT_DRIVER = "overlay"
_PROPAGATION = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
Ids = Mapping[str, str]


def _said(**values: Any) -> dict[str, Any]:
    """Only what has a value: the API's way to say nothing."""
    return {key: value for key, value in values.items() if value not in (None, "", 0, [], {}, ())}


def network_body(stack: Stack, network: Network) -> dict[str, Any]:
    """The body of ``POST /networks/create``."""
    body: dict[str, Any] = {
        "Name": network.name,
        "Driver": network.driver or _DEFAULT_DRIVER,
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Labels": stack.labelled(network.labels),
    }
    if network.driver_opts:
        body["Options"] = dict(network.driver_opts)
    if network.enable_ipv6:
        body["EnableIPv6"] = True
    if network.pools or network.ipam_driver or network.ipam_options:
        names = {"subnet": "Subnet", "ip_range": "IPRange", "gateway": "Gateway"}
        names |= {"aux_addresses": "AuxiliaryAddresses"}
        body["IPAM"] = {
            "Driver": network.ipam_driver,
            "Config": [{names[key]: value for key, value in p.items()} for p in network.pools],
        } | _said(Options=network.ipam_options)
    return body


def file_spec(stack: Stack, file: StackFile) -> dict[str, Any]:
    """The body of ``POST /secrets/create`` or ``/configs/create``."""
    spec: dict[str, Any] = {"Name": file.name, "Labels": stack.labelled(file.labels)}
    if file.data is not None:
        spec["Data"] = b64encode(file.data).decode()
    if file.driver:
        spec["Driver"] = _said(Name=file.driver, Options=file.driver_opts)
    if file.template_driver:
        spec["Templating"] = {"Name": file.template_driver}
    return spec


def service_spec(stack: Stack, one: StackService, secrets: Ids, configs: Ids) -> dict[str, Any]:
    """The body of ``POST /services/create``. ``secrets``, ``configs``: name -> id."""
    service = one.service
    spec: dict[str, Any] = {
        "Name": stack.scoped(service.name),
        "Labels": stack.labelled({**one.labels, IMAGE: service.image}),
        "TaskTemplate": _task(stack, one, secrets, configs),
        "Mode": _mode(one),
        "EndpointSpec": _said(Mode=one.endpoint_mode, Ports=_ports(service.ports)),
    }
    for key, rollout in (("UpdateConfig", one.update), ("RollbackConfig", one.rollback)):
        if rollout is not None:
            spec[key] = _rollout(rollout)
    return spec


def _mode(one: StackService) -> dict[str, Any]:
    if one.mode == "global":
        return {"Global": {}}
    if one.mode == "global-job":
        return {"GlobalJob": {}}
    count = {} if one.replicas is None else {"Replicas": one.replicas}
    if one.mode == "replicated":
        return {"Replicated": count}
    if one.replicas is None:
        return {"ReplicatedJob": {}}
    return {"ReplicatedJob": {"MaxConcurrent": one.replicas, "TotalCompletions": one.replicas}}


def _rollout(rollout: Rollout) -> dict[str, Any]:
    return {"Parallelism": rollout.parallelism} | _said(
        Delay=rollout.delay_ns,
        FailureAction=rollout.failure_action,
        Monitor=rollout.monitor_ns,
        MaxFailureRatio=rollout.max_failure_ratio,
        Order=rollout.order,
    )


def _task(stack: Stack, one: StackService, secrets: Ids, configs: Ids) -> dict[str, Any]:
    service = one.service
    task: dict[str, Any] = {
        "ContainerSpec": _container(stack, one, secrets, configs),
        "Resources": _said(Limits=_amounts(one.limits), Reservations=_amounts(one.reservations)),
        "Placement": _said(
            Constraints=list(one.constraints),
            Preferences=[{"Spread": {"SpreadDescriptor": word}} for word in one.spread],
            MaxReplicas=one.max_per_node,
            Platforms=_platforms(service.platform),
        ),
        "Networks": _networks(stack, service),
        "ForceUpdate": 0,
    }
    if one.restart is not None:
        task["RestartPolicy"] = _restart(one.restart)
    if service.logging_driver:
        task["LogDriver"] = _said(Name=service.logging_driver, Options=service.logging_options)
    return task


def _restart(restart: Restart) -> dict[str, Any]:
    found = {
        "Condition": restart.condition or None,
        "Delay": restart.delay_ns,
        "MaxAttempts": restart.max_attempts,
        "Window": restart.window_ns,
    }
    return {key: value for key, value in found.items() if value is not None}


def _platforms(platform: str) -> list[dict[str, str]]:
    if not platform:
        return []
    system, _, architecture = platform.partition("/")
    return [_said(OS=system, Architecture=architecture)]


def _amounts(amounts: Amounts) -> dict[str, Any]:
    return _said(
        NanoCPUs=amounts.nano_cpus,
        MemoryBytes=amounts.memory,
        Pids=amounts.pids,
        GenericResources=[
            {"DiscreteResourceSpec": {"Kind": kind, "Value": value}}
            for kind, value in amounts.generic
        ],
    )


def _networks(stack: Stack, service: Service) -> list[dict[str, Any]]:
    found = [
        {
            "Target": stack.networks[attachment.network].name,
            # The service answers to its plain name inside of its stack.
            "Aliases": list(dict.fromkeys([*attachment.aliases, service.name])),
            **_said(DriverOpts=attachment.driver_opts),
        }
        for attachment in service.attachments
    ]
    return sorted(found, key=lambda item: str(item["Target"]))


def _ports(ports: tuple[Port, ...]) -> list[dict[str, Any]]:
    found = []
    for port in ports:
        for published in port_range(port.published) if port.published else (0,):
            found.append(
                {
                    "Protocol": port.protocol,
                    "TargetPort": port.target,
                    **_said(PublishedPort=published),
                    "PublishMode": port.mode,
                }
            )
    return sorted(found, key=lambda port: int(port.get("PublishedPort", 0)))


def _container(stack: Stack, one: StackService, secrets: Ids, configs: Ids) -> dict[str, Any]:
    service = one.service
    plain = service.settings
    found = _said(
        Command=list(service.entrypoint or ()),
        Args=list(service.command or ()),
        Env=sorted(f"{key}={value}" for key, value in service.environment.items()),
        Hostname=plain.get("hostname"),
        Dir=plain.get("working_dir"),
        User=plain.get("user"),
        Groups=list(plain.get("group_add", ())),
        StopSignal=service.stop_signal,
        TTY=plain.get("tty", False),
        OpenStdin=plain.get("stdin_open", False),
        ReadOnly=plain.get("read_only", False),
        Hosts=_hosts(service.extra_hosts),
        DNSConfig=_said(
            Nameservers=list(plain.get("dns", ())),
            Search=list(plain.get("dns_search", ())),
            Options=list(plain.get("dns_opt", ())),
        ),
        Isolation=one.isolation,
        Sysctls=dict(service.sysctls),
        CapabilityAdd=_capabilities(plain.get("cap_add", ())),
        CapabilityDrop=_capabilities(plain.get("cap_drop", ())),
        Ulimits=[
            {"Name": name, "Soft": soft, "Hard": hard}
            for name, (soft, hard) in sorted(service.ulimits.items())
        ],
        OomScoreAdj=plain.get("oom_score_adj", 0),
        Mounts=_mounts(stack, service),
        Secrets=[_grant(g, "Secret", stack.secrets, secrets) for g in one.secrets],
        Configs=[_grant(g, "Config", stack.configs, configs) for g in one.configs],
    )
    found["Image"] = service.image
    found["Labels"] = stack.labelled(service.labels)
    if "init" in plain:
        found["Init"] = plain["init"]
    if service.stop_grace_ns is not None:
        found["StopGracePeriod"] = service.stop_grace_ns
    if service.healthcheck is not None:
        found["Healthcheck"] = _health(service.healthcheck)
    return found


def _health(check: Healthcheck) -> dict[str, Any]:
    return _said(
        Test=list(check.test),
        Interval=check.interval_ns,
        Timeout=check.timeout_ns,
        Retries=check.retries,
        StartPeriod=check.start_period_ns,
        StartInterval=check.start_interval_ns,
    )


def _hosts(items: tuple[str, ...]) -> list[str]:
    """``name:address`` as ``address name``."""
    pairs = (item.partition(":") for item in items)
    return [f"{address.strip('[]')} {name}" for name, _, address in pairs]


def _capabilities(names: tuple[str, ...]) -> list[str]:
    upper = (name.upper() for name in names)
    return sorted({n if n == "ALL" or n.startswith("CAP_") else f"CAP_{n}" for n in upper})


def _grant(
    grant: StackGrant, kind: str, files: Mapping[str, StackFile], ids: Ids
) -> dict[str, Any]:
    name = files[grant.source].name
    file = {"Name": grant.target, "UID": grant.uid, "GID": grant.gid, "Mode": grant.mode}
    return {"File": file, f"{kind}ID": ids.get(name, ""), f"{kind}Name": name}


def _mounts(stack: Stack, service: Service) -> list[dict[str, Any]]:
    found = [_mount(stack, mount) for mount in service.mounts]
    taken = {mount.target for mount in service.mounts}
    for item in service.tmpfs:
        target, _, options = item.partition(":")
        if target not in taken:
            found.append({"Type": "tmpfs", "Target": target, **_tmpfs_options(options)})
    return found


def _tmpfs_options(options: str) -> dict[str, Any]:
    from sampan.compose.units import size_bytes

    said = dict(pair.partition("=")[::2] for pair in options.split(",") if pair)
    found = _said(
        SizeBytes=size_bytes(said["size"]) if said.get("size") else 0,
        Mode=int(said["mode"], 8) if said.get("mode") else 0,
    )
    return {"TmpfsOptions": found} if found else {}


def _mount(stack: Stack, mount: Mount) -> dict[str, Any]:
    found = {"Type": mount.kind, "Target": mount.target, **_said(ReadOnly=mount.read_only)}
    if mount.kind == "bind":
        propagation = next((word for word in mount.options if word in _PROPAGATION), "")
        found |= {"Source": mount.source, **_said(BindOptions=_said(Propagation=propagation))}
    elif mount.kind == "tmpfs":
        found |= _said(TmpfsOptions=_said(SizeBytes=mount.size, Mode=mount.mode))
    else:
        options = _said(NoCopy="nocopy" in mount.options, Subpath=mount.subpath)
        if mount.source:
            volume = stack.volumes[mount.source]
            found["Source"] = volume.name
            if not volume.external:
                options["Labels"] = stack.labelled(volume.labels)
                driver = _said(Name=volume.driver, Options=volume.driver_opts)
                options |= _said(DriverConfig=driver)
        found |= _said(VolumeOptions=options)
    return found
