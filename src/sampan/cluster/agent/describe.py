"""What this host is, for the scheduler and for those who list nodes. Blocking."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable

from sampan import __version__
from sampan.cluster.records import NodeDescription, Plugin
from sampan.cluster.spec import Platform, Resources
from sampan.kernel.linux import Linux


def describe(
    linux: Linux,
    labels: Iterable[str],
    root_certificate: str,
    plugins: Iterable[tuple[str, str]],
) -> NodeDescription:
    """``labels`` are the daemon's, "NAME=VALUE"; ``plugins`` its drivers, (type, name)."""
    issuer, key = b"", b""
    if root_certificate:
        from sampan.cluster.ca.certificates import issuer_of  # its library takes its time

        issuer, key = issuer_of(root_certificate)
    return NodeDescription(
        hostname=os.uname().nodename,
        platform=Platform(architecture=platform.machine(), os="linux"),
        resources=Resources(
            nano_cpus=(os.cpu_count() or 1) * 1_000_000_000,
            memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        ),
        engine_version=__version__,
        engine_labels=dict(label.partition("=")[::2] for label in labels),
        plugins=tuple(Plugin(type=kind, name=name) for kind, name in plugins),
        trust_root=root_certificate,
        certificate_issuer=issuer,
        certificate_issuer_key=key,
        routes=_routes(linux),
    )


def _routes(linux: Linux) -> tuple[str, ...]:
    with linux.netlink() as here:
        found = {
            str(route.destination)
            for route in here.routes()
            if route.destination.version == 4 and route.destination.prefixlen
        }
    return tuple(sorted(found))
