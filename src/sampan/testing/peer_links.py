"""Links in memory, and the sockets over them: what ``peers`` is made of."""

from __future__ import annotations

import asyncio
from collections import deque

from sampan.aio import Clock, Tasks
from sampan.cluster.peer.contract import SocketClosed

WINDOW = 1024 * 1024
"""Bytes that a socket holds of one direction before its sender waits."""
RESET = "the connection was reset"


class Link:
    """The way between two addresses."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._healed = asyncio.Event()
        self._healed.set()
        self.delay_s = 0.0

    @property
    def free(self) -> bool:
        """What is sent arrives at once."""
        return self._healed.is_set() and not self.delay_s

    def cut(self) -> None:
        self._healed.clear()

    def heal(self) -> None:
        self._healed.set()

    async def passage(self, sent_at: float) -> None:
        """Wait until what was sent at ``sent_at`` (monotonic) arrives."""
        while not self.free:
            await self._healed.wait()
            left = sent_at + self.delay_s - self._clock.monotonic()
            if left <= 0:
                if self._healed.is_set():
                    return
            else:
                await self._clock.sleep(left)


class Half:
    """One direction of a socket."""

    def __init__(self, tasks: Tasks, clock: Clock, link: Link) -> None:
        self._tasks = tasks
        self._clock = clock
        self._link = link
        self._way: deque[tuple[float, bytes | SocketClosed]] = deque()
        self._arrived: deque[bytes] = deque()
        self._held = 0
        self._pumping = False
        self._ended: SocketClosed | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    @property
    def held(self) -> asyncio.Event:
        """Set while there is room for more."""
        return self._room

    @property
    def ended(self) -> SocketClosed | None:
        """Why nothing more comes, if so."""
        return self._ended

    def put(self, what: bytes | SocketClosed) -> None:
        if isinstance(what, bytes):
            self._held += len(what)
            if self._held >= WINDOW:
                self._room.clear()
        if self._link.free and not self._way:
            self._arrive(what)
            return
        self._way.append((self._clock.monotonic(), what))
        if not self._pumping:
            self._pumping = True
            self._tasks.spawn(self._pump(), name="peers/link")

    async def _pump(self) -> None:
        while self._way:
            sent_at, what = self._way[0]
            await self._link.passage(sent_at)
            self._way.popleft()
            self._arrive(what)
        self._pumping = False

    def _arrive(self, what: bytes | SocketClosed) -> None:
        if isinstance(what, SocketClosed):
            self.end(what)
        elif self._ended is None:
            self._arrived.append(what)
            self._news.set()

    def end(self, why: SocketClosed, *, forget: bool = False) -> None:
        """Nothing more comes; ``forget``: not even what is here."""
        if forget:
            self._arrived.clear()
        self._ended = self._ended or why
        self._news.set()
        self._room.set()

    async def get(self) -> bytes:
        while not self._arrived:
            if self._ended is not None:
                raise SocketClosed(str(self._ended))
            self._news.clear()
            await self._news.wait()
        message = self._arrived.popleft()
        self._held -= len(message)
        if self._held < WINDOW:
            self._room.set()
        return message


class MemorySocket:
    """One end of a channel."""

    def __init__(self, host: str, inward: Half, outward: Half) -> None:
        self.host = host
        self._in = inward
        self._out = outward
        self._closed: SocketClosed | None = None

    async def send(self, message: bytes) -> None:
        assert isinstance(message, (bytes, bytearray, memoryview)), "messages are bytes"
        while True:
            self._check()
            if self._out.held.is_set():
                break
            await self._out.held.wait()
        self._out.put(bytes(message))

    def _check(self) -> None:
        ended = self._closed or self._in.ended
        if ended is not None:
            raise SocketClosed(str(ended))

    async def receive(self) -> bytes:
        return await self._in.get()

    async def close(self, reason: str = "") -> None:
        if self._closed is None:
            self._closed = SocketClosed(reason)
            self._out.put(self._closed)
            self._in.end(self._closed, forget=True)
            self._out.held.set()

    @property
    def open(self) -> bool:
        """This end was not closed."""
        return self._closed is None

    def reset(self) -> None:
        """The process of this end is gone."""
        if self._closed is None:
            self._closed = SocketClosed(RESET)
            self._out.put(self._closed)
            self._in.end(self._closed, forget=True)
            self._out.held.set()
