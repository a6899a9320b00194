"""The daemon's command line and its ``daemon.json``, merged into one ``DaemonConfig``.

The file takes Docker's keys. As with Docker, an option given in both places is an error: which of
the two was meant is not for us to guess.
"""

from __future__ import annotations

import argparse
import ipaddress
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from sampan import __version__
from sampan.api.foreign_options import take_out
from sampan.config import (
    DEFAULT_GROUP,
    DEFAULT_ROOT,
    DEFAULT_SOCKET,
    DEFAULT_STATE,
    DaemonConfig,
    Paths,
    PluginSettings,
    RuntimeProgram,
)
from sampan.engine.spec.validate_names import validate_resolver
from sampan.errors import InvalidArgument
from sampan.http.sockets import TlsFiles
from sampan.units import size_bytes

DEFAULT_FILE = Path("/etc/sampan/daemon.json")
_REGISTRY = re.compile(r"(https?://)?[\w.:\[\]-]+(/[\w./-]*)?")
"""A host, with a port, a path (or the prefix of a range of addresses) and a scheme."""
LEVELS = ("debug", "info", "warn", "warning", "error", "fatal")


class _Pool(msgspec.Struct, forbid_unknown_fields=True):
    base: str
    size: int


class _Runtime(
    msgspec.Struct, rename={"runtime_args": "runtimeArgs", "runtime_type": "runtimeType"}
):
    path: str = ""
    runtime_args: list[str] | None = None
    runtime_type: str = ""
    options: dict[str, Any] | None = None


class _Ulimit(msgspec.Struct, rename="pascal"):
    name: str
    soft: int
    hard: int


class DaemonFile(msgspec.Struct, rename="kebab", forbid_unknown_fields=True, kw_only=True):
    """``daemon.json``."""

    data_root: str | UnsetType = UNSET
    exec_root: str | UnsetType = UNSET
    hosts: list[str] | UnsetType = UNSET
    group: str | UnsetType = UNSET
    pidfile: str | UnsetType = UNSET
    registry_mirrors: list[str] | UnsetType = UNSET
    insecure_registries: list[str] | UnsetType = UNSET
    log_level: str | UnsetType = UNSET
    debug: bool | UnsetType = UNSET
    bip: str | UnsetType = UNSET
    default_address_pools: list[_Pool] | UnsetType = UNSET
    dns: list[str] | UnsetType = UNSET
    dns_opts: list[str] | UnsetType = UNSET
    dns_search: list[str] | UnsetType = UNSET
    labels: list[str] | UnsetType = UNSET
    log_driver: str | UnsetType = UNSET
    log_opts: dict[str, str] | UnsetType = UNSET
    storage_driver: str | UnsetType = UNSET
    runtimes: dict[str, _Runtime] | UnsetType = UNSET
    default_runtime: str | UnsetType = UNSET
    iptables: bool | UnsetType = UNSET
    ip_forward: bool | UnsetType = UNSET
    cgroup_favor_dynmods: bool | UnsetType = UNSET
    shutdown_timeout: int | UnsetType = UNSET
    default_ulimits: dict[str, _Ulimit] | UnsetType = UNSET
    default_shm_size: str | int | UnsetType = UNSET
    live_restore: bool | UnsetType = UNSET
    init: bool | UnsetType = UNSET
    no_new_privileges: bool | UnsetType = UNSET
    default_cgroupns_mode: Literal["private", "host"] | UnsetType = UNSET
    authorization_plugins: list[str] | UnsetType = UNSET
    plugin_sockets: str | UnsetType = UNSET
    plugin_specs: list[str] | UnsetType = UNSET
    plugin_timeout: int | UnsetType = UNSET
    tls: bool | UnsetType = UNSET
    tlsverify: bool | UnsetType = UNSET
    tlscacert: str | UnsetType = UNSET
    tlscert: str | UnsetType = UNSET
    tlskey: str | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Options:
    config: DaemonConfig
    tls: TlsFiles | None
    pid_file: Path
    loop_limit_s: float = 0.0
    """What keeps the event loop for longer is logged with its stack; 0: nobody looks."""
    warnings: tuple[str, ...] = ()
    """What was said and has no effect."""


