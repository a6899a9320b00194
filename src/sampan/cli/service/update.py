"""From the flags of ``service update`` to a changed specification.

What no flag names stays as it is, word for word. Lists that have no order of their own come out
sorted, so that the same set said in another order is no change (a change restarts tasks).
"""

from __future__ import annotations

from sampan.cli.flag_values import key_values, mount, ulimit
from sampan.cli.service import groups as groups
from sampan.cli.service import values as values
from sampan.cli.service.values import given, unsigned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from sampan.cli.service.lookup import Lookup
    from sampan.flags import Args

    Part = dict[str, Any]


def updated_spec(
    spec: Mapping[str, Any], args: Args, environ: Mapping[str, str], lookup: Lookup
) -> Part:
    """A changed copy. Raises ValueError, CliError."""
    from copy import deepcopy

    new: Part = deepcopy(dict(spec))
    task: Part = new.setdefault("TaskTemplate", {})
    part: Part = task.setdefault("ContainerSpec", {})
    if args.given("image"):
        part["Image"] = args.text("image")
    if args.given("args"):
        _set(part, "Args", given(args, "args", values.words, []))
    if args.given("init"):
        part["Init"] = args.on("init")
    groups.container(part, args)
    groups.health(part, args)
    groups.resources(task, args)
    groups.restart(task, args)
    groups.rollouts(new, args)
    groups.log_driver(task, args)
    _maps(new, part, args)
    _environment(part, args, environ)
    _container_lists(part, args)
    _capabilities(part, args)
    _dns(part, args)
    _grants(part, args, lookup)
    _placement(task, args)
    _generic(task, args)
    _networks(new, task, args, lookup)
    _endpoint(new, args)
    _mode(new, args)
    if args.on("force"):
        task["ForceUpdate"] = int(task.get("ForceUpdate") or 0) + 1
    return new


def _set(part: Part, key: str, value: object) -> None:
    if value:
        part[key] = value
    else:
        part.pop(key, None)


def _changed(args: Args, name: str) -> bool:
    return args.given(f"{name}-add") or args.given(f"{name}-rm")


def _merged(
    old: Iterable[Any], new: Iterable[Any], gone: Iterable[str], key: Callable[[Any], str]
) -> list[Any]:
    """``old`` without ``gone``, then ``new`` in the place of what has the same key."""
    removed = set(gone)
    found = {key(item): item for item in old if key(item) not in removed}
    for item in new:
        found[key(item)] = item
    return list(found.values())


def _maps(new: Part, part: Part, args: Args) -> None:
    for name, where, key in (
        ("label", new, "Labels"),
        ("container-label", part, "Labels"),
        ("sysctl", part, "Sysctls"),
    ):
        if _changed(args, name):
            kept = dict(where.get(key) or {})
            for gone in args.many(f"{name}-rm"):
                kept.pop(gone.partition("=")[0], None)
            kept.update(key_values(args.many(f"{name}-add")))
            # A service without labels says so; a container without any says nothing.
            where[key] = kept
            if not kept and where is part:
                where.pop(key)


def _environment(part: Part, args: Args, environ: Mapping[str, str]) -> None:
    if not _changed(args, "env"):
        return
    from sampan.cli.flag_values import environment

    fresh = environment((), args.many("env-add"), environ)
    merged = _merged(
        part.get("Env") or (), fresh, args.many("env-rm"), lambda item: str(item).partition("=")[0]
    )
    _set(part, "Env", merged)


def _container_lists(part: Part, args: Args) -> None:
    if _changed(args, "mount"):
        fresh = [mount(item) for item in args.many("mount-add")]
        merged = _merged(
            part.get("Mounts") or (), fresh, args.many("mount-rm"), lambda m: str(m["Target"])
        )
        merged.sort(key=lambda m: (str(m.get("Source", "")), str(m["Target"])))
        _set(part, "Mounts", merged)
    if _changed(args, "host"):
        gone = set(_hosts_to_remove(args.many("host-rm")))
        kept = [line for line in part.get("Hosts") or () if not _is_gone(line, gone)]
        added = [line for line in values.hosts(args.many("host-add")) if line not in kept]
        _set(part, "Hosts", sorted(kept + added))
    if _changed(args, "group"):
        merged = _merged(
            part.get("Groups") or (), args.many("group-add"), args.many("group-rm"), str
        )
        _set(part, "Groups", sorted(merged))
    if _changed(args, "ulimit"):
        fresh = [ulimit(item) for item in args.many("ulimit-add")]
        merged = _merged(
            part.get("Ulimits") or (), fresh, args.many("ulimit-rm"), lambda u: str(u["Name"])
        )
        _set(part, "Ulimits", sorted(merged, key=lambda u: str(u["Name"])))


def _hosts_to_remove(items: Iterable[str]) -> list[tuple[str, str]]:
    """(name, address or "") of ``--host-rm``."""
    found = []
    for item in items:
        name, _, address = item.partition(":")
        found.append((name, address))
    return found


def _is_gone(line: str, gone: set[tuple[str, str]]) -> bool:
    address, *names = line.split()
    return any((name, address) in gone or (name, "") in gone for name in names)


