"""DNS over TCP: length-prefixed questions, several on one connection, answers as they come."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable

from sampan.network.dns.forward import Reply

IDLE_S = 10.0
LIMIT = 256
"""Open connections of one sandbox."""

Ask = Callable[[bytes, Reply], None]


class _Stream:
    def __init__(self, sock: socket.socket, owner: str, ask: Ask) -> None:
        self.socket, self.owner, self.ask = sock, owner, ask
        self.received = b""
        self.unsent = b""
        self.used = time.monotonic()


class Streams:
    """Every open connection. Runs on the server's epoll: give it the descriptors it ``owns``."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._open: dict[int, _Stream] = {}

    def owns(self, descriptor: int) -> bool:
        return descriptor in self._open

    def accept(self, listener: socket.socket, owner: str, ask: Ask) -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        if sum(1 for stream in self._open.values() if stream.owner == owner) >= LIMIT:
            client.close()
            return
        client.setblocking(False)
        self._open[client.fileno()] = _Stream(client, owner, ask)
        self._epoll.register(client, select.EPOLLIN)

    def ready(self, descriptor: int, events: int) -> None:
        stream = self._open[descriptor]
        if events & select.EPOLLOUT:
            self._flush(stream)
        if not events & ~select.EPOLLOUT:
            return
        try:
            data = stream.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._hang_up(stream)
            return
        stream.used = time.monotonic()
        stream.received += data
        while len(stream.received) >= 2:
            end = 2 + struct.unpack_from("!H", stream.received)[0]
            if len(stream.received) < end:
                break
            packet, stream.received = stream.received[2:end], stream.received[end:]
            stream.ask(packet, lambda response: self._write(stream, response))

    def drop(self, owner: str) -> None:
        """Hang up on everyone in this sandbox."""
        for stream in [s for s in self._open.values() if s.owner == owner]:
            self._hang_up(stream)

    def tick(self) -> float:
        """Hang up on who is idle. Returns seconds until it wants to be called again, -1: never."""
        if not self._open:
            return -1.0
        late = time.monotonic() - IDLE_S
        for stream in [s for s in self._open.values() if s.used < late]:
            self._hang_up(stream)
        return 1.0

    def _write(self, stream: _Stream, response: bytes) -> None:
        if stream.socket.fileno() >= 0:
            stream.unsent += struct.pack("!H", len(response)) + response
            self._flush(stream)

    def _flush(self, stream: _Stream) -> None:
        try:
            stream.unsent = stream.unsent[stream.socket.send(stream.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._hang_up(stream)
            return
        out = select.EPOLLOUT if stream.unsent else 0
        self._epoll.modify(stream.socket, select.EPOLLIN | out)

    def _hang_up(self, stream: _Stream) -> None:
        if self._open.pop(stream.socket.fileno(), None) is not None:
            stream.socket.close()
