"""The one thread in which kernel work of the network is done, in the order it was asked for.

One thread, because everything in it is serialised by the kernel anyway (the rtnl lock), because
the netlink socket and the nftables context each serve one thread at a time, and because a thread
that visits namespaces should be one that nobody else uses.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sampan.aio import shielded
from sampan.kernel.linux import Linux, Nftables
from sampan.kernel.netlink import Rtnetlink
from sampan.kernel.netns import Stranded

T = TypeVar("T")


class NetworkWorker:
    """``run`` a function there. ``linux``, ``netlink`` and ``nft`` are for such functions only, the
    last two only after ``open``: who needs neither need not open."""

    netlink: Rtnetlink
    nft: Nftables

    def __init__(self, linux: Linux) -> None:
        self.linux = linux
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="network")
        self._open = False

    async def open(self) -> None:
        def connect() -> None:
            self.netlink, self.nft = self.linux.netlink(), self.linux.nft()

        await self.run(connect)
        self._open = True

    async def run(self, fn: Callable[[], T], undo: Callable[[], object] | None = None) -> T:
        """Raises what ``fn`` raises, after which nothing of it is left.

        Args:
            undo: takes away what ``fn`` made. When the caller is cancelled ``fn`` still runs to its
                end, and this after it.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, _guarded, fn)
        except asyncio.CancelledError:
            if undo is not None:
                await shielded(self.run(undo))
            raise

    async def close(self) -> None:
        def disconnect() -> None:
            self.netlink.close()
            self.nft.close()

        if self._open:
            await self.run(disconnect)
        self._pool.shutdown(wait=False)


def _guarded(fn: Callable[[], T]) -> T:
    try:
        return fn()
    except Stranded:
        # Whatever this thread did next would happen in a container's namespace. Containers
        # survive the daemon; the daemon's next start finds everything.
        os.abort()
