"""What a container sees mounted: the kernel's file systems, the user's mounts, /etc files."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sampan.components import INIT
from sampan.errors import InvalidArgument, Unsupported
from sampan.runtime.contract import BundleSpec
from sampan.runtime.facts import HostFacts
from sampan.runtime.mount_targets import BIND, TMPFS, Target, check_resolved
from sampan.store.records import MountPoint

INIT_TARGET = "/sbin/docker-init"

MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_CGROUPS = "/sys/fs/cgroup"
_HIDDEN = ("nosuid", "noexec", "nodev")
PROPAGATIONS = frozenset(("private", "rprivate", "slave", "rslave", "shared", "rshared"))
TMPFS_DEFAULTS = ("noexec", "nosuid", "nodev")
_OPPOSITE = {"exec": "noexec", "suid": "nosuid", "dev": "nodev"}
_RECURSIVE_READ_ONLY = (5, 12)


def check_targets(spec: BundleSpec) -> None:
    """Nothing that was asked for lies over what confines the container. Blocks.

    Raises:
        InvalidArgument: with the path.
    """
    check_resolved(spec.rootfs, sorted(_targets(spec), key=lambda t: _depth(t.path)))


def check_recursion(spec: BundleSpec, runtime: str) -> None:
    """For a runtime that always binds what is mounted below a source, too.

    Raises:
        Unsupported: that is what must not happen.
    """
    for mount in spec.mounts:
        if mount.recursion == "disabled":
            raise Unsupported(
                f"{mount.target}: bind-recursive=disabled is not done by the runtime {runtime}, "
                "which brings along what is mounted below: use another one (--runtime runc)"
            )


def _targets(spec: BundleSpec) -> Iterable[Target]:
    yield from (Target(mount.type, mount.source, mount.target) for mount in spec.mounts)
    yield from (Target(TMPFS, "", target) for target in spec.host.tmpfs)
    yield from (Target(BIND, str(path), target) for target, path in spec.etc_files.items())
    if spec.host.init:
        yield Target(BIND, INIT_TARGET, INIT_TARGET)


def _depth(path: str) -> int:
    return path.rstrip("/").count("/")


def all_mounts(spec: BundleSpec, facts: HostFacts) -> list[dict[str, Any]]:
    """In the order in which they are mounted: a later one may lie on an earlier one."""
    taken = {mount.target for mount in spec.mounts} | set(spec.host.tmpfs)
    found = [m for m in _system(spec) if m["destination"] not in taken]
    files = {t: p for t, p in spec.etc_files.items() if t not in taken}
    user = [_user(mount, facts) for mount in spec.mounts]
    targets = {mount.target for mount in spec.mounts}
    user += [
        _tmpfs(target, options)
        for target, options in spec.host.tmpfs.items()
        if target not in targets
    ]
    # The files of /etc are sorted among them, so that a volume on /etc does not hide them.
    user += [
        _mount(target, "bind", str(path), ("rbind", "rprivate")) for target, path in files.items()
    ]
    found += sorted(user, key=lambda m: _depth(m["destination"]))
    if spec.host.init:
        if facts.init_path is None:
            raise Unsupported(INIT.cure)
        found.append(_mount(INIT_TARGET, "bind", str(facts.init_path), ("bind", "ro", "rprivate")))
    ours = taken.isdisjoint(("/sys", "/sys/fs", _CGROUPS))
    if facts.cgroup_version == 1 and ours and not spec.host.privileged:
        # The hierarchies are read-only; crun leaves the tmpfs that they are mounted in writable.
        # That one is the container's own: what the user mounts there is left alone.
        found.append(_mount(_CGROUPS, "tmpfs", "tmpfs", ("remount", "ro", *_HIDDEN)))
    return found


def _system(spec: BundleSpec) -> list[dict[str, Any]]:
    access = "rw" if spec.host.privileged else "ro"
    hidden = _HIDDEN
    found = [
        _mount("/proc", "proc", "proc", hidden),
        _mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
        _mount(
            "/dev/pts",
            "devpts",
            "devpts",
            ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        ),
        _mount("/sys", "sysfs", "sysfs", (*hidden, access)),
        _mount(_CGROUPS, "cgroup", "cgroup", (*hidden, "relatime", access)),
    ]
    if spec.ipc_ns == "host":
        # The host's own queues and segments, or the "host" IPC namespace would be half a one.
        if Path("/dev/mqueue").is_dir():
            found.append(_mount("/dev/mqueue", "bind", "/dev/mqueue", ("bind", *hidden)))
        found.append(_mount("/dev/shm", "bind", "/dev/shm", ("bind", *hidden)))
    else:
        found.append(_mount("/dev/mqueue", "mqueue", "mqueue", hidden))
        if spec.shm_path is not None:
            found.append(_mount("/dev/shm", "bind", str(spec.shm_path), ("bind", *hidden)))
        else:
            size = spec.host.shm_size or spec.default_shm_bytes
            found.append(_mount("/dev/shm", "tmpfs", "shm", (*hidden, "mode=1777", f"size={size}")))
    return found


def _user(mount: MountPoint, facts: HostFacts) -> dict[str, Any]:
    if mount.type == "tmpfs":
        return _tmpfs(mount.target, mount.mode, read_write=mount.read_write)
    propagation = mount.propagation or "rprivate"
    if propagation not in PROPAGATIONS:
        raise InvalidArgument(f"invalid mount propagation: {propagation!r}")
    bind = "bind" if mount.recursion == "disabled" else "rbind"
    access = "rw" if mount.read_write else _read_only(mount, facts)
    return _mount(mount.target, "bind", mount.source, (bind, access, propagation))


def _read_only(mount: MountPoint, facts: HostFacts) -> str:
    """ "ro" leaves the mounts below writable, "rro" does not. A file has none, and crun takes "rro"
    for directories only ("open mount target: Not a directory")."""
    if mount.recursion in ("disabled", "writable"):
        return "ro"
    able = facts.kernel >= _RECURSIVE_READ_ONLY
    if mount.recursion == "readonly" and not able:
        raise Unsupported(
            f"{mount.target}: bind-recursive=readonly needs Linux 5.12; this kernel makes only the "
            "mount itself read-only. Leave it out if that is enough"
        )
    return "rro" if able and Path(mount.source).is_dir() else "ro"


def _tmpfs(target: str, options: str, *, read_write: bool = True) -> dict[str, Any]:
    """Docker's defaults, each of which an opposite option cancels."""
    given = [option for option in options.split(",") if option]
    cancelled = {_OPPOSITE[option] for option in given if option in _OPPOSITE}
    chosen = [d for d in TMPFS_DEFAULTS if d not in cancelled and d not in given] + given
    if not read_write and "ro" not in chosen:
        chosen.append("ro")
    return _mount(target, "tmpfs", "tmpfs", tuple(chosen))


def _mount(target: str, kind: str, source: str, options: tuple[str, ...]) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": options}


def check_sources(spec: BundleSpec) -> None:
    """A bind's source that is not there is the user's mistake: say so before anything starts.

    Raises:
        InvalidArgument: with the path.
    """
    for mount in spec.mounts:
        if mount.type == "tmpfs":
            continue
        try:
            mode = Path(mount.source).lstat().st_mode
        except FileNotFoundError:
            raise InvalidArgument(
                "invalid mount config for type "
                f'"{mount.type}": bind source path does not exist: {mount.source}'
            ) from None
        if stat.S_ISLNK(mode) and not Path(mount.source).exists():
            raise InvalidArgument(
                f"invalid mount config: {mount.source} is a symbolic link to nowhere"
            )
