"""Resource limits by Docker's names, and what this process may give to its children."""

from __future__ import annotations

import resource
from dataclasses import dataclass

UNLIMITED = -1

CAP_SYS_RESOURCE = 24

_NUMBERS = {
    "as": resource.RLIMIT_AS,
    "core": resource.RLIMIT_CORE,
    "cpu": resource.RLIMIT_CPU,
    "data": resource.RLIMIT_DATA,
    "fsize": resource.RLIMIT_FSIZE,
    "locks": 10,
    "memlock": resource.RLIMIT_MEMLOCK,
    "msgqueue": resource.RLIMIT_MSGQUEUE,
    "nice": resource.RLIMIT_NICE,
    "nofile": resource.RLIMIT_NOFILE,
    "nproc": resource.RLIMIT_NPROC,
    "rss": resource.RLIMIT_RSS,
    "rtprio": resource.RLIMIT_RTPRIO,
    "rttime": 15,
    "sigpending": resource.RLIMIT_SIGPENDING,
    "stack": resource.RLIMIT_STACK,
}
NAMES = frozenset(_NUMBERS)


@dataclass(frozen=True, slots=True)
class Limit:
    """Soft and hard value; -1: unlimited."""

    soft: int
    hard: int


def inherited(name: str) -> Limit:
    """The limit that this process has and its children inherit."""
    soft, hard = resource.getrlimit(_NUMBERS[name])
    return Limit(soft, hard)


def effective_capabilities() -> int:
    """This process's effective capabilities as a bit mask."""
    with open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"CapEff:"):
                return int(line.split()[1], 16)
    return 0


def clamp(name: str, wanted: Limit, ours: Limit) -> tuple[Limit, str]:
    """What can be given of ``wanted`` by a process that may not raise ``ours.hard``.

    Returns the limit and, when something was cut off, a sentence that says so.
    """
    ceiling = ours.hard
    if ceiling == UNLIMITED or (wanted.hard != UNLIMITED and wanted.hard <= ceiling):
        return wanted, ""
    soft = wanted.soft if wanted.soft != UNLIMITED and wanted.soft <= ceiling else ceiling
    return (
        Limit(soft, ceiling),
        f"ulimit {name}: {wanted.hard if wanted.hard >= 0 else 'unlimited'} asked for, {ceiling} "
        "given: the daemon lacks CAP_SYS_RESOURCE and cannot go above its own hard limit",
    )
