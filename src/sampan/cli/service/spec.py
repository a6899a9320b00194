"""From the flags of ``service create`` to the body of ``POST /services/create``."""

from __future__ import annotations

from sampan.cli.flag_values import environment, key_values, mount, ulimit
from sampan.cli.service import groups as groups
from sampan.cli.service import values as values
from sampan.cli.service.values import given, unsigned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sampan.cli.service.lookup import Lookup
    from sampan.flags import Args

MODES = ("replicated", "global", "replicated-job", "global-job")


def create_spec(args: Args, environ: Mapping[str, str], lookup: Lookup) -> dict[str, Any]:
    """The specification for ``args.rest``: image, command... Raises ValueError, CliError."""
    image, *command = args.rest
    container = _container(args, environ)
    container["Image"] = image
    if command:
        container["Args"] = command
    for name, kind in (("secret", "Secret"), ("config", "Config")):
        wanted = [values.file_grant(item, kind) for item in args.many(name)]
        if wanted:
            container[f"{kind}s"] = lookup.grants(wanted, kind)
    mode = service_mode(args)
    job = any(word.endswith("Job") for word in mode)
    spec: dict[str, Any] = {
        "Name": args.text("name"),
        "Labels": key_values(args.many("label")),
        "TaskTemplate": _task(args, container),
        "Mode": mode,
        "EndpointSpec": _endpoint(args),
    }
    networks = [values.network(item) for item in args.many("network")]
    if networks:
        found = [{**item, "Target": lookup.network(item["Target"])} for item in networks]
        spec["TaskTemplate"]["Networks"] = sorted(found, key=lambda item: str(item["Target"]))
    groups.rollouts(spec, args)
    if job and ("UpdateConfig" in spec or "RollbackConfig" in spec):
        raise ValueError("update and rollback configuration is not supported for jobs")
    return spec


def _container(args: Args, environ: Mapping[str, str]) -> dict[str, Any]:
    part: dict[str, Any] = {"Init": args.on("init"), "DNSConfig": {}}
    groups.container(part, args)
    groups.health(part, args)
    env: list[str] = []
    for item in environment(args.many("env-file"), args.many("env"), environ):
        name = item.partition("=")[0] + "="
        env = [old for old in env if not old.startswith(name)]
        env.append(item)
    add, drop = values.capabilities(args.many("cap-add"), args.many("cap-drop"))
    lists = {
        "Env": env,
        "Labels": key_values(args.many("container-label")),
        "Groups": args.many("group"),
        "Mounts": [mount(item) for item in args.many("mount")],
        "Hosts": values.hosts(args.many("host")),
        "Sysctls": key_values(args.many("sysctl")),
        "CapabilityAdd": add,
        "CapabilityDrop": drop,
        "Ulimits": [ulimit(item) for item in args.many("ulimit")],
    }
    dns = {"Nameservers": "dns", "Search": "dns-search", "Options": "dns-option"}
    part["DNSConfig"] = {key: args.many(name) for key, name in dns.items() if args.given(name)}
    return part | {key: value for key, value in lists.items() if value}


def _task(args: Args, container: dict[str, Any]) -> dict[str, Any]:
    task: dict[str, Any] = {
        "ContainerSpec": container,
        "Resources": {"Limits": {}, "Reservations": {}},
        "Placement": {},
        "ForceUpdate": 0,
    }
    groups.resources(task, args)
    generic = values.generic_resources(args.many("generic-resource"))
    if generic:
        task["Resources"]["Reservations"]["GenericResources"] = generic
    groups.restart(task, args)
    groups.log_driver(task, args)
    if args.given("constraint"):
        task["Placement"]["Constraints"] = args.many("constraint")
    if args.given("placement-pref"):
        task["Placement"]["Preferences"] = values.preferences(args.many("placement-pref"))
    if given(args, "replicas-max-per-node", unsigned, 0):
        task["Placement"]["MaxReplicas"] = unsigned(args.text("replicas-max-per-node"))
    return task


def service_mode(args: Args) -> dict[str, Any]:
    """``--mode`` with its numbers. Raises ValueError."""
    mode = args.text("mode", "replicated")
    replicas = given(args, "replicas", unsigned, None)
    concurrent = given(args, "max-concurrent", unsigned, None)
    if mode not in MODES:
        raise ValueError(f"Unknown mode: {mode}, only replicated and global supported")
    if mode.startswith("global"):
        if replicas is not None:
            raise ValueError("replicas can only be used with replicated or replicated-job mode")
        if given(args, "replicas-max-per-node", unsigned, 0):
            raise ValueError(
                "replicas-max-per-node can only be used with replicated or replicated-job mode"
            )
    if concurrent is not None and mode != "replicated-job":
        raise ValueError("max-concurrent can only be used with replicated-job mode")
    if mode == "global":
        return {"Global": {}}
    if mode == "global-job":
        return {"GlobalJob": {}}
    if mode == "replicated":
        return {"Replicated": {} if replicas is None else {"Replicas": replicas}}
    job = {
        "MaxConcurrent": replicas if concurrent is None else concurrent,
        "TotalCompletions": replicas,
    }
    return {"ReplicatedJob": {key: value for key, value in job.items() if value is not None}}


def _endpoint(args: Args) -> dict[str, Any]:
    found: dict[str, Any] = {"Mode": args.text("endpoint-mode", "vip").lower()}
    ports = values.ports(args.many("publish"))
    return {**found, "Ports": ports} if ports else found
