"""A system call profile as containers-common and ``--security-opt seccomp=FILE`` have it."""

from __future__ import annotations

import msgspec

from sampan.errors import InvalidArgument

ALLOW, REFUSE = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"


class Conditions(msgspec.Struct, frozen=True):
    """When a rule holds (``includes``: all of it) or does not (``excludes``: any of it)."""

    caps: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    min_kernel: str = msgspec.field(name="minKernel", default="")


class Argument(msgspec.Struct, frozen=True, rename="camel"):
    """A condition on one argument of a call, which the kernel compares as 64 bits."""

    index: int
    value: int
    op: str
    value_two: int = 0


class ProfileRule(msgspec.Struct, frozen=True, rename="camel"):
    """What becomes of some system calls."""

    action: str
    names: tuple[str, ...] = ()
    name: str = ""
    args: tuple[Argument, ...] | None = None
    errno_ret: int | None = None
    includes: Conditions | None = None
    excludes: Conditions | None = None


class ArchMap(msgspec.Struct, frozen=True, rename="camel"):
    """An architecture, and those whose calls its kernel takes too."""

    architecture: str
    sub_architectures: tuple[str, ...] | None = None


class Profile(msgspec.Struct, frozen=True, rename="camel"):
    """All of it."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] | None = None
    arch_map: tuple[ArchMap, ...] | None = None
    syscalls: tuple[ProfileRule, ...] | None = None
    flags: tuple[str, ...] | None = None
    listener_path: str = ""
    listener_metadata: str = ""


def read_profile(content: bytes) -> Profile:
    """Raises InvalidArgument: it is not one."""
    try:
        return msgspec.json.decode(content, type=Profile)
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"Decoding seccomp profile failed: {error}") from None
