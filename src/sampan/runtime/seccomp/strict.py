"""As strict as Docker: what the distribution's profile allows beyond Docker's default is refused.

The profile that containers-common ships is made for Podman, whose containers are mostly those of a
user without privileges: they may make user namespaces, and in these mount, pivot and reboot, and
use the kernel's key rings, which know no namespace. Docker's default leaves all of that to those
who have the capability for it outside. Nobody who changes from one to the other should have to
find out.

The distribution's profile stays the ground (it is updated with the kernel and audited by others),
so that what stands here is the difference alone:

    NEVER       calls that no capability opens
    WITH        calls that any one of some capabilities opens
    clone       only without a new namespace, unless with CAP_SYS_ADMIN
    clone3      its flags are in memory, where a filter cannot look: "not implemented", after which
                every C library takes clone
    socket      only the address families that Docker's default has

What a filter refuses ends with EPERM, as in Docker, and not with the "not implemented" that the
distribution's profile has for calls that it does not know.
"""

from __future__ import annotations

import errno

import msgspec

from sampan.runtime.seccomp.profile import ALLOW, REFUSE, Argument, Conditions, Profile, ProfileRule

NEVER = (
    "add_key", "io_uring_enter", "io_uring_register", "io_uring_setup", "keyctl", "kexec_file_load",
    "kexec_load", "migrate_pages", "move_pages", "pivot_root", "request_key", "swapoff", "swapon",
    "uselib", "userfaultfd",
)  # fmt: skip

ADMIN = "CAP_SYS_ADMIN"
WITH: dict[tuple[str, ...], tuple[str, ...]] = {
    (ADMIN,): (
        "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie", "mount",
        "mount_setattr", "move_mount", "open_tree", "quotactl", "quotactl_fd", "setdomainname",
        "sethostname", "setns", "umount", "umount2", "unshare",
    ),
    (ADMIN, "CAP_BPF"): ("bpf",),
    (ADMIN, "CAP_PERFMON"): ("perf_event_open",),
    (ADMIN, "CAP_SYSLOG"): ("syslog",),
    ("CAP_DAC_READ_SEARCH",): ("open_by_handle_at",),
    ("CAP_SYS_BOOT",): ("reboot",),
    ("CAP_SYS_CHROOT",): ("chroot",),
    ("CAP_SYS_MODULE",): ("delete_module", "finit_module", "init_module"),
    ("CAP_SYS_NICE",): ("get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"),
    ("CAP_SYS_PACCT",): ("acct",),
    ("CAP_SYS_PTRACE",): ("kcmp", "pidfd_getfd", "process_madvise"),
    ("CAP_SYS_RAWIO",): ("ioperm", "iopl"),
    ("CAP_SYS_TIME",): ("clock_settime", "clock_settime64", "settimeofday", "stime"),
    ("CAP_SYS_TTY_CONFIG",): ("vhangup",),
}  # fmt: skip
"""Calls, by the capabilities of which one is enough (capabilities(7) says for what)."""

NAMESPACES = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
"""clone's flags: mount, cgroup, uts, ipc, user, pid, net."""
_FLAGS_COME_SECOND = ("s390", "s390x")

FAMILIES = (*range(12), *range(13, 19), 21, 22, 24, *range(26, 34), 35, 36, 39, *range(41, 46))
"""Of sockets. Not: DECnet, Econet, ATM's signalling, IrDA, Wanpipe, mISDN, CAIF, the kernel's
crypto, and above all vsock (40), which reaches the hypervisor from every network namespace."""
REFUSED_FAMILIES = tuple(family for family in range(46) if family not in FAMILIES)
_NETLINK, _AUDIT = 16, 9
_AUDITOR = "CAP_AUDIT_WRITE"


def strict(profile: Profile) -> Profile:
    """``profile`` with Docker's rules for everything above."""
    ours = {
        "clone",
        "clone3",
        "socket",
        *NEVER,
        *(name for names in WITH.values() for name in names),
    }
    kept = (_without(rule, ours) for rule in profile.syscalls or ())
    rules = [rule for rule in kept if rule.names]
    rules.append(_refuse(NEVER))
    for capabilities, names in WITH.items():
        rules += [_allow(names, includes=_caps(one)) for one in capabilities]
        rules.append(_refuse(names, excludes=_caps(*capabilities)))
    return msgspec.structs.replace(profile, syscalls=(*rules, *_clone(), *_socket()))


def _clone() -> list[ProfileRule]:
    every = sum(NAMESPACES)
    rules = [
        _allow(("clone", "clone3"), includes=_caps(ADMIN)),
        _refuse(("clone3",), errno.ENOSYS, excludes=_caps(ADMIN)),
    ]
    for index, includes, excludes in (
        (0, None, Conditions(caps=(ADMIN,), arches=_FLAGS_COME_SECOND)),
        (1, Conditions(arches=_FLAGS_COME_SECOND), _caps(ADMIN)),
    ):
        none = Argument(index, every, "SCMP_CMP_MASKED_EQ", 0)
        rules.append(_allow(("clone",), none, includes=includes, excludes=excludes))
        for flag in NAMESPACES:
            one = Argument(index, flag, "SCMP_CMP_MASKED_EQ", flag)
            rules.append(
                _refuse(("clone",), errno.EPERM, one, includes=includes, excludes=excludes)
            )
    return rules


def _socket() -> list[ProfileRule]:
    def family(number: int) -> Argument:
        return Argument(0, number, "SCMP_CMP_EQ")

    # Each by its number, as a 64-bit value: to allow "all above 45" would be to allow vsock with a
    # bit set above the 32 that the kernel looks at.
    rules = [_allow(("socket",), family(one)) for one in FAMILIES if one != _NETLINK]
    rules += [_refuse(("socket",), errno.EPERM, family(one)) for one in REFUSED_FAMILIES]
    netlink, audit = family(_NETLINK), Argument(2, _AUDIT, "SCMP_CMP_EQ")
    return [
        *rules,
        _allow(("socket",), netlink, includes=_caps(_AUDITOR)),
        _allow(("socket",), netlink, Argument(2, _AUDIT, "SCMP_CMP_NE"), excludes=_caps(_AUDITOR)),
        _refuse(("socket",), errno.EINVAL, netlink, audit, excludes=_caps(_AUDITOR)),
    ]


def _without(rule: ProfileRule, names: set[str]) -> ProfileRule:
    left = tuple(name for name in rule.names or (rule.name,) if name and name not in names)
    return msgspec.structs.replace(rule, names=left, name="")


def _caps(*names: str) -> Conditions:
    return Conditions(caps=names)


def _allow(
    names: tuple[str, ...],
    *args: Argument,
    includes: Conditions | None = None,
    excludes: Conditions | None = None,
) -> ProfileRule:
    return ProfileRule(ALLOW, names, args=args, includes=includes, excludes=excludes)


def _refuse(
    names: tuple[str, ...],
    number: int = errno.EPERM,
    *args: Argument,
    includes: Conditions | None = None,
    excludes: Conditions | None = None,
) -> ProfileRule:
    return ProfileRule(REFUSE, names, "", args, number, includes, excludes)