def parser() -> argparse.ArgumentParser:
    """The command line. Nothing has a default here: absent and default are different things as
    long as the file has not been read."""
    parse = argparse.ArgumentParser(
        prog="sampand", description="The sampan daemon.", argument_default=argparse.SUPPRESS
    )
    parse.add_argument("--version", action="version", version=f"sampand {__version__}")
    parse.add_argument("--config", "--config-file", dest="config", metavar="FILE")
    parse.add_argument("--root", "--data-root", dest="data_root", metavar="DIR")
    parse.add_argument("--state", "--exec-root", dest="exec_root", metavar="DIR")
    parse.add_argument("-H", "--host", dest="hosts", action="append", metavar="unix://PATH")
    parse.add_argument("-G", "--group", dest="group", metavar="NAME")
    parse.add_argument("-p", "--pidfile", dest="pidfile", metavar="FILE")
    parse.add_argument("--registry-mirror", dest="registry_mirrors", action="append", metavar="URL")
    parse.add_argument(
        "--insecure-registry", dest="insecure_registries", action="append", metavar="HOST"
    )
    parse.add_argument("-l", "--log-level", dest="log_level", choices=LEVELS)
    parse.add_argument("-D", "--debug", dest="debug", action="store_true")
    parse.add_argument("--bip", dest="bip", metavar="ADDRESS/PREFIX")
    parse.add_argument("--dns", dest="dns", action="append", metavar="ADDRESS")
    parse.add_argument("--dns-opt", dest="dns_opts", action="append", metavar="OPTION")
    parse.add_argument("--dns-search", dest="dns_search", action="append", metavar="DOMAIN")
    parse.add_argument("--label", dest="labels", action="append", metavar="KEY=VALUE")
    parse.add_argument("--log-driver", dest="log_driver", metavar="NAME")
    parse.add_argument("--log-opt", dest="log_opts", action="append", metavar="KEY=VALUE")
    parse.add_argument("-s", "--storage-driver", dest="storage_driver", metavar="NAME")
    parse.add_argument("--default-runtime", dest="default_runtime", metavar="NAME")
    parse.add_argument("--shutdown-timeout", dest="shutdown_timeout", type=int, metavar="SECONDS")
    parse.add_argument(
        "--authorization-plugin", dest="authorization_plugins", action="append", metavar="NAME"
    )
    parse.add_argument("--plugin-sockets", dest="plugin_sockets", metavar="DIR")
    parse.add_argument("--plugin-specs", dest="plugin_specs", action="append", metavar="DIR")
    parse.add_argument("--plugin-timeout", dest="plugin_timeout", type=int, metavar="SECONDS")
    parse.add_argument("--tlsverify", dest="tlsverify", action="store_true")
    parse.add_argument("--tlscacert", dest="tlscacert", metavar="FILE")
    parse.add_argument("--tlscert", dest="tlscert", metavar="FILE")
    parse.add_argument("--tlskey", dest="tlskey", metavar="FILE")
    parse.add_argument(
        "--loop-watchdog",
        dest="loop_watchdog",
        type=float,
        metavar="MS",
        help="for developers: log what keeps the event loop for longer than this",
    )
    return parse


def load(arguments: list[str] | None = None) -> Options:
    """Read the command line (``None``: the process's own) and the file it names.

    Raises:
        InvalidArgument: names the file and the key.
    """
    flags = vars(parser().parse_args(arguments))
    if "log_opts" in flags:
        flags["log_opts"] = dict(option.partition("=")[::2] for option in flags["log_opts"])
    named, loop_limit_ms = flags.pop("config", None), flags.pop("loop_watchdog", 0.0)
    path = Path(named) if named else DEFAULT_FILE
    file, foreign = read_file(path, required=named is not None)
    given = {
        name: value
        for name in file.__struct_fields__
        if (value := getattr(file, name)) is not UNSET
    }
    if both := sorted(given.keys() & flags.keys()):
        names = ", ".join(name.replace("_", "-") for name in both)
        raise InvalidArgument(
            f"unable to configure the daemon with file {path}: the following options are given "
            f"both as a flag and in the file: {names}: remove one of the two"
        )
    options = _options(msgspec.structs.replace(file, **flags), path)
    return replace(
        options, loop_limit_s=loop_limit_ms / 1e3, warnings=(*foreign, *options.warnings)
    )


