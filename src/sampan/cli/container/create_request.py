"""From the flags of ``run`` and ``create`` to the body of ``POST /containers/create``. Pure.

Except for the files that flags name (``--env-file``, ``--label-file``, a seccomp profile).
"""

from __future__ import annotations

from sampan.cli import flag_values
from sampan.cli.units import parse_duration, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sampan.flags import Args

_HOST_LISTS = {
    "cap-add": "CapAdd", "cap-drop": "CapDrop", "group-add": "GroupAdd", "dns": "Dns",
    "dns-search": "DnsSearch", "link": "Links", "volumes-from": "VolumesFrom",
    "add-host": "ExtraHosts", "device-cgroup-rule": "DeviceCgroupRules",
}  # fmt: skip
HOST_TEXTS = {
    "cpuset-cpus": "CpusetCpus", "cpuset-mems": "CpusetMems", "cgroup-parent": "CgroupParent",
    "cgroupns": "CgroupnsMode", "ipc": "IpcMode", "pid": "PidMode", "userns": "UsernsMode",
    "uts": "UTSMode", "isolation": "Isolation", "runtime": "Runtime", "cidfile": "ContainerIDFile",
    "volume-driver": "VolumeDriver",
}  # fmt: skip
HOST_NUMBERS = {
    "cpu-shares": "CpuShares", "cpu-period": "CpuPeriod", "cpu-quota": "CpuQuota",
    "blkio-weight": "BlkioWeight", "memory-swappiness": "MemorySwappiness",
    "oom-score-adj": "OomScoreAdj", "pids-limit": "PidsLimit",
}  # fmt: skip
_HOST_BOOLS = {
    "privileged": "Privileged", "read-only": "ReadonlyRootfs", "rm": "AutoRemove", "init": "Init",
    "publish-all": "PublishAllPorts", "oom-kill-disable": "OomKillDisable",
}  # fmt: skip
_HOST_SIZES = {
    "memory": "Memory", "memory-reservation": "MemoryReservation", "memory-swap": "MemorySwap",
    "shm-size": "ShmSize",
}  # fmt: skip
_HOST_RATES = {
    "device-read-bps": "BlkioDeviceReadBps", "device-read-iops": "BlkioDeviceReadIOps",
    "device-write-bps": "BlkioDeviceWriteBps", "device-write-iops": "BlkioDeviceWriteIOps",
}  # fmt: skip
_HOST_MAPS = {
    "sysctl": "Sysctls", "storage-opt": "StorageOpt", "annotation": "Annotations",
}  # fmt: skip
_TEXTS = {
    "hostname": "Hostname", "domainname": "Domainname", "user": "User", "workdir": "WorkingDir",
    "stop-signal": "StopSignal",
}  # fmt: skip


def create_body(args: Args, environ: Mapping[str, str]) -> dict[str, Any]:
    """The body for ``args.rest``: image, command... Raises ValueError with a sentence."""
    image, *command = args.rest
    attach = [name.lower() for name in args.many("attach")]
    wrong = [name for name in attach if name not in ("stdin", "stdout", "stderr")]
    if wrong:
        raise ValueError(f"invalid argument {wrong[0]!r} for --attach: use stdin, stdout or stderr")
    detached = args.on("detach")
    if attach and detached:
        raise ValueError("conflicting options: cannot specify both --attach and --detach")
    stdin = args.on("interactive")
    body: dict[str, Any] = {
        "Image": image,
        "Tty": args.on("tty"),
        "OpenStdin": stdin,
        "AttachStdin": "stdin" in attach if attach else stdin and not detached,
        "AttachStdout": "stdout" in attach if attach else not detached,
        "AttachStderr": "stderr" in attach if attach else not detached,
        "Env": flag_values.environment(args.many("env-file"), args.many("env"), environ),
        "Labels": flag_values.labels(args.many("label-file"), args.many("label")),
    }
    body["StdinOnce"] = stdin and body["AttachStdin"]
    if command:
        body["Cmd"] = command
    if args.given("entrypoint"):
        body["Entrypoint"] = [args.text("entrypoint")]
    body.update({key: args.text(name) for name, key in _TEXTS.items() if args.given(name)})
    if args.given("stop-timeout"):
        body["StopTimeout"] = args.number("stop-timeout")
    health = _health(args)
    if health:
        body["Healthcheck"] = health
    bindings = flag_values.port_bindings(args.many("publish"))
    ports = [*bindings, *flag_values.exposed(args.many("expose"))]
    if ports:
        body["ExposedPorts"] = {port: {} for port in ports}
    volumes = [flag_values.volume(item) for item in args.many("volume")]
    anonymous: dict[str, Any] = {path: {} for _, path in volumes if path}
    if anonymous:
        body["Volumes"] = anonymous
    body["HostConfig"] = _host_config(args)
    body["HostConfig"]["PortBindings"] = bindings
    body["HostConfig"]["Binds"] = [bind for bind, _ in volumes if bind]
    body["NetworkingConfig"] = {"EndpointsConfig": _networks(args, body["HostConfig"])}
    if args.given("mac-address"):
        body["MacAddress"] = args.text("mac-address")
    return body


