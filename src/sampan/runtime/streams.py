"""Descriptors on the event loop: chunks out of several, bytes into one, with a brake on both.

Small on purpose: an asyncio transport and its protocol cost a dozen objects a pipe and do not
know SOCK_SEQPACKET, which the monitor speaks.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable

from sampan.runtime.contract import Stream

HIGH_WATER = 1 << 20
"""Bytes held for a reader that does not come: above it we stop reading, the pipe fills, and the
writer waits. Nothing is ever dropped."""

READ_SIZE = 1 << 16


class Chunks:
    """Merges what several descriptors give, in the order of arrival. One consumer."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[Stream, bytes]] = deque()
        self._size = 0
        self._readers: dict[int, Callable[[], None]] = {}
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None

    def add(self, fd: int, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever ``fd`` is readable, but not while we are full."""
        self._readers[fd] = callback
        if not self._paused:
            self._loop.add_reader(fd, callback)

    def remove(self, fd: int) -> None:
        """The descriptor has ended; with the last one the stream ends."""
        if self._readers.pop(fd, None) is not None:
            self._loop.remove_reader(fd)
            self._wake()

    def put(self, stream: Stream, data: bytes) -> None:
        self._queue.append((stream, data))
        self._size += len(data)
        if self._size > HIGH_WATER and not self._paused:
            self._paused = True
            for fd in self._readers:
                self._loop.remove_reader(fd)
        self._wake()

    def discard(self) -> None:
        """There will be no more reader."""
        self._queue.clear()
        self._size = 0
        self._go_on()

    async def __aiter__(self) -> AsyncIterator[tuple[Stream, bytes]]:
        while True:
            while self._queue:
                item = self._queue.popleft()
                self._size -= len(item[1])
                self._go_on()
                yield item
            if not self._readers:
                return
            self._waiter = self._loop.create_future()
            await self._waiter

    def _go_on(self) -> None:
        if self._paused and self._size < HIGH_WATER // 2:
            self._paused = False
            for fd, callback in self._readers.items():
                self._loop.add_reader(fd, callback)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class PipeOut:
    """Reads pipes (or a terminal's master) into chunks; owns the descriptors."""

    def __init__(self, pipes: dict[int, Stream]) -> None:
        self.chunks = Chunks()
        self._open = dict(pipes)
        self.drained = asyncio.Event()
        """Every pipe has ended."""
        for fd, stream in pipes.items():
            os.set_blocking(fd, False)
            self.chunks.add(fd, lambda fd=fd, stream=stream: self._readable(fd, stream))  # type: ignore[misc]
        if not pipes:
            self.drained.set()

    def _readable(self, fd: int, stream: Stream) -> None:
        try:
            data = os.read(fd, READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            # A terminal's master reads EIO once its last slave is closed.
            data = b""
        if data:
            self.chunks.put(stream, data)
        else:
            self._end(fd)

    def _end(self, fd: int) -> None:
        if self._open.pop(fd, None) is not None:
            self.chunks.remove(fd)
            os.close(fd)
            if not self._open:
                self.drained.set()

    def close(self) -> None:
        for fd in list(self._open):
            self._end(fd)
        self.chunks.discard()


class Writer:
    """Writes to a descriptor that may not take everything at once. Does not own it."""

    def __init__(self, fd: int, write: Callable[[memoryview], int], *, limit: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._write = write
        self._limit = limit
        self._lock = asyncio.Lock()
        self._waiter: asyncio.Future[None] | None = None
        self.closed = False

    async def write(self, data: bytes) -> None:
        """All of ``data``, waiting as long as the other side does not read.

        Raises:
            BrokenPipeError: the other side, or ``close``, ended it.
        """
        view = memoryview(data)
        async with self._lock:
            while view:
                if self.closed:
                    raise BrokenPipeError("stdin is closed")
                try:
                    view = view[self._write(view[: self._limit]) :]
                except BlockingIOError:
                    await self._writable()
                except (ConnectionResetError, OSError) as error:
                    self.closed = True
                    raise BrokenPipeError(f"stdin is closed: {error}") from None

    async def _writable(self) -> None:
        self._waiter = self._loop.create_future()
        self._loop.add_writer(self._fd, self._ready)
        try:
            await self._waiter
        finally:
            if not self.closed:
                self._loop.remove_writer(self._fd)

    def _ready(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Call before the descriptor is closed."""
        if not self.closed:
            self.closed = True
            self._loop.remove_writer(self._fd)
            self._ready()


def pipe_writer(fd: int) -> Writer:
    os.set_blocking(fd, False)
    return Writer(fd, lambda data: os.write(fd, data), limit=READ_SIZE)


def packet_writer(connection: socket.socket, limit: int) -> Writer:
    return Writer(connection.fileno(), connection.send, limit=limit)
