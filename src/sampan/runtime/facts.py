"""What this host has and allows, read once at the start: the other input of a specification."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from sampan import components
from sampan.kernel import rlimit
from sampan.kernel.cgroup import Cgroups
from sampan.kernel.rlimit import Limit
from sampan.runtime import capabilities
from sampan.runtime.seccomp.translate import Seccomp


@dataclass(frozen=True, slots=True)
class HostFacts:
    machine: str
    kernel: tuple[int, int]
    cgroup_version: int
    cgroup_namespaces: bool
    capabilities: frozenset[str]
    """What the daemon itself has: nobody can give more."""
    raises_rlimits: bool
    rlimits: dict[str, Limit]
    oom_score_adj: int
    apparmor: bool
    swap_accounting: bool
    blkio_weight: bool
    init_path: Path | None
    """A small init for ``--init``."""
    seccomp: Seccomp


def gather(cgroups: Cgroups) -> HostFacts:
    """Look around."""
    uname = os.uname()
    version = re.match(r"(\d+)\.(\d+)", uname.release)
    kernel = (int(version[1]), int(version[2])) if version else (0, 0)
    mask = rlimit.effective_capabilities()
    return HostFacts(
        machine=uname.machine,
        kernel=kernel,
        cgroup_version=cgroups.version,
        cgroup_namespaces=Path("/proc/self/ns/cgroup").exists(),
        capabilities=capabilities.names(mask),
        raises_rlimits=bool(mask >> rlimit.CAP_SYS_RESOURCE & 1),
        rlimits={name: rlimit.inherited(name) for name in rlimit.NAMES},
        oom_score_adj=int(Path("/proc/self/oom_score_adj").read_text()),
        apparmor=Path("/sys/kernel/security/apparmor").is_dir(),
        swap_accounting=_swap_accounting(cgroups),
        blkio_weight=_blkio_weight(cgroups),
        init_path=components.find(components.INIT),
        seccomp=Seccomp(uname.machine, kernel),
    )


def _swap_accounting(cgroups: Cgroups) -> bool:
    if cgroups.version == 2:
        return Path("/proc/swaps").exists()
    tree = cgroups.trees.get("memory")
    return tree is not None and (tree / "memory.memsw.limit_in_bytes").exists()


def _blkio_weight(cgroups: Cgroups) -> bool:
    if cgroups.version == 2:
        return True
    tree = cgroups.trees.get("blkio")
    # The root has no weight: only a file of that name somewhere tells.
    return tree is not None and any(
        (tree / name).exists() for name in ("blkio.weight", "blkio.bfq.weight")
    )
