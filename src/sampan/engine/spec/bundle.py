"""From a container and what start has made ready to the runtime's ``BundleSpec``. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sampan.config import DaemonConfig
from sampan.engine.container_index import ContainerIndex
from sampan.engine.contract import NotRunning
from sampan.engine.spec.defaults import merged_env, without_bare_names
from sampan.engine.spec.signals import parse_signal
from sampan.errors import InvalidArgument
from sampan.runtime.contract import BundleSpec
from sampan.runtime.log_drivers.contract import UNBOUNDED, FileRule
from sampan.store.records import Container, ContainerSpec, MountPoint

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_STOP_SIGNAL = "SIGTERM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What ``start`` made before the bundle can be written."""

    rootfs: Path
    netns: Path | Literal["host"]
    etc_files: dict[str, Path]
    mounts: tuple[MountPoint, ...]
    home: str
    """HOME, unless the container says otherwise."""
    log_path: Path | None = None
    """None: not a line is kept."""
    log_rule: FileRule = UNBOUNDED


def process_env(spec: ContainerSpec, home: str = "") -> tuple[str, ...]:
    """The image's and the user's variables over the defaults. Without ``home`` it is left open."""
    base = [DEFAULT_PATH]
    if spec.hostname:
        base.append(f"HOSTNAME={spec.hostname}")
    if spec.tty:
        base.append("TERM=xterm")
    if home:
        base.append(f"HOME={home}")
    return without_bare_names(merged_env(base, spec.env))


def bundle(
    container: Container, ready: Ready, containers: ContainerIndex, config: DaemonConfig
) -> BundleSpec:
    """Raises InvalidArgument, NoSuchContainer, NotRunning: a namespace to join is not there."""
    spec, host = container.spec, container.spec.host
    ipc, shm = _ipc(host.ipc_mode, containers, config)
    return BundleSpec(
        id=container.id,
        rootfs=ready.rootfs,
        args=spec.args,
        env=process_env(spec, ready.home),
        user=spec.user,
        working_dir=spec.working_dir or "/",
        hostname=spec.hostname,
        domainname=spec.domainname,
        tty=spec.tty,
        open_stdin=spec.open_stdin,
        stop_signal=parse_signal(spec.stop_signal or DEFAULT_STOP_SIGNAL),
        labels=spec.labels,
        host=host,
        mounts=ready.mounts,
        etc_files=ready.etc_files,
        netns=ready.netns,
        ipc_ns=ipc,
        pid_ns=_shared(host.pid_mode, "pid", containers),
        uts_ns=_uts(container, containers),
        shm_path=shm,
        log_path=ready.log_path,
        log_max_bytes=ready.log_rule.max_bytes,
        log_max_files=ready.log_rule.max_files,
        log_compress=ready.log_rule.compress,
        default_shm_bytes=config.default_shm_bytes,
        default_ulimits=config.default_ulimits,
    )


def _uts(container: Container, containers: ContainerIndex) -> Path | Literal["private", "host"]:
    if container.spec.host.uts_mode == "host":
        return "host"
    mode = container.spec.host.network_mode
    if mode.startswith("container:"):
        # Who shares the network shares the host name that belongs to it.
        return _shared(mode, "uts", containers)
    return "private"


def _shared(mode: str, name: str, containers: ContainerIndex) -> Path | Literal["private", "host"]:
    if mode == "host":
        return "host"
    if mode.startswith("container:"):
        pid = _pid_of(mode, containers)
        return Path(f"/proc/{pid}/ns/{name}")
    if mode in ("", "private"):
        return "private"
    raise InvalidArgument(f"invalid {name.upper()} mode: {mode}")


def _ipc(
    mode: str, containers: ContainerIndex, config: DaemonConfig
) -> tuple[Path | Literal["private", "host"], Path | None]:
    if mode in ("", "private", "shareable", "none"):
        return "private", None
    shared = _shared(mode, "ipc", containers)
    if isinstance(shared, Path):
        pid = _pid_of(mode, containers)
        return shared, Path(f"/proc/{pid}/root/dev/shm")
    return shared, Path("/dev/shm") if shared == "host" else None


def _pid_of(mode: str, containers: ContainerIndex) -> int:
    other = containers.get(mode.removeprefix("container:"))
    if not other.running or other.run is None:
        raise NotRunning(other.id)
    return other.run.pid
