"""Compiling a system call filter to BPF with libseccomp, the library that the OCI runtimes use.

A runtime compiles the profile anew for every container: 16 ms of processor time for the
distribution's profile, half of a short container's life. The result depends on the profile alone,
so it is compiled once here and handed over as bytes.
"""

from __future__ import annotations

import ctypes
import errno
import os
from dataclasses import dataclass

_OPTIMIZE = 8
_BY_PRIORITY, _BINARY_TREE = 1, 2
_UNKNOWN_SYSCALL = -1

_ARCHITECTURES = {
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X86_64": 0xC000003E,
    "SCMP_ARCH_X32": 0x4000003E,
    "SCMP_ARCH_ARM": 0x40000028,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
    "SCMP_ARCH_PPC64LE": 0xC0000015,
    "SCMP_ARCH_S390": 0x00000016,
    "SCMP_ARCH_S390X": 0x80000016,
    "SCMP_ARCH_RISCV64": 0xC00000F3,
}
_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}


@dataclass(frozen=True, slots=True)
class Compare:
    """A condition on one argument of a system call."""

    index: int
    value: int
    value_two: int
    operator: str


@dataclass(frozen=True, slots=True)
class Rule:
    names: tuple[str, ...]
    action: str
    errno: int | None
    args: tuple[Compare, ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """A profile without conditions left."""

    default_action: str
    default_errno: int | None
    architectures: tuple[str, ...]
    rules: tuple[Rule, ...]


class _Arg(ctypes.Structure):
    _fields_ = [
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    ]


def compile_filter(profile: Filter) -> bytes | None:
    """The filter as the kernel takes it; None where only the runtime can do it (no libseccomp, a
    word that is not in the tables above, an action that needs a listener). Takes about 15 ms.

    Raises:
        OSError: libseccomp refused a rule.
    """
    library = _library()
    if library is None or not _expressible(profile):
        return None
    context = library.seccomp_init(_action(profile.default_action, profile.default_errno))
    if not context:
        return None
    try:
        # Two calls to seccomp decide the same; a tree asks seven questions instead of 300.
        if library.seccomp_attr_set(context, _OPTIMIZE, _BINARY_TREE):
            library.seccomp_attr_set(context, _OPTIMIZE, _BY_PRIORITY)
        for name in profile.architectures:
            _check(library.seccomp_arch_add(context, _ARCHITECTURES[name]), name, errno.EEXIST)
        for rule in profile.rules:
            _add(library, context, rule, _action(profile.default_action, profile.default_errno))
        with open(os.memfd_create("seccomp", os.MFD_CLOEXEC), "r+b") as output:
            _check(library.seccomp_export_bpf(context, output.fileno()), "export")
            output.seek(0)
            return output.read()
    finally:
        library.seccomp_release(context)


def _add(library: ctypes.CDLL, context: int, rule: Rule, default: int) -> None:
    action = _action(rule.action, rule.errno)
    if action == default:
        return  # libseccomp refuses a rule that says what would happen anyway
    arguments = [_Arg(a.index, _OPERATORS[a.operator], a.value, a.value_two) for a in rule.args]
    # Two conditions on one argument mean "or", as one rule each; libseccomp takes one of each.
    several = len({a.index for a in rule.args}) < len(rule.args)
    sets = [[a] for a in arguments] if several else [arguments]
    for name in rule.names:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == _UNKNOWN_SYSCALL:
            continue
        for each in sets:
            array = (_Arg * max(1, len(each)))(*each)
            result = library.seccomp_rule_add_array(context, action, number, len(each), array)
            _check(result, name, errno.EEXIST)


def _expressible(profile: Filter) -> bool:
    actions = {profile.default_action, *(rule.action for rule in profile.rules)}
    operators = {a.operator for rule in profile.rules for a in rule.args}
    return (
        actions <= _ACTIONS.keys()
        and operators <= _OPERATORS.keys()
        and set(profile.architectures) <= _ARCHITECTURES.keys()
    )


def _action(name: str, number: int | None) -> int:
    base = _ACTIONS[name]
    if name in _WITH_ERRNO:
        base |= errno.EPERM if number is None else number
    return base


def _check(result: int, what: str, *accepted: int) -> None:
    if result < 0 and -result not in accepted:
        raise OSError(-result, f"libseccomp, {what}: {os.strerror(-result)}")


def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return None
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_release.restype = None
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    library.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    library.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_void_p,
    ]
    return library