def _host_config(args: Args) -> dict[str, Any]:
    host: dict[str, Any] = {}
    host.update({key: args.many(name) for name, key in _HOST_LISTS.items() if args.given(name)})
    host.update({key: args.text(name) for name, key in HOST_TEXTS.items() if args.given(name)})
    host.update({key: args.number(name) for name, key in HOST_NUMBERS.items() if args.given(name)})
    host.update({key: args.on(name) for name, key in _HOST_BOOLS.items() if args.given(name)})
    for name, key in _HOST_SIZES.items():
        if args.given(name):
            text = args.text(name)
            host[key] = -1 if text == "-1" else parse_size(text)
    for name, key in _HOST_MAPS.items():
        if args.given(name):
            host[key] = flag_values.key_values(args.many(name))
    if args.given("cpus"):
        host["NanoCpus"] = flag_values.nano_cpus(args.text("cpus"))
    options = args.many("dns-option") + args.many("dns-opt")
    if options:
        host["DnsOptions"] = options
    if args.given("ulimit"):
        host["Ulimits"] = [flag_values.ulimit(item) for item in args.many("ulimit")]
    for name, key in _HOST_RATES.items():
        if args.given(name):
            host[key] = [flag_values.device_rate(item) for item in args.many(name)]
    if args.given("device"):
        host["Devices"] = [flag_values.device(item) for item in args.many("device")]
    if args.given("mount"):
        host["Mounts"] = [flag_values.mount(item) for item in args.many("mount")]
    if args.given("tmpfs"):
        pairs = (item.partition(":") for item in args.many("tmpfs"))
        host["Tmpfs"] = {path: options for path, _, options in pairs}
    if args.given("gpus"):
        host["DeviceRequests"] = [_gpus(args.text("gpus"))]
    host["RestartPolicy"] = flag_values.restart_policy(args.text("restart"))
    if args.on("rm") and host["RestartPolicy"]["Name"] not in ("", "no"):
        raise ValueError("conflicting options: cannot specify both --restart and --rm")
    if args.given("log-driver") or args.given("log-opt"):
        options_map = flag_values.key_values(args.many("log-opt"))
        host["LogConfig"] = {"Type": args.text("log-driver"), "Config": options_map}
    _security(args.many("security-opt"), host)
    return host


def _security(items: list[str], host: dict[str, Any]) -> None:
    kept = []
    for item in items:
        name, separator, value = item.partition("=")
        if not separator:
            name, separator, value = item.partition(":")
        if not separator and name != "no-new-privileges":
            raise ValueError(f'Invalid --security-opt: "{item}"')
        if name == "systempaths" and value == "unconfined":
            host["MaskedPaths"], host["ReadonlyPaths"] = [], []
        elif name == "seccomp" and value not in ("unconfined", "builtin"):
            # The daemon may be on another machine: the profile's text travels, not its path.
            try:
                with open(value, encoding="utf-8") as file:
                    kept.append(f"seccomp={file.read()}")
            except OSError as error:
                raise ValueError(
                    f"opening seccomp profile ({value}) failed: {error.strerror}"
                ) from error
        else:
            kept.append(f"{name}={value}" if separator else name)
    if kept:
        host["SecurityOpt"] = kept


