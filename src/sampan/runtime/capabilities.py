"""Capabilities: Docker's default set, what is added and dropped, and what this host can give."""

from __future__ import annotations

from collections.abc import Sequence

from sampan.errors import InvalidArgument

ALL = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
"""By number, as in linux/capability.h."""

DEFAULT = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)


def names(mask: int) -> frozenset[str]:
    """A bit mask of /proc/PID/status as names; bits newer than this table are left out."""
    return frozenset(name for bit, name in enumerate(ALL) if mask >> bit & 1)


def effective(
    add: Sequence[str], drop: Sequence[str], *, privileged: bool, available: frozenset[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a container's root gets, in the order of the kernel's numbers, and warnings.

    ``ALL`` in ``add`` means all but those dropped; in ``drop``, only those added. Capabilities
    that the daemon itself lacks cannot be given away: they are left out, with a warning when
    they were asked for by name.

    Raises:
        InvalidArgument: no such capability.
    """
    added, dropped = _known(add), _known(drop)
    if privileged or "ALL" in added:
        wanted = set(ALL) - dropped
    elif "ALL" in dropped:
        wanted = added
    else:
        wanted = (set(DEFAULT) | added) - dropped
    warnings = tuple(
        f"capability {name} is not given: the daemon does not have it itself"
        for name in sorted((added & wanted) - available)
    )
    return tuple(name for name in ALL if name in wanted and name in available), warnings


def _known(given: Sequence[str]) -> set[str]:
    found = set()
    for name in given:
        upper = name.upper()
        if upper != "ALL" and not upper.startswith("CAP_"):
            upper = f"CAP_{upper}"
        if upper != "ALL" and upper not in ALL:
            raise InvalidArgument(f'invalid CapAdd/CapDrop: unknown capability: "{name}"')
        found.add(upper)
    return found
