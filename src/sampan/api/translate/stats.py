"""Samples as the API sends them: each with the processor times of the one before."""

from __future__ import annotations

from msgspec import UNSET

from sampan.api.timestamps import ZERO, rfc3339
from sampan.api.types import stats as wire
from sampan.engine.contract import Sample
from sampan.kernel.usage import BlockIO


def stats(sample: Sample, before: Sample | None) -> wire.Stats:
    """Of a container that does not run, everything is zero or absent, as with Docker."""
    usage = sample.usage
    body = wire.Stats(
        name="/" + sample.name,
        id=sample.id,
        read=rfc3339(sample.time) if usage is not None else ZERO,
        preread=rfc3339(before.time) if before is not None and before.usage else ZERO,
        pids_stats=wire.Pids(),
        blkio_stats=wire.Blkio(),
        cpu_stats=_cpu(sample),
        precpu_stats=_cpu(before),
        memory_stats=wire.Memory(),
    )
    if usage is None:
        return body
    body.pids_stats = wire.Pids(
        current=usage.pids, limit=usage.pids_limit if usage.pids_limit >= 0 else UNSET
    )
    body.blkio_stats.io_service_bytes_recursive = _block_io(usage.io_bytes)
    body.blkio_stats.io_serviced_recursive = _block_io(usage.io_operations)
    limit = usage.memory_limit
    body.memory_stats = wire.Memory(
        usage=usage.memory,
        max_usage=usage.memory_max or UNSET,
        stats=usage.memory_stat,
        failcnt=usage.memory_failures or UNSET,
        # A limit beyond the host's memory limits nothing.
        limit=limit if 0 <= limit <= sample.memory_total else sample.memory_total,
    )
    if sample.interfaces:
        body.networks = {
            one.name: wire.Interface(
                rx_bytes=one.received[0],
                rx_packets=one.received[1],
                rx_errors=one.received[2],
                rx_dropped=one.received[3],
                tx_bytes=one.sent[0],
                tx_packets=one.sent[1],
                tx_errors=one.sent[2],
                tx_dropped=one.sent[3],
            )
            for one in sample.interfaces
        }
    return body


def _cpu(sample: Sample | None) -> wire.Cpu:
    if sample is None or sample.usage is None:
        return wire.Cpu()
    usage = sample.usage
    return wire.Cpu(
        cpu_usage=wire.CpuUsage(
            total_usage=usage.cpu_total_ns,
            percpu_usage=list(usage.cpu_each_ns) or UNSET,
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


def _block_io(counters: tuple[BlockIO, ...]) -> list[wire.BlkioEntry] | None:
    return [
        wire.BlkioEntry(major=one.major, minor=one.minor, op=one.operation, value=one.value)
        for one in counters
    ] or None
