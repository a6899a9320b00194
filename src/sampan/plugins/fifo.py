"""The daemon's end of a FIFO that a plugin reads, without ever blocking the loop or a thread.

Opening a FIFO for writing waits for its reader, and a plugin that hangs never becomes one. Opened
without blocking it fails until there is a reader, so it is tried again until there is; a thread
that waits in ``open`` would be one of the few that everybody shares.

What the reader has not read when it dies is still in the pipe: ``unread`` tells how much of it.
"""

from __future__ import annotations

import array
import asyncio
import errno
import fcntl
import os
import select
import termios
from pathlib import Path

from sampan.aio import Clock

_FIRST_PAUSE_S = 0.002
_LAST_PAUSE_S = 0.2


class FifoWriter:
    """``await connect()``, ``await write()`` ..., ``close()``. One task uses it."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Makes the FIFO; ``path`` must not exist."""
        self.path = path
        self._clock = clock
        self._fd = -1
        os.mkfifo(path, 0o600)

    async def connect(self) -> None:
        """Wait until somebody reads it."""
        pause = _FIRST_PAUSE_S
        while self._fd < 0:
            try:
                self._fd = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                await self._clock.sleep(pause)
                pause = min(pause * 2, _LAST_PAUSE_S)

    async def write(self, data: bytes) -> None:
        """Returns once all of it is in the pipe.

        Raises:
            BrokenPipeError: the reader is gone.
        """
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                await self._writable()

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_writer(self._fd, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_writer(self._fd)

    def unread(self) -> int:
        """Bytes in the pipe that its reader has not taken."""
        if self._fd < 0:
            return 0
        count = array.array("i", [0])
        fcntl.ioctl(self._fd, termios.FIONREAD, count)
        return count[0]

    async def drained(self, seconds: float) -> bool:
        """Wait until the reader has taken everything; False: not within ``seconds``, or it has
        gone and never will."""
        deadline = self._clock.monotonic() + seconds
        pause = _FIRST_PAUSE_S
        while self.unread():
            if self._clock.monotonic() >= deadline or not self._read():
                return False
            await self._clock.sleep(pause)
            pause = min(pause * 2, _LAST_PAUSE_S)
        return True

    def _read(self) -> bool:
        """Whether somebody reads it."""
        poll = select.poll()
        poll.register(self._fd, 0)
        return not poll.poll(0)

    def close(self) -> None:
        """The reader comes to the end of the file; the FIFO goes. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self.path.unlink(missing_ok=True)