def _health(args: Args) -> dict[str, Any]:
    durations = {
        "health-interval": "Interval", "health-timeout": "Timeout",
        "health-start-period": "StartPeriod", "health-start-interval": "StartInterval",
    }  # fmt: skip
    found: dict[str, Any] = {}
    if args.given("health-cmd"):
        found["Test"] = ["CMD-SHELL", args.text("health-cmd")]
    for name, key in durations.items():
        if args.given(name):
            found[key] = parse_duration(args.text(name))
    if args.given("health-retries"):
        found["Retries"] = args.number("health-retries")
    if args.on("no-healthcheck"):
        if found:
            raise ValueError("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    return found


def _networks(args: Args, host: dict[str, Any]) -> dict[str, Any]:
    """Endpoint settings by network; the first network is the network mode."""
    found: dict[str, Any] = {}
    for item in args.many("network") + args.many("net"):
        if "=" in item:
            name, endpoint = _network(item)
        else:
            name, endpoint = item, {}
        found[name] = endpoint
    first = next(iter(found), "default")
    host["NetworkMode"] = first
    endpoint = found.setdefault(first, {})
    aliases = args.many("network-alias") + args.many("net-alias")
    if aliases:
        endpoint.setdefault("Aliases", []).extend(aliases)
    addresses = {"ip": "IPv4Address", "ip6": "IPv6Address"}
    ipam: dict[str, Any] = {
        key: args.text(name) for name, key in addresses.items() if args.given(name)
    }
    if args.given("link-local-ip"):
        ipam["LinkLocalIPs"] = args.many("link-local-ip")
    if ipam:
        endpoint.setdefault("IPAMConfig", {}).update(ipam)
    if args.given("mac-address"):
        endpoint["MacAddress"] = args.text("mac-address")
    return {name: settings for name, settings in found.items() if settings or len(found) > 1}


def _network(item: str) -> tuple[str, dict[str, Any]]:
    """``name=NET,alias=A,ip=1.2.3.4,driver-opt=K=V,gw-priority=1``."""
    name, endpoint = "", {}  # type: str, dict[str, Any]
    for field in item.split(","):
        key, _, value = field.partition("=")
        if key == "name":
            name = value
        elif key == "alias":
            endpoint.setdefault("Aliases", []).append(value)
        elif key in ("ip", "ip6"):
            family = "IPv4Address" if key == "ip" else "IPv6Address"
            endpoint.setdefault("IPAMConfig", {})[family] = value
        elif key == "link-local-ip":
            endpoint.setdefault("IPAMConfig", {}).setdefault("LinkLocalIPs", []).append(value)
        elif key == "mac-address":
            endpoint["MacAddress"] = value
        elif key == "driver-opt":
            endpoint.setdefault("DriverOpts", {}).update(flag_values.key_values([value]))
        elif key == "gw-priority":
            endpoint["GwPriority"] = int(value)
        else:
            raise ValueError(f"invalid field {key!r} in --network {item!r}")
    if not name:
        raise ValueError(f"--network {item!r} names no network: add name=NETWORK")
    return name, endpoint


def _gpus(text: str) -> dict[str, Any]:
    request: dict[str, Any] = {"Driver": "", "Count": 0, "Capabilities": [["gpu"]]}
    for field in text.replace('"', "").split(","):
        key, equals, value = field.partition("=")
        if not equals:
            request["Count"] = -1 if key == "all" else int(key)
        elif key == "device":
            request["DeviceIDs"] = value.split(";")
        elif key == "count":
            request["Count"] = -1 if value == "all" else int(value)
        elif key == "driver":
            request["Driver"] = value
        elif key == "capabilities":
            request["Capabilities"] = [["gpu", *value.split(";")]]
        else:
            raise ValueError(f"unexpected key {key!r} in --gpus {text!r}")
    return request
