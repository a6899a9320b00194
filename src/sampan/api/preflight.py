"""What the host must have before a daemon makes sense: one sentence each, with the cure."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from sampan.config import DaemonConfig
from sampan.errors import Forbidden, SampanError, Unsupported
from sampan.kernel import nft

SECCOMP = Path("/usr/share/containers/seccomp.json")


def problems(config: DaemonConfig) -> list[SampanError]:
    """Everything that is missing, so that one ``apt-get install`` cures it all."""
    found: list[SampanError] = []
    if os.geteuid() != 0:
        found.append(Forbidden("sampand needs root: start it with sudo"))
    runtime = config.runtimes.get(config.default_runtime, config.default_runtime)
    if shutil.which(runtime) is None:
        found.append(_missing(f"the OCI runtime {runtime}", "crun"))
    if shutil.which("conmon") is None:
        found.append(_missing("conmon, which holds each container", "conmon"))
    if config.iptables and not nft.available():
        found.append(_missing("libnftables", "libnftables1"))
    if not SECCOMP.exists() and not Path("/etc/containers/seccomp.json").exists():
        found.append(_missing(f"the seccomp profile {SECCOMP}", "golang-github-containers-common"))
    return found


def _missing(what: str, package: str) -> Unsupported:
    return Unsupported(f"sampand needs {what}: apt-get install {package}")
