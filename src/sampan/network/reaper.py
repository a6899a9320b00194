"""Taking interfaces apart, many at a time, behind the caller's back.

Deleting a veth pair waits for grace periods of the kernel: 17 ms, with the lock held that every
other network change needs. Deleting twenty as a *group* takes the same 17 ms. So whoever leaves
hands over the name and goes on; what is handed over while a deletion runs goes with the next.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable

from sampan.aio import Tasks, in_thread
from sampan.kernel import netlink
from sampan.kernel.linux import Linux

log = logging.getLogger(__name__)

_LIVE, _DYING = 0x53000000, 0x54000000


def live_group(suffix: str) -> int:
    """The link group that marks every interface of an instance as its own, whatever its name."""
    return _LIVE | int(suffix or "0", 16)


def dying_group(suffix: str) -> int:
    """The link group of interfaces about to be deleted."""
    return _DYING | int(suffix or "0", 16)


class Reaper:
    """``bury`` interfaces of the host's namespace; ``settled`` waits for all of them."""

    def __init__(self, linux: Linux, instance_suffix: str, tasks: Tasks) -> None:
        self._linux = linux
        self._group = dying_group(instance_suffix)
        self._tasks = tasks
        self._waiting: list[tuple[str, Callable[[], None]]] = []
        self._running: asyncio.Task[None] | None = None

    def bury(self, interface: str, gone: Callable[[], None]) -> None:
        """Delete ``interface`` soon; then call ``gone``. One that is not there is gone already."""
        self._waiting.append((interface, gone))
        if self._running is None or self._running.done():
            self._running = self._tasks.spawn(self._work(), name="network/reaper")

    async def settled(self) -> None:
        """Wait until everything handed over so far is gone."""
        while self._running is not None and not self._running.done():
            await asyncio.wait({self._running})

    async def _work(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await in_thread(self._delete, [name for name, _ in batch])
            except OSError as error:
                # What is left over is swept by the next start; the address stays out of use.
                log.error("interfaces could not be deleted: %s", error)
                continue
            for _, gone in batch:
                gone()

    def _delete(self, names: list[str]) -> None:
        with self._linux.netlink() as host:
            marks = [netlink.set_link(name, group=self._group) for name in names]
            *marked, deleted = host.request(*marks, netlink.delete_group(self._group))
            for outcome in (*marked, deleted):
                if outcome is not None and outcome.errno != errno.ENODEV:
                    raise outcome
