"""What the host must have before a daemon makes sense, and what some of its work will lack."""

from __future__ import annotations

import os
import shutil

from sampan import components
from sampan.components import Component
from sampan.config import DaemonConfig
from sampan.errors import Forbidden, SampanError, Unsupported
from sampan.kernel.libraries import loads


def problems(config: DaemonConfig) -> list[SampanError]:
    """Everything without which the daemon does not start, one sentence each with the cure, so that
    one ``apt-get install`` cures it all."""
    found: list[SampanError] = []
    if os.geteuid() != 0:
        found.append(Forbidden("sampand needs root: start it with sudo"))
    runtime = config.runtimes.get(config.default_runtime)
    if runtime is not None and shutil.which(runtime.path) is None:
        found.append(
            Unsupported(f"the default runtime {runtime.path} is not a program of this host")
        )
    found += [
        Unsupported(_needed(lack, config))
        for lack in components.missing(loads)
        if _stops(lack, config)
    ]
    return found


def warnings(config: DaemonConfig) -> list[str]:
    """What is missing for some of the work, one sentence each with the cure, as things are now."""
    found = [lack.cure for lack in components.missing(loads) if not _stops(lack, config)]
    found += [
        f"{runtime.path} is not a program of this host: `--runtime {name}` will fail; correct its "
        "path in `runtimes` of daemon.json"
        for name, runtime in config.runtimes.items()
        if shutil.which(runtime.path) is None
    ]
    return found


def _needed(lack: Component, config: DaemonConfig) -> str:
    """Why the daemon does not start without it, and the cure."""
    if lack.name == config.default_runtime:
        return (
            f"cannot start: {lack.name}, the default runtime, is missing: install "
            f"{lack.package}, or name another one as default-runtime in daemon.json"
        )
    if lack is components.LIBNFTABLES:
        return f"cannot start: {lack.cure}, or start with `iptables: false` in daemon.json"
    return lack.cure


def _stops(lack: Component, config: DaemonConfig) -> bool:
    """Whether the daemon makes no sense without it, as it is configured."""
    if lack is components.LIBNFTABLES:
        return config.iptables
    default = config.default_runtime not in config.runtimes and config.default_runtime
    return lack.needed or lack.name == default
