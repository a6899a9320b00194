"""One service: from its tree to ``model.Service``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from sampan.compose import units
from sampan.compose.errors import Where
from sampan.compose.file import dotenv
from sampan.compose.file.load import display
from sampan.compose.file.merge import is_path
from sampan.compose.file.node_reader import NodeReader
from sampan.compose.file.yaml_tree import Map, Scalar
from sampan.compose.model.project import (
    COMPLETED,
    HEALTHY,
    STARTED,
    Attachment,
    Build,
    Dependency,
    Grant,
    Healthcheck,
    Mount,
    Port,
    Service,
)

_TEXTS = (
    *("user", "working_dir", "hostname", "domainname", "ipc", "pid", "userns_mode", "uts"),
    *("cgroup", "cgroup_parent", "cpuset", "mac_address", "runtime"),
)
_LISTS = ("cap_add", "cap_drop", "security_opt", "group_add", "dns", "dns_opt", "dns_search")
_FLAGS = ("tty", "stdin_open", "privileged", "read_only", "init", "oom_kill_disable")
_SIZES = ("mem_limit", "mem_reservation", "shm_size")
_NUMBERS = (
    *("cpu_shares", "cpu_quota", "cpu_period", "cpu_rt_period", "cpu_rt_runtime"),
    *("mem_swappiness", "oom_score_adj", "pids_limit"),
)
_RESTART = {"any": "always", "on-failure": "on-failure", "none": "no"}


def read_service(name: str, cur: NodeReader, variables: Mapping[str, str]) -> Service:
    """Raises ComposeFileError with the place of what cannot be understood."""
    if not name or not all(c.isalnum() or c in "._-" for c in name):
        raise cur.fail("a service's name has letters, digits, -, _ and . only")
    if not cur["image"] and not cur["build"]:
        raise cur.fail('needs "image" or "build"')
    if cur["network_mode"] and cur["networks"]:
        raise cur["network_mode"].fail("cannot be combined with networks: choose one of them")
    grace = cur["stop_grace_period"]
    scale = _scale(cur)
    if cur["container_name"] and scale > 1:
        raise cur["container_name"].fail(
            f"a fixed name and {scale} replicas exclude each other: remove one of them"
        )
    return Service(
        name=name,
        where=cur.where,
        image=cur["image"].text(),
        build=_build(cur["build"], variables) if cur["build"] else None,
        command=_command(cur["command"]),
        entrypoint=_command(cur["entrypoint"]),
        environment=_environment(cur, variables),
        labels=cur["labels"].strings(),
        ports=_ports(cur["ports"]),
        expose=tuple(dict.fromkeys(_exposed(item) for item in cur["expose"])),
        mounts=_mounts(cur["volumes"]),
        volumes_from=cur["volumes_from"].texts(),
        attachments=_attachments(cur),
        network_mode=cur["network_mode"].text(),
        depends_on=tuple(_dependency(key, item) for key, item in cur["depends_on"].items()),
        links=cur["links"].texts(),
        external_links=cur["external_links"].texts(),
        healthcheck=_healthcheck(cur["healthcheck"]),
        restart=_restart(cur),
        container_name=cur["container_name"].text(),
        scale=scale,
        profiles=cur["profiles"].texts(),
        pull_policy=_pull_policy(cur["pull_policy"]),
        platform=cur["platform"].text(),
        stop_signal=cur["stop_signal"].text(),
        stop_grace_ns=grace.duration() if grace else None,
        logging_driver=cur["logging"]["driver"].text(),
        logging_options=cur["logging"]["options"].strings(),
        secrets=_grants(cur["secrets"], "/run/secrets/"),
        configs=_grants(cur["configs"], "/"),
        tmpfs=cur["tmpfs"].texts(),
        ulimits={key: _ulimit(item) for key, item in cur["ulimits"].items()},
        sysctls=cur["sysctls"].strings(),
        extra_hosts=_hosts(cur["extra_hosts"]),
        settings=_settings(cur),
    )


def _settings(cur: NodeReader) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in _TEXTS:
        if cur[key]:
            found[key] = cur[key].text()
    for key in _LISTS:
        if cur[key]:
            found[key] = cur[key].texts()
    for key in _FLAGS:
        if cur[key]:
            found[key] = cur[key].boolean()
    for key in _SIZES:
        if cur[key]:
            found[key] = cur[key].size()
    for key in _NUMBERS:
        if cur[key]:
            found[key] = cur[key].integer()
    if cur["memswap_limit"]:
        swap = cur["memswap_limit"]
        found["memswap_limit"] = -1 if swap.text() == "-1" else swap.size()
    if cur["cpus"]:
        found["cpus"] = cur["cpus"].number()
    if cur["devices"]:
        found["devices"] = tuple(_device(item) for item in cur["devices"])
    limits, reserved = (cur["deploy"]["resources"][key] for key in ("limits", "reservations"))
    if limits["cpus"]:
        found.setdefault("cpus", limits["cpus"].number())
    if limits["memory"]:
        found.setdefault("mem_limit", limits["memory"].size())
    if limits["pids"]:
        found.setdefault("pids_limit", limits["pids"].integer())
    if reserved["memory"]:
        found.setdefault("mem_reservation", reserved["memory"].size())
    return found


def _command(cur: NodeReader) -> tuple[str, ...] | None:
    if not cur:
        return None
    if not cur.is_scalar:
        return cur.texts()
    try:
        return units.split_command(cur.text())
    except ValueError as error:
        raise cur.fail(f"cannot be split into words: {error}") from None


def _build(cur: NodeReader, variables: Mapping[str, str]) -> Build:
    if cur["dockerfile"] and cur["dockerfile_inline"]:
        raise cur["dockerfile_inline"].fail("cannot be combined with dockerfile: choose one")
    args = cur["args"].pairs()
    return Build(
        context=cur["context"].text(),
        dockerfile=cur["dockerfile"].text("Dockerfile"),
        inline=cur["dockerfile_inline"].text(),
        args={key: variables.get(key) if value is None else value for key, value in args.items()},
        labels=cur["labels"].strings(),
        cache_from=cur["cache_from"].texts(),
        target=cur["target"].text(),
        network=cur["network"].text(),
        shm_size=cur["shm_size"].size(),
        extra_hosts=_hosts(cur["extra_hosts"]),
        tags=cur["tags"].texts(),
        no_cache=cur["no_cache"].boolean(),
        pull=cur["pull"].boolean(),
    )


def _environment(cur: NodeReader, variables: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in cur["env_file"]:
        path = item.text() if item.is_scalar else item["path"].text()
        required = item.is_scalar or item["required"].boolean(True)
        raw = not item.is_scalar and item["format"].text() == "raw"
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read()
        except OSError as error:
            if not required and isinstance(error, FileNotFoundError):
                continue
            raise item.fail(f"cannot read {path}: {os.strerror(error.errno or 0)}") from None
        found.update(_raw(text) if raw else _known(dotenv.parse(text, display(path), variables)))
    for key, value in cur["environment"].pairs().items():
        if value is None and key in variables:
            found[key] = variables[key]
        elif value is not None:
            found[key] = value
    return found


def _raw(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if "=" in line and not line.startswith("#")]
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def _known(values: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in values.items() if value is not None}


def _ports(cur: NodeReader) -> tuple[Port, ...]:
    found: dict[Port, None] = {}
    for item in cur:
        for port in _short_ports(item) if item.is_scalar else _long_port(item):
            found[port] = None
    return tuple(found)


def _short_ports(cur: NodeReader) -> list[Port]:
    ip, published, target, protocol = units.split_port(cur.text())
    try:
        targets = units.port_range(target)
        outside = units.port_range(published) if published else None
    except ValueError as error:
        raise cur.fail(str(error)) from None
    if outside is None:
        return [Port(number, "", ip, protocol) for number in targets]
    if len(targets) == 1:
        return [Port(targets[0], published, ip, protocol)]
    if len(outside) != len(targets):
        raise cur.fail(f'"{cur.text()}": the two ranges have different lengths')
    return [Port(t, str(p), ip, protocol) for t, p in zip(targets, outside, strict=True)]


def _long_port(cur: NodeReader) -> list[Port]:
    try:
        targets = units.port_range(cur["target"].text())
        if cur["published"]:
            units.port_range(cur["published"].text())
    except ValueError as error:
        raise cur.fail(str(error)) from None
    return [
        Port(
            targets[0],
            cur["published"].text(),
            cur["host_ip"].text(),
            cur["protocol"].text("tcp"),
            cur["mode"].text("ingress"),
        )
    ]


def _exposed(cur: NodeReader) -> str:
    text, _, protocol = cur.text().partition("/")
    try:
        units.port_range(text)
    except ValueError as error:
        raise cur.fail(str(error)) from None
    return f"{text}/{protocol or 'tcp'}"


def _mounts(cur: NodeReader) -> tuple[Mount, ...]:
    found: dict[str, Mount] = {}
    for item in cur:
        mount = _short_mount(item) if item.is_scalar else _long_mount(item)
        found.pop(mount.target, None)  # a later file's mount takes the place of an earlier one
        found[mount.target] = mount
    return tuple(found.values())


def _short_mount(cur: NodeReader) -> Mount:
    parts = cur.text().split(":")
    if len(parts) > 3 or not all(parts):
        raise cur.fail(f'"{cur.text()}" is not SOURCE:TARGET[:MODE]')
    source, target = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    if not target.startswith("/"):
        raise cur.fail(f'the target "{target}" must be an absolute path')
    words = parts[2].split(",") if len(parts) == 3 else []
    options = tuple(word for word in words if word not in ("ro", "rw"))
    kind = "bind" if is_path(source) else "volume"
    return Mount(kind, target.rstrip("/") or "/", source, "ro" in words, options=options)


def _long_mount(cur: NodeReader) -> Mount:
    kind = cur["type"].text()
    if kind not in ("bind", "volume", "tmpfs", "image"):
        raise cur["type"].fail(f'"{kind}" is not one of bind, volume, tmpfs and image')
    if not cur["target"].text().startswith("/"):
        raise cur.fail("needs a target that is an absolute path")
    if kind == "bind" and not cur["source"]:
        raise cur.fail("a bind mount needs a source")
    options = [cur["bind"]["propagation"].text()] if cur["bind"]["propagation"] else []
    if cur["volume"]["nocopy"].boolean():
        options.append("nocopy")
    return Mount(
        kind,
        cur["target"].text().rstrip("/") or "/",
        cur["source"].text(),
        cur["read_only"].boolean(),
        cur["bind"]["create_host_path"].boolean(True) if cur["bind"] else True,
        tuple(options),
        cur["volume"]["subpath"].text() or cur["image"]["subpath"].text(),
        cur["tmpfs"]["size"].size(),
        cur["tmpfs"]["mode"].integer(),
    )


def _attachments(cur: NodeReader) -> tuple[Attachment, ...]:
    if cur["network_mode"]:
        return ()
    networks = cur["networks"]
    if not networks or (isinstance(networks.node, Map) and not networks.node.entries):
        return (Attachment("default"),)
    found = [
        Attachment(
            key,
            item["aliases"].texts(),
            item["ipv4_address"].text(),
            item["ipv6_address"].text(),
            item["link_local_ips"].texts(),
            item["mac_address"].text(),
            item["driver_opts"].strings(),
            item["priority"].integer(),
            item["gw_priority"].integer(),
        )
        for key, item in networks.items()
    ]
    return tuple(sorted(found, key=lambda a: -a.priority))


def _dependency(name: str, cur: NodeReader) -> Dependency:
    condition = cur["condition"].text(STARTED)
    if condition not in (STARTED, HEALTHY, COMPLETED):
        raise cur["condition"].fail(
            f'"{condition}" is not one of {STARTED}, {HEALTHY} and {COMPLETED}'
        )
    required, restart = cur["required"].boolean(True), cur["restart"].boolean()
    return Dependency(name, condition, required, restart)


def _healthcheck(cur: NodeReader) -> Healthcheck | None:
    if not cur:
        return None
    if cur["disable"].boolean():
        return Healthcheck(test=("NONE",))
    test = cur["test"].texts()
    if cur["test"].is_scalar:
        test = ("CMD-SHELL", cur["test"].text())
    elif test and test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise cur["test"].fail('the list must begin with "NONE", "CMD" or "CMD-SHELL"')
    return Healthcheck(
        test,
        cur["interval"].duration(),
        cur["timeout"].duration(),
        cur["retries"].integer(),
        cur["start_period"].duration(),
        cur["start_interval"].duration(),
    )


def _restart(cur: NodeReader) -> str:
    if cur["restart"]:
        word = cur["restart"].text()
        name, _, count = word.partition(":")
        if name not in ("no", "always", "on-failure", "unless-stopped") or (
            count and not (name == "on-failure" and count.isdecimal())
        ):
            raise cur["restart"].fail(
                f'"{word}" is not one of no, always, on-failure[:N] and unless-stopped'
            )
        return word
    policy = cur["deploy"]["restart_policy"]
    if not policy:
        return ""
    word = policy["condition"].text("any")
    if word not in _RESTART:
        raise policy["condition"].fail(f'"{word}" is not one of none, on-failure and any')
    if word == "on-failure" and policy["max_attempts"]:
        return f"on-failure:{policy['max_attempts'].integer()}"
    return _RESTART[word]


def _scale(cur: NodeReader) -> int:
    value = cur["scale"] if cur["scale"] else cur["deploy"]["replicas"]
    number = value.integer(1)
    if number < 0:
        raise value.fail("cannot be negative")
    return number


def _pull_policy(cur: NodeReader) -> str:
    word = cur.text()
    if word and word not in ("always", "never", "missing", "if_not_present", "build"):
        raise cur.fail(f'"{word}" is not one of always, never, missing and build')
    return "missing" if word == "if_not_present" else word


def _grants(cur: NodeReader, base: str) -> tuple[Grant, ...]:
    found = []
    for item in cur:
        source = item.text() if item.is_scalar else item["source"].text()
        target = "" if item.is_scalar else item["target"].text()
        found.append(Grant(source, os.path.join(base, target or source)))
    return tuple(found)


def _ulimit(cur: NodeReader) -> tuple[int, int]:
    if cur.is_scalar:
        return (cur.integer(), cur.integer())
    hard = cur["hard"].integer(cur["soft"].integer())
    return (cur["soft"].integer(hard), hard)


def _hosts(cur: NodeReader) -> tuple[str, ...]:
    """``NAME:ADDRESS`` each; the list form may also use ``=``."""
    found = [text.replace("=", ":", 1) if "=" in text else text for text in cur.texts()]
    for name, item in cur.items():
        found += [f"{name}:{address}" for address in item.texts()]
    return tuple(found)


def _device(cur: NodeReader) -> str:
    if cur.is_scalar:
        return cur.text()
    source = cur["source"].text()
    return f"{source}:{cur['target'].text(source)}:{cur['permissions'].text('rwm')}"


def read_ports(texts: tuple[str, ...]) -> tuple[Port, ...]:
    """Ports of a command line, in the short form."""
    return tuple(port for text in texts for port in _short_ports(_argument(text)))


def read_mount(text: str) -> Mount:
    """A mount of a command line, in the short form."""
    source, colon, rest = text.partition(":")
    if colon and is_path(source):
        text = f"{os.path.abspath(os.path.expanduser(source))}:{rest}"
    return _short_mount(_argument(text))


def _argument(text: str) -> NodeReader:
    place = Where("command line", 0)
    return NodeReader(Scalar(place, text), text, place)
