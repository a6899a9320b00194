"""``/containers/{id}/stats`` on the wire. Snake case: this answer alone is written so."""

from __future__ import annotations

import msgspec


class CpuUsage(msgspec.Struct, kw_only=True, omit_defaults=True):
    total_usage: int
    percpu_usage: list[int] | None = None
    usage_in_kernelmode: int
    usage_in_usermode: int


class Throttling(msgspec.Struct, kw_only=True):
    periods: int = 0
    throttled_periods: int = 0
    throttled_time: int = 0


class Cpu(msgspec.Struct, kw_only=True, omit_defaults=True):
    cpu_usage: CpuUsage
    system_cpu_usage: int = 0
    online_cpus: int = 0
    throttling_data: Throttling


class Memory(msgspec.Struct, kw_only=True, omit_defaults=True):
    usage: int = 0
    max_usage: int = 0
    stats: dict[str, int] = {}
    failcnt: int = 0
    limit: int = 0


class BlkioEntry(msgspec.Struct, kw_only=True):
    major: int
    minor: int
    op: str
    value: int


class Blkio(msgspec.Struct, kw_only=True):
    io_service_bytes_recursive: list[BlkioEntry] | None = None
    io_serviced_recursive: list[BlkioEntry] | None = None
    io_queue_recursive: list[BlkioEntry] | None = None
    io_service_time_recursive: list[BlkioEntry] | None = None
    io_wait_time_recursive: list[BlkioEntry] | None = None
    io_merged_recursive: list[BlkioEntry] | None = None
    io_time_recursive: list[BlkioEntry] | None = None
    sectors_recursive: list[BlkioEntry] | None = None


class Pids(msgspec.Struct, kw_only=True, omit_defaults=True):
    current: int = 0
    limit: int = 0


class Interface(msgspec.Struct, kw_only=True):
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


class StatsBody(msgspec.Struct, kw_only=True):
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
    networks: dict[str, Interface] | msgspec.UnsetType = msgspec.UNSET
