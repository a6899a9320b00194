"""Limits: Docker's words into the OCI specification's, and what this host cannot honour."""

from __future__ import annotations

import os
import stat
from typing import Any

from sampan.errors import InvalidArgument
from sampan.kernel import rlimit
from sampan.kernel.rlimit import Limit
from sampan.runtime.contract import BundleSpec
from sampan.runtime.facts import HostFacts
from sampan.store.records import DeviceRate, Resources

PERIOD_US = 100_000


def limits(wanted: Resources, facts: HostFacts) -> tuple[dict[str, Any], list[str]]:
    """``linux.resources`` without the devices, and warnings."""
    warnings: list[str] = []
    found: dict[str, Any] = {}
    if memory := _memory(wanted, facts, warnings):
        found["memory"] = memory
    if cpu := _cpu(wanted):
        found["cpu"] = cpu
    if wanted.pids_limit is not None and wanted.pids_limit > 0:
        found["pids"] = {"limit": wanted.pids_limit}
    block_io: dict[str, Any] = {
        name: [_throttled(one) for one in rates]
        for name, rates in (
            ("throttleReadBpsDevice", wanted.read_bytes),
            ("throttleWriteBpsDevice", wanted.write_bytes),
            ("throttleReadIOPSDevice", wanted.read_operations),
            ("throttleWriteIOPSDevice", wanted.write_operations),
        )
        if rates
    }
    if wanted.blkio_weight:
        if facts.blkio_weight:
            block_io["weight"] = wanted.blkio_weight
        else:
            warnings.append(
                "Your kernel does not support Block I/O weight or the cgroup is not mounted. "
                "Weight discarded."
            )
    if block_io:
        found["blockIO"] = block_io
    return found, warnings


def _throttled(limit: DeviceRate) -> dict[str, int]:
    """Raises InvalidArgument: there is no such block device."""
    try:
        found = os.stat(limit.path)
    except OSError as error:
        raise InvalidArgument(f"{limit.path}: {error.strerror}: name a block device") from None
    if not stat.S_ISBLK(found.st_mode):
        raise InvalidArgument(f"{limit.path} is not a block device")
    return {
        "major": os.major(found.st_rdev),
        "minor": os.minor(found.st_rdev),
        "rate": limit.rate,
    }


def _memory(wanted: Resources, facts: HostFacts, warnings: list[str]) -> dict[str, Any]:
    memory: dict[str, Any] = {}
    if wanted.memory > 0:
        memory["limit"] = wanted.memory
        # Docker's rule: as much swap again as memory, unless told otherwise.
        swap = wanted.memory_swap or 2 * wanted.memory
        if facts.swap_accounting:
            memory["swap"] = swap
        elif wanted.memory_swap:
            warnings.append(
                "Your kernel does not support swap limit capabilities or the cgroup is not "
                "mounted. Memory limited without swap."
            )
    elif wanted.memory_swap > 0:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit")
    if wanted.memory_reservation:
        memory["reservation"] = wanted.memory_reservation
    if wanted.memory_swappiness is not None and wanted.memory_swappiness >= 0:
        if facts.cgroup_version == 1:
            memory["swappiness"] = wanted.memory_swappiness
        else:
            warnings.append("memory swappiness has no meaning with cgroup v2: discarded")
    if wanted.oom_kill_disable:
        if facts.cgroup_version == 1:
            memory["disableOOMKiller"] = True
        else:
            warnings.append("the OOM killer cannot be disabled with cgroup v2: discarded")
    return memory


def _cpu(wanted: Resources) -> dict[str, Any]:
    cpu: dict[str, Any] = {}
    if wanted.nano_cpus:
        cpu["period"] = wanted.cpu_period or PERIOD_US
        cpu["quota"] = wanted.nano_cpus * cpu["period"] // 1_000_000_000
    else:
        if wanted.cpu_period:
            cpu["period"] = wanted.cpu_period
        if wanted.cpu_quota:
            cpu["quota"] = wanted.cpu_quota
    if wanted.cpu_shares:
        cpu["shares"] = wanted.cpu_shares
    if wanted.cpuset_cpus:
        cpu["cpus"] = wanted.cpuset_cpus
    if wanted.cpuset_mems:
        cpu["mems"] = wanted.cpuset_mems
    return cpu


def rlimits(spec: BundleSpec, facts: HostFacts) -> tuple[list[dict[str, Any]], list[str]]:
    """``process.rlimits``: the daemon's defaults under the container's own, clamped where the
    daemon cannot raise its own."""
    wanted = {name: Limit(*pair) for name, pair in spec.default_ulimits.items()}
    wanted |= {u.name: Limit(u.soft, u.hard) for u in spec.host.resources.ulimits}
    found, warnings = [], []
    for name, limit in wanted.items():
        check_ulimit(name, limit)
        if not facts.raises_rlimits:
            limit, warning = rlimit.clamp(name, limit, facts.rlimits[name])
            if warning:
                warnings.append(warning)
        found.append(
            {
                "type": f"RLIMIT_{name.upper()}",
                "soft": _unsigned(limit.soft),
                "hard": _unsigned(limit.hard),
            }
        )
    return found, warnings


def check_ulimit(name: str, limit: Limit) -> None:
    """Raises InvalidArgument: no such limit, or its soft value is above the hard one."""
    if name not in rlimit.NAMES:
        raise InvalidArgument(f"invalid ulimit type: {name}")
    if limit.hard != rlimit.UNLIMITED and (
        limit.soft > limit.hard or limit.soft == rlimit.UNLIMITED
    ):
        raise InvalidArgument(
            f"ulimit soft limit must be less than or equal to hard limit: "
            f"{limit.soft} > {limit.hard}"
        )


def oom_score(wanted: int, facts: HostFacts) -> tuple[int | None, list[str]]:
    """The value for the process; None leaves what it inherits.

    Raises:
        InvalidArgument: out of -1000..1000.
    """
    if not -1000 <= wanted <= 1000:
        raise InvalidArgument(f"Invalid value {wanted}, range for oom score adj is [-1000, 1000]")
    if wanted == facts.oom_score_adj:
        return None, []
    if wanted < facts.oom_score_adj and not facts.raises_rlimits:
        if wanted == 0:
            return None, []
        return None, [
            f"oom_score_adj {wanted} asked for, {facts.oom_score_adj} given: lowering it needs "
            "CAP_SYS_RESOURCE, which the daemon lacks"
        ]
    return wanted, []


def _unsigned(value: int) -> int:
    return value if value >= 0 else (1 << 64) - 1