def read_file(path: Path, *, required: bool) -> tuple[DaemonFile, tuple[str, ...]]:
    """``daemon.json``, and warnings of keys that have no effect; an absent one that nobody named
    says nothing."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        if required:
            raise InvalidArgument(f"configuration file {path} does not exist") from None
        return DaemonFile(), ()
    except OSError as error:
        raise InvalidArgument(f"configuration file {path}: {error.strerror}") from error
    if not raw.strip():
        return DaemonFile(), ()
    try:
        said = msgspec.json.decode(raw, type=dict[str, Any])
        warnings = take_out(said, path)
        return msgspec.convert(said, DaemonFile), warnings
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        cure = ""
        if (unknown := re.search("unknown field `(.+)`", str(error))) is not None:
            cure = f": {unknown[1]} is nothing that sampand takes: remove it"
        raise InvalidArgument(f"configuration file {path}: {error}{cure}") from error


def _options(said: DaemonFile, path: Path) -> Options:
    def text(value: str | UnsetType, default: str) -> str:
        return default if isinstance(value, UnsetType) else value

    def many(value: list[str] | UnsetType) -> tuple[str, ...]:
        return () if isinstance(value, UnsetType) else tuple(value)

    level = text(said.log_level, "info")
    if level not in LEVELS:
        raise InvalidArgument(
            f"configuration file {path}: log-level must be one of {', '.join(LEVELS)}, "
            f"not {level!r}"
        )
    # The daemon leaves the directory it was started in: from here on every path is absolute.
    state = Path(text(said.exec_root, str(DEFAULT_STATE))).absolute()
    default_host = f"unix://{DEFAULT_SOCKET if state == DEFAULT_STATE else state / 'sampan.sock'}"
    config = DaemonConfig(
        paths=Paths(Path(text(said.data_root, str(DEFAULT_ROOT))).absolute(), state),
        hosts=tuple(_absolute(host) for host in many(said.hosts)) or (default_host,),
        group=text(said.group, DEFAULT_GROUP),
        registry_mirrors=many(said.registry_mirrors),
        insecure_registries=many(said.insecure_registries),
        log_level="debug" if said.debug is True else level,
        runtimes={
            name: _runtime(name, runtime, path) for name, runtime in (said.runtimes or {}).items()
        },
        log_driver=text(said.log_driver, "json-file"),
        log_options={} if isinstance(said.log_opts, UnsetType) else said.log_opts,
        default_runtime=text(said.default_runtime, "crun"),
        default_address_pools=()
        if isinstance(said.default_address_pools, UnsetType)
        else tuple((pool.base, pool.size) for pool in said.default_address_pools),
        default_bridge_subnet=text(said.bip, "") or None,
        dns=many(said.dns),
        dns_search=many(said.dns_search),
        dns_options=many(said.dns_opts),
        labels=many(said.labels),
        storage_driver=text(said.storage_driver, "") or None,
        iptables=said.iptables is not False,
        ip_forward=said.ip_forward is not False,
        favor_cgroup_changes=said.cgroup_favor_dynmods is not False,
        shutdown_timeout_s=15.0
        if isinstance(said.shutdown_timeout, UnsetType)
        else float(said.shutdown_timeout),
        default_shm_bytes=_bytes(said.default_shm_size, path),
        default_ulimits={}
        if isinstance(said.default_ulimits, UnsetType)
        else {name: (limit.soft, limit.hard) for name, limit in said.default_ulimits.items()},
        default_init=said.init is True,
        no_new_privileges=said.no_new_privileges is True,
        default_cgroupns_mode=text(said.default_cgroupns_mode, "private"),
        plugins=_plugins(said, path),
    )
    pid_file = Path(text(said.pidfile, str(state / "sampand.pid"))).absolute()
    _check_values(config, path)
    warnings = []
    if said.live_restore is False:
        warnings.append(
            f"configuration file {path}: live-restore: false has no effect: containers always go "
            "on when the daemon stops"
        )
    return Options(config, _tls(said, config.hosts), pid_file, warnings=tuple(warnings))


def _check_values(config: DaemonConfig, path: Path) -> None:
    """Texts that the type alone does not tell. Raises InvalidArgument, with the key."""
    key = "bip"
    try:
        if (bip := config.default_bridge_subnet) is not None:
            ipaddress.ip_interface(bip)
            if "/" not in bip:
                raise ValueError(f"{bip!r}: write ADDRESS/PREFIX, as in 172.20.0.1/16")
        key = "dns, dns-search or dns-opts"
        validate_resolver(config.dns, config.dns_search, config.dns_options)
        key = "labels"
        if wrong := [label for label in config.labels if "=" not in label[1:]]:
            raise ValueError(f"{wrong[0]!r}: write KEY=VALUE")
        key = "registry-mirrors or insecure-registries"
        registries = (*config.registry_mirrors, *config.insecure_registries)
        if wrong := [one for one in registries if not _REGISTRY.fullmatch(one)]:
            raise ValueError(f"{wrong[0]!r} names no registry")
    except (ValueError, InvalidArgument) as error:
        raise InvalidArgument(
            f"configuration ({path} or the command line): {key}: {error}"
        ) from None


def _runtime(name: str, said: _Runtime, path: Path) -> RuntimeProgram:
    where = f"configuration file {path}: runtimes.{name}"
    for key, given in (("runtimeType", said.runtime_type), ("options", said.options)):
        if given:
            raise InvalidArgument(
                f"{where}: {key} is not supported: it configures a shim of containerd, and a "
                "container is held by conmon here: give the path of an OCI runtime"
            )
    if not said.path:
        raise InvalidArgument(f"{where}: path is missing: give the path of an OCI runtime")
    program = str(Path(said.path).absolute()) if "/" in said.path else said.path
    return RuntimeProgram(program, tuple(said.runtime_args or ()))


def _plugins(said: DaemonFile, path: Path) -> PluginSettings:
    usual = PluginSettings()
    names = () if isinstance(said.authorization_plugins, UnsetType) else said.authorization_plugins
    timeout = said.plugin_timeout
    if not isinstance(timeout, UnsetType) and timeout < 1:
        raise InvalidArgument(
            f"configuration file {path}: plugin-timeout: {timeout}: give 1 second or more"
        )
    return PluginSettings(
        sockets=usual.sockets
        if isinstance(said.plugin_sockets, UnsetType)
        else Path(said.plugin_sockets).absolute(),
        specifications=usual.specifications
        if isinstance(said.plugin_specs, UnsetType)
        else tuple(Path(directory).absolute() for directory in said.plugin_specs),
        connect_s=usual.connect_s
        if isinstance(timeout, UnsetType)
        else min(usual.connect_s, float(timeout)),
        answer_s=usual.answer_s if isinstance(timeout, UnsetType) else float(timeout),
        # named twice, as Docker takes it: asked once
        authorization=tuple(dict.fromkeys(names)),
    )


def _absolute(host: str) -> str:
    if not host.startswith("unix://"):
        return host
    return f"unix://{Path(host.removeprefix('unix://') or DEFAULT_SOCKET).absolute()}"


def _bytes(value: str | int | UnsetType, path: Path) -> int:
    if isinstance(value, UnsetType):
        return 64 << 20
    if isinstance(value, int):
        return value
    try:
        return size_bytes(value)
    except ValueError:
        raise InvalidArgument(
            f"configuration file {path}: default-shm-size: {value!r} is not a size: "
            "write it like 64M"
        ) from None


def _tls(said: DaemonFile, hosts: tuple[str, ...]) -> TlsFiles | None:
    tcp = [host for host in hosts if host.startswith("tcp://")]
    for host in hosts:
        if not host.startswith(("unix://", "tcp://")):
            raise InvalidArgument(
                f"cannot listen on {host!r}: hosts are unix://PATH or tcp://ADDRESS:PORT"
            )
    if not tcp:
        return None
    files = (said.tlscacert, said.tlscert, said.tlskey)
    if said.tlsverify is not True or any(isinstance(name, UnsetType) for name in files):
        raise InvalidArgument(
            f"refusing to listen on {tcp[0]} without client certificates: anyone who reaches the "
            "port owns the host. Give --tlsverify --tlscacert --tlscert --tlskey, or use a "
            "unix:// socket"
        )
    ca, certificate, key = (Path(str(name)).absolute() for name in files)
    return TlsFiles(ca, certificate, key)
