"""After a crash: everything that bears this instance's mark and belongs to nobody goes."""

from __future__ import annotations

import errno
import logging
from collections.abc import Collection

from sampan.config import DaemonConfig, Instance
from sampan.kernel import netlink
from sampan.kernel.linux import Linux
from sampan.kernel.netlink import Link
from sampan.network.deferred_delete import dying_group, live_group

log = logging.getLogger(__name__)


def is_ours(link: Link, instance: Instance) -> bool:
    """Whether this instance made the link. Its group says so: names could not, as one instance's
    hexadecimal suffix may be the beginning of another's id."""
    return link.group in (live_group(instance.suffix), dying_group(instance.suffix))


def sweep(
    linux: Linux, config: DaemonConfig, *, keep: Collection[str], sandboxes: Collection[str]
) -> None:
    """Remove links but ``keep`` and namespaces but ``sandboxes``. Blocking."""
    with linux.netlink() as host:
        for link in host.links():
            if link.name not in keep and is_ours(link, config.instance):
                (outcome,) = host.request(netlink.delete_link(link.name))
                if outcome is None:
                    log.info("removed %s, left over by a crash", link.name)
                elif outcome.errno != errno.ENODEV:
                    log.error("cannot remove %s: %s", link.name, outcome)
    if config.paths.netns.is_dir():
        for path in config.paths.netns.iterdir():
            if path.name not in sandboxes:
                linux.netns.delete(path)
