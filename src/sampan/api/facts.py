"""What ``info`` and ``version`` say of the host. Read when asked: nothing here is on a hot path."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from sampan.config import DaemonConfig

_CGROUPS = Path("/sys/fs/cgroup")
_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def architecture() -> str:
    """As images name it: ``amd64``."""
    machine = platform.machine()
    return _ARCH.get(machine, machine)


def memory_total() -> int:
    """Bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def operating_system() -> tuple[str, str]:
    """Name and version, from os-release."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return platform.system(), ""
    return release.get("PRETTY_NAME", platform.system()), release.get("VERSION_ID", "")


def cgroup_version() -> str:
    return "2" if (_CGROUPS / "cgroup.controllers").exists() else "1"


def controllers() -> frozenset[str]:
    """Cgroup controllers that can be used here."""
    try:
        if cgroup_version() == "2":
            return frozenset((_CGROUPS / "cgroup.controllers").read_text().split())
        mounted = (name for entry in os.listdir(_CGROUPS) for name in entry.split(","))
        return frozenset(mounted)
    except OSError:
        return frozenset()


def swap_limit() -> bool:
    """Whether swap is accounted to cgroups."""
    if cgroup_version() == "2":
        return True
    return (_CGROUPS / "memory/memory.memsw.limit_in_bytes").exists()


def ip_forwarding() -> bool:
    try:
        return Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "1"
    except OSError:
        return False


def daemon_id(config: DaemonConfig) -> str:
    """Stable for one root directory on one machine."""
    import hashlib
    import uuid

    try:
        machine = Path("/etc/machine-id").read_text().strip()
    except OSError:
        machine = platform.node()
    digest = hashlib.sha256(f"{machine}:{config.paths.root}".encode()).digest()
    return str(uuid.UUID(bytes=digest[:16]))
