"""From two samples of a container to the answer of ``stats``. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import UNSET

from sampan.api import moments
from sampan.api.types import stats as wire
from sampan.engine.contract import InterfaceUsage, Sample
from sampan.kernel.usage import BlockIO, Usage


def body(now: Sample, before: Sample | None) -> wire.StatsBody:
    """``before``: the sample that percentages are reckoned from; None on the first."""
    usage = now.usage
    interfaces = {each.name: _interface(each) for each in now.interfaces}
    return wire.StatsBody(
        name=f"/{now.name}",
        id=now.id,
        read=moments.rfc3339(now.time if usage is not None else 0),
        preread=moments.rfc3339(before.time if before is not None and before.usage else 0),
        pids_stats=_pids(usage),
        blkio_stats=_blkio(usage),
        cpu_stats=_cpu(now),
        precpu_stats=_cpu(before),
        memory_stats=_memory(usage, now.memory_total),
        networks=interfaces or UNSET,
    )


def _cpu(sample: Sample | None) -> wire.Cpu:
    if sample is None or sample.usage is None:
        nothing = wire.CpuUsage(total_usage=0, usage_in_kernelmode=0, usage_in_usermode=0)
        return wire.Cpu(cpu_usage=nothing, throttling_data=wire.Throttling())
    usage = sample.usage
    return wire.Cpu(
        cpu_usage=wire.CpuUsage(
            total_usage=usage.cpu_total_ns,
            percpu_usage=list(usage.cpu_each_ns) or None,
            usage_in_kernelmode=usage.cpu_kernel_ns,
            usage_in_usermode=usage.cpu_user_ns,
        ),
        system_cpu_usage=sample.system_ns,
        online_cpus=sample.cpus,
        throttling_data=wire.Throttling(
            periods=usage.periods,
            throttled_periods=usage.throttled_periods,
            throttled_time=usage.throttled_ns,
        ),
    )


def _memory(usage: Usage | None, total: int) -> wire.Memory:
    if usage is None:
        return wire.Memory()
    return wire.Memory(
        usage=usage.memory,
        max_usage=max(usage.memory_max, 0),
        stats=usage.memory_stat,
        failcnt=usage.memory_failures,
        limit=total if usage.memory_limit < 0 else min(usage.memory_limit, total),
    )


def _pids(usage: Usage | None) -> wire.Pids:
    if usage is None:
        return wire.Pids()
    # No limit is the largest number that Go's clients can hold.
    limit = usage.pids_limit if usage.pids_limit >= 0 else (1 << 64) - 1
    return wire.Pids(current=usage.pids, limit=limit)


def _blkio(usage: Usage | None) -> wire.Blkio:
    if usage is None:
        return wire.Blkio()
    return wire.Blkio(
        io_service_bytes_recursive=_entries(usage.io_bytes),
        io_serviced_recursive=_entries(usage.io_operations),
    )


def _entries(found: Iterable[BlockIO]) -> list[wire.BlkioEntry] | None:
    rows = [
        wire.BlkioEntry(major=io.major, minor=io.minor, op=io.operation, value=io.value)
        for io in found
    ]
    return rows or None


def _interface(usage: InterfaceUsage) -> wire.Interface:
    received, sent = usage.received, usage.sent
    return wire.Interface(
        rx_bytes=received[0],
        rx_packets=received[1],
        rx_errors=received[2],
        rx_dropped=received[3],
        tx_bytes=sent[0],
        tx_packets=sent[1],
        tx_errors=sent[2],
        tx_dropped=sent[3],
    )
