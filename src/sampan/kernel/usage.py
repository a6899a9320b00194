"""What a control group has used: processor time, memory, block I/O, processes."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sampan.kernel.cgroup import Cgroups, flat, number

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_V1_BLKIO = (
    ("blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_serviced_recursive"),
    ("blkio.bfq.io_service_bytes_recursive", "blkio.bfq.io_serviced_recursive"),
)


@dataclass(frozen=True, slots=True)
class BlockIO:
    """Counters of one device."""

    major: int
    minor: int
    operation: str
    """"read", "write" ..."""
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """A snapshot. Times in nanoseconds, sizes in bytes; -1 for a limit means none."""

    cpu_total_ns: int = 0
    cpu_user_ns: int = 0
    cpu_kernel_ns: int = 0
    cpu_each_ns: tuple[int, ...] = ()
    """Of each processor; only v1 knows."""
    periods: int = 0
    throttled_periods: int = 0
    throttled_ns: int = 0
    memory: int = 0
    memory_max: int = 0
    memory_limit: int = -1
    memory_failures: int = 0
    memory_stat: dict[str, int]
    pids: int = 0
    pids_limit: int = -1
    io_bytes: tuple[BlockIO, ...] = ()
    io_operations: tuple[BlockIO, ...] = ()


def usage(cgroups: Cgroups, group: str) -> Usage:
    """Read a group's counters; controllers that this host does not have stay zero.

    Raises:
        FileNotFoundError: the group does not exist.
    """
    if not cgroups.exists(group):
        raise FileNotFoundError(f"cgroup {group} does not exist")
    return _v2(cgroups.path(group, "")) if cgroups.version == 2 else _v1(cgroups, group)


def _v2(at: Path) -> Usage:
    cpu = _flat(at / "cpu.stat")
    events = _flat(at / "memory.events")
    read, operations = _io_stat(at / "io.stat")
    return Usage(
        cpu_total_ns=cpu.get("usage_usec", 0) * 1000,
        cpu_user_ns=cpu.get("user_usec", 0) * 1000,
        cpu_kernel_ns=cpu.get("system_usec", 0) * 1000,
        periods=cpu.get("nr_periods", 0),
        throttled_periods=cpu.get("nr_throttled", 0),
        throttled_ns=cpu.get("throttled_usec", 0) * 1000,
        memory=_number(at / "memory.current"),
        memory_max=_number(at / "memory.peak"),
        memory_limit=_number(at / "memory.max", -1),
        memory_failures=events.get("max", 0),
        memory_stat=_flat(at / "memory.stat"),
        pids=_number(at / "pids.current"),
        pids_limit=_number(at / "pids.max", -1),
        io_bytes=read,
        io_operations=operations,
    )


def _io_stat(path: Path) -> tuple[tuple[BlockIO, ...], tuple[BlockIO, ...]]:
    """Lines of "MAJOR:MINOR rbytes=N wbytes=N rios=N wios=N ..."."""
    sizes: list[BlockIO] = []
    counts: list[BlockIO] = []
    words = {"rbytes": ("read", sizes), "wbytes": ("write", sizes)}
    words |= {"rios": ("read", counts), "wios": ("write", counts)}
    with suppress(OSError):
        for line in path.read_text().splitlines():
            device, *pairs = line.split()
            major, _, minor = device.partition(":")
            for pair in pairs:
                key, _, value = pair.partition("=")
                if key in words:
                    operation, into = words[key]
                    into.append(BlockIO(int(major), int(minor), operation, int(value)))
    return tuple(sizes), tuple(counts)


def _v1(cgroups: Cgroups, group: str) -> Usage:
    def at(controller: str) -> Path:
        # A tree that is not mounted leads nowhere, and reads as zero.
        with suppress(FileNotFoundError):
            return cgroups.path(group, controller)
        return Path("/nonexistent")

    cpuacct, cpu, memory, blkio = at("cpuacct"), at("cpu"), at("memory"), at("blkio")
    split = _flat(cpuacct / "cpuacct.stat")
    throttling = _flat(cpu / "cpu.stat")
    each: tuple[int, ...] = ()
    with suppress(OSError):
        each = tuple(map(int, (cpuacct / "cpuacct.usage_percpu").read_text().split()))
    sizes: tuple[BlockIO, ...] = ()
    counts: tuple[BlockIO, ...] = ()
    for size_file, count_file in _V1_BLKIO:
        sizes, counts = _blkio(blkio / size_file), _blkio(blkio / count_file)
        if sizes:
            break
    return Usage(
        cpu_total_ns=_number(cpuacct / "cpuacct.usage"),
        cpu_user_ns=split.get("user", 0) * _TICK_NS,
        cpu_kernel_ns=split.get("system", 0) * _TICK_NS,
        cpu_each_ns=each,
        periods=throttling.get("nr_periods", 0),
        throttled_periods=throttling.get("nr_throttled", 0),
        throttled_ns=throttling.get("throttled_time", 0),
        memory=_number(memory / "memory.usage_in_bytes"),
        memory_max=_number(memory / "memory.max_usage_in_bytes"),
        memory_limit=_number(memory / "memory.limit_in_bytes", -1),
        memory_failures=_number(memory / "memory.failcnt"),
        memory_stat=_flat(memory / "memory.stat"),
        pids=_number(at("pids") / "pids.current"),
        pids_limit=_number(at("pids") / "pids.max", -1),
        io_bytes=sizes,
        io_operations=counts,
    )


def _blkio(path: Path) -> tuple[BlockIO, ...]:
    """Lines of "MAJOR:MINOR Operation N", and a total that belongs to no device."""
    found = []
    with suppress(OSError):
        for line in path.read_text().splitlines():
            device, _, rest = line.partition(" ")
            operation, _, value = rest.partition(" ")
            major, colon, minor = device.partition(":")
            if colon and value:
                found.append(BlockIO(int(major), int(minor), operation.lower(), int(value)))
    return tuple(found)


def _flat(path: Path) -> dict[str, int]:
    try:
        return flat(path)
    except OSError:
        return {}


def _number(path: Path, absent: int = 0) -> int:
    try:
        return number(path)
    except OSError:
        return absent
