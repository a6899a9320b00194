"""What sampan uses of the host: each component with what fails without it and its package.

One table for everybody who asks: the daemon's start (which refuses to go on without what it
cannot do without, and warns of the rest), ``GET /info``, and the error of a caller that needs a
component that is not there. ``script/setup`` installs every package of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sampan.errors import Unsupported


@dataclass(frozen=True, slots=True)
class Command:
    """A program: the first of ``names`` that ``PATH`` has."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class File:
    """A file in a place of its own."""

    path: Path


@dataclass(frozen=True, slots=True)
class Library:
    """A shared library, by its soname."""

    soname: str


@dataclass(frozen=True, slots=True)
class Component:
    """One thing of the host."""

    name: str
    without: str
    """What a user sees who has it not: ends the sentence "no NAME found: "."""
    package: str
    """Debian's."""
    found_as: Command | File | Library
    needed: bool = False
    """Whether a daemon makes no sense without it."""

    @property
    def cure(self) -> str:
        return f"no {self.name} found: {self.without}; install {self.package}"


CRUN = Component("crun", "`--runtime crun` will fail", "crun", Command(("crun",)))
RUNC = Component("runc", "`--runtime runc` will fail", "runc", Command(("runc",)))
CONMON = Component("conmon", "no container can run", "conmon", Command(("conmon",)), needed=True)
SECCOMP_PROFILE = Component(
    "seccomp profile",
    "containers would run without a filter of system calls",
    "golang-github-containers-common",
    File(Path("/usr/share/containers/seccomp.json")),
    needed=True,
)
LIBNFTABLES = Component(
    "libnftables", "networks have no firewall", "libnftables1", Library("libnftables.so.1")
)
LIBSECCOMP = Component(
    "libseccomp", "each start of a container is slower", "libseccomp2", Library("libseccomp.so.2")
)
INIT = Component(
    "init",
    "`--init` will fail",
    "catatonit",
    Command(("catatonit", "tini-static", "tini", "docker-init")),
)
ETCD = Component(
    "etcd", "this host cannot be a manager of a swarm", "etcd-server", Command(("etcd",))
)
ETCDCTL = Component(
    "etcdctl",
    "a manager's data cannot be restored from a snapshot",
    "etcd-client",
    Command(("etcdctl",)),
)
PS = Component("ps", "`top` will fail", "procps", Command(("ps",)))
CA_CERTIFICATES = Component(
    "CA certificates",
    "registries cannot be trusted",
    "ca-certificates",
    File(Path("/etc/ssl/certs/ca-certificates.crt")),
)
BUSYBOX = Component(
    "busybox",
    "`sampan image bootstrap busybox` will fail on this host",
    "busybox-static",
    File(Path("/bin/busybox")),
)
MMDEBSTRAP = Component(
    "mmdebstrap",
    "`sampan image bootstrap debian` will fail on this host",
    "mmdebstrap",
    Command(("mmdebstrap",)),
)

COMPONENTS = (
    CRUN, RUNC, CONMON, SECCOMP_PROFILE, LIBNFTABLES, LIBSECCOMP, INIT, ETCD, ETCDCTL, PS,
    CA_CERTIFICATES, BUSYBOX, MMDEBSTRAP,
)  # fmt: skip


def find(component: Component) -> Path | None:
    """Where it is now: a command or a file. A library has no place that is known here."""
    match component.found_as:
        case Command(names):
            return next((Path(path) for name in names if (path := shutil.which(name))), None)
        case File(path):
            return path if os.access(path, os.R_OK) else None
        case Library():
            return None


def require(component: Component) -> Path:
    """``find``, for callers that cannot go on without.

    Raises:
        Unsupported: it is not there; with the package to install.
    """
    path = find(component)
    if path is None:
        raise Unsupported(component.cure)
    return path


def missing(loads: Callable[[str], bool]) -> list[Component]:
    """Those that are not there now, in the table's order.

    Args:
        loads: whether a shared library of this name can be loaded.
    """
    return [
        component
        for component in COMPONENTS
        if not (
            loads(component.found_as.soname)
            if isinstance(component.found_as, Library)
            else find(component)
        )
    ]
