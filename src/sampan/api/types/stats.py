"""A sample of what a container uses; lower case on the wire, unlike nearly all else."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType


class Pids(msgspec.Struct, kw_only=True):
    current: int | UnsetType = UNSET
    limit: int | UnsetType = UNSET


class BlkioEntry(msgspec.Struct, kw_only=True):
    major: int
    minor: int
    op: str
    value: int


class Blkio(msgspec.Struct, kw_only=True):
    io_service_bytes_recursive: list[BlkioEntry] | None = None
    io_serviced_recursive: list[BlkioEntry] | None = None
    io_queue_recursive: None = None
    io_service_time_recursive: None = None
    io_wait_time_recursive: None = None
    io_merged_recursive: None = None
    io_time_recursive: None = None
    sectors_recursive: None = None


class CpuUsage(msgspec.Struct, frozen=True, kw_only=True):
    total_usage: int = 0
    percpu_usage: list[int] | UnsetType = UNSET
    usage_in_kernelmode: int = 0
    usage_in_usermode: int = 0


class Throttling(msgspec.Struct, frozen=True, kw_only=True):
    periods: int = 0
    throttled_periods: int = 0
    throttled_time: int = 0


class Cpu(msgspec.Struct, kw_only=True):
    cpu_usage: CpuUsage = CpuUsage()
    system_cpu_usage: int | UnsetType = UNSET
    online_cpus: int | UnsetType = UNSET
    throttling_data: Throttling = Throttling()


class Memory(msgspec.Struct, kw_only=True):
    usage: int | UnsetType = UNSET
    max_usage: int | UnsetType = UNSET
    stats: dict[str, int] | UnsetType = UNSET
    failcnt: int | UnsetType = UNSET
    limit: int | UnsetType = UNSET


class Interface(msgspec.Struct, kw_only=True):
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


class Stats(msgspec.Struct, kw_only=True):
    name: str
    id: str
    read: str
    preread: str
    pids_stats: Pids
    blkio_stats: Blkio
    num_procs: int = 0
    storage_stats: dict[str, int] = {}
    cpu_stats: Cpu
    precpu_stats: Cpu
    memory_stats: Memory
    networks: dict[str, Interface] | UnsetType = UNSET