def _capabilities(part: Part, args: Args) -> None:
    if not (args.given("cap-add") or args.given("cap-drop")):
        return
    add, drop = set(part.get("CapabilityAdd") or ()), set(part.get("CapabilityDrop") or ())
    wanted, unwanted = values.capabilities(args.many("cap-add"), args.many("cap-drop"))
    for name in wanted:
        # Taking back a drop is enough to be where one was before.
        if name in drop:
            drop.discard(name)
        else:
            add.add(name)
    for name in unwanted:
        if name in add:
            add.discard(name)
        else:
            drop.add(name)
    _set(part, "CapabilityAdd", sorted(add))
    _set(part, "CapabilityDrop", sorted(drop))


def _dns(part: Part, args: Args) -> None:
    for name, key in (("dns", "Nameservers"), ("dns-search", "Search"), ("dns-option", "Options")):
        if _changed(args, name):
            dns = part.setdefault("DNSConfig", {})
            merged = _merged(
                dns.get(key) or (), args.many(f"{name}-add"), args.many(f"{name}-rm"), str
            )
            _set(dns, key, sorted(merged))


def _grants(part: Part, args: Args, lookup: Lookup) -> None:
    for name, kind in (("secret", "Secret"), ("config", "Config")):
        if not _changed(args, name):
            continue
        gone = set(args.many(f"{name}-rm"))
        kept = [g for g in part.get(f"{kind}s") or () if g[f"{kind}Name"] not in gone]
        fresh = [values.file_grant(item, kind) for item in args.many(f"{name}-add")]
        _set(part, f"{kind}s", kept + lookup.grants(fresh, kind))


def _placement(task: Part, args: Args) -> None:
    place = task.setdefault("Placement", {})
    if _changed(args, "constraint"):
        merged = _merged(
            place.get("Constraints") or (),
            args.many("constraint-add"),
            args.many("constraint-rm"),
            str,
        )
        _set(place, "Constraints", sorted(merged))
    if _changed(args, "placement-pref"):
        gone = values.preferences(args.many("placement-pref-rm"))
        kept = [p for p in place.get("Preferences") or () if p not in gone]
        fresh = values.preferences(args.many("placement-pref-add"))
        _set(place, "Preferences", kept + fresh)
    if args.given("replicas-max-per-node"):
        _set(place, "MaxReplicas", given(args, "replicas-max-per-node", unsigned, 0))


def _generic(task: Part, args: Args) -> None:
    if not _changed(args, "generic-resource"):
        return
    reserved = task.setdefault("Resources", {}).setdefault("Reservations", {})
    merged = _merged(
        reserved.get("GenericResources") or (),
        values.generic_resources(args.many("generic-resource-add")),
        args.many("generic-resource-rm"),
        lambda item: str(next(iter(item.values()))["Kind"]),
    )
    _set(reserved, "GenericResources", merged)


def _networks(new: Part, task: Part, args: Args, lookup: Lookup) -> None:
    if not _changed(args, "network"):
        return
    old = task.get("Networks") or new.get("Networks") or ()
    new.pop("Networks", None)
    gone = {lookup.network(name) for name in args.many("network-rm")}
    fresh = [values.network(item) for item in args.many("network-add")]
    fresh = [{**item, "Target": lookup.network(item["Target"])} for item in fresh]
    merged = _merged(old, fresh, gone, lambda item: str(item["Target"]))
    _set(task, "Networks", sorted(merged, key=lambda item: str(item["Target"])))


def _endpoint(new: Part, args: Args) -> None:
    if args.given("endpoint-mode"):
        new.setdefault("EndpointSpec", {})["Mode"] = args.text("endpoint-mode").lower()
    if not _changed(args, "publish"):
        return
    endpoint = new.setdefault("EndpointSpec", {})
    gone = [_target(item) for item in args.many("publish-rm")]
    kept = {_port_key(p): p for p in endpoint.get("Ports") or () if _aim(p) not in gone}
    for port in values.ports(args.many("publish-add")):
        kept.setdefault(_port_key(port), port)
    _set(endpoint, "Ports", [kept[key] for key in sorted(kept)])


def _target(item: str) -> tuple[int, str, str]:
    """What ``--publish-rm`` names: a target port, whatever it is published as."""
    head = item.partition("/")[0]
    if ":" in head and "=" not in item:
        raise ValueError(f"invalid publish-rm {item}: name the target port only")
    return _aim(values.ports([item])[0])


def _aim(port: Mapping[str, Any]) -> tuple[int, str, str]:
    protocol = str(port.get("Protocol") or "tcp")
    return int(port["TargetPort"]), protocol, str(port.get("PublishMode") or "ingress")


def _port_key(port: Mapping[str, Any]) -> str:
    target, protocol, mode = _aim(port)
    return f"{port.get('PublishedPort') or 0}:{target}/{protocol}/{mode}"


def _mode(new: Part, args: Args) -> None:
    mode = new.setdefault("Mode", {})
    if args.given("replicas"):
        count = given(args, "replicas", unsigned, 0)
        scaled(mode, count)
    if args.given("max-concurrent"):
        job = mode.get("ReplicatedJob")
        if job is None:
            raise ValueError("max-concurrent can only be used with replicated-job mode")
        job["MaxConcurrent"] = given(args, "max-concurrent", unsigned, 0)


def scaled(mode: Part, count: int) -> None:
    """Set the number of tasks of a service's mode. Raises ValueError."""
    if mode.get("ReplicatedJob") is not None:
        mode["ReplicatedJob"]["TotalCompletions"] = count
    elif mode.get("Replicated") is not None:
        mode["Replicated"]["Replicas"] = count
    else:
        raise ValueError("replicas can only be used with replicated or replicated-job mode")
