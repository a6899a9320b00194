"""A container's network namespace, before anything is plugged into it."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from sampan.errors import InvalidArgument
from sampan.kernel import netlink
from sampan.kernel.linux import Linux

log = logging.getLogger(__name__)

DEFAULT_SYSCTLS = {
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
}
"""Docker's: any user may bind low ports and ping, as in a network namespace of its own there is
nothing to guard them from. Set here and nowhere else: the namespace outlives a run."""


def make(linux: Linux, path: Path, sysctls: dict[str, str]) -> None:
    """A namespace at ``path`` with its loopback up and its parameters set. Blocking; on failure
    nothing is left.

    Raises:
        InvalidArgument: a parameter that the kernel does not take.
    """

    def inside() -> None:
        # No IPv6 on interfaces to come unless an endpoint asks: without this every container
        # speaks router solicitations and duplicate detection on every bridge.
        with contextlib.suppress(FileNotFoundError):
            linux.sysctl.write("net.ipv6.conf.default.disable_ipv6", "1")
        with linux.netlink() as link:
            link.do(netlink.set_link("lo", up=True))
        for name, value in (DEFAULT_SYSCTLS | sysctls).items():
            try:
                linux.sysctl.write(name, value)
            except OSError as error:
                if name in sysctls:
                    raise InvalidArgument(f"sysctl {name}={value}: {error.strerror}") from None
                log.debug("sysctl %s: %s", name, error)

    linux.netns.create(path, inside)
