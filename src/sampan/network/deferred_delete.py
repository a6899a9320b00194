"""Taking interfaces apart, many at a time.

Deleting a veth pair waits for grace periods of the kernel: 17 ms, with the lock held that every
other network change needs. Deleting twenty as a *group* takes the same 17 ms. So an interface that
is to go is queued, and what is queued while a deletion runs goes with the next.
"""

from __future__ import annotations

import asyncio
import errno

from sampan.aio import Tasks, in_thread
from sampan.kernel import netlink
from sampan.kernel.linux import Linux

_LIVE, _DYING = 0x53000000, 0x54000000


def live_group(suffix: str) -> int:
    """The link group that marks every interface of an instance as its own, whatever its name."""
    return _LIVE | int(suffix or "0", 16)


def dying_group(suffix: str) -> int:
    """The link group of interfaces about to be deleted."""
    return _DYING | int(suffix or "0", 16)


class DeferredLinkDelete:
    """Deletes interfaces of the host's namespace."""

    def __init__(self, linux: Linux, instance_suffix: str, tasks: Tasks) -> None:
        self._linux = linux
        self._group = dying_group(instance_suffix)
        self._tasks = tasks
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        self._running: asyncio.Task[None] | None = None

    async def delete(self, interface: str) -> None:
        """Delete ``interface`` and return when it is gone. One that is not there is gone already.

        Raises:
            OSError: it is still there; the daemon's next start sweeps it.
        """
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((interface, done))
        if self._running is None or self._running.done():
            self._running = self._tasks.spawn(self._work(), name="network/deferred delete")
        await done

    async def _work(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await in_thread(self._delete, [name for name, _ in batch])
            except OSError as error:
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
                continue
            for _, done in batch:
                if not done.done():
                    done.set_result(None)

    def _delete(self, names: list[str]) -> None:
        with self._linux.netlink() as host:
            marks = [netlink.set_link(name, group=self._group) for name in names]
            *marked, deleted = host.request(*marks, netlink.delete_group(self._group))
            for outcome in (*marked, deleted):
                if outcome is not None and outcome.errno != errno.ENODEV:
                    raise outcome
