"""Asking the outside: one fresh socket and one fresh id a question, servers in turn, a cache.

A fresh source port and a random id for each question are what keeps forged answers out (RFC 5452).
The cache is bounded by its entries' own time-to-live and by number.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from sampan.network.dns import message

TIMEOUT_S = 2.0
"""For one server; then the next one is asked."""
ROUNDS = 2
PENDING_LIMIT = 1024
"""Questions under way at once; one more is answered SERVFAIL, or a flood would eat descriptors."""
CACHE_ENTRIES = 8192
LONGEST_S = 3600

Reply = Callable[[bytes], None]
Key = tuple[tuple[str, ...], bool, bytes]


class _Cached(NamedTuple):
    stored: float
    expires: float
    body: bytes
    """From the third byte on."""
    offsets: list[int]


class Cache:
    """Responses of the outside by (servers, stream, question). ``now`` is monotonic seconds."""

    def __init__(self, entries: int = CACHE_ENTRIES) -> None:
        self._entries = entries
        self._kept: OrderedDict[Key, _Cached] = OrderedDict()

    def get(self, servers: tuple[str, ...], packet: bytes, stream: bool, now: float) -> bytes:
        """The answer to ``packet``, aged; empty when there is none."""
        key = (servers, stream, packet[2:])
        kept = self._kept.get(key)
        if kept is None:
            return b""
        if now >= kept.expires:
            del self._kept[key]
            return b""
        self._kept.move_to_end(key)
        return message.aged(packet[:2] + kept.body, kept.offsets, int(now - kept.stored))

    def put(
        self, servers: tuple[str, ...], packet: bytes, stream: bool, response: bytes, now: float
    ) -> None:
        """Keep ``response`` as long as it allows; failures and cut-off ones are not kept."""
        flags = struct.unpack_from("!H", response, 2)[0]
        if flags & message.TC or flags & 0xF not in (message.NOERROR, message.NXDOMAIN):
            return
        try:
            offsets, shortest = message.ttls(response)
        except message.Malformed:
            return
        if shortest <= 0:
            return
        key = (servers, stream, packet[2:])
        self._kept[key] = _Cached(now, now + min(shortest, LONGEST_S), response[2:], offsets)
        self._kept.move_to_end(key)
        while len(self._kept) > self._entries:
            self._kept.popitem(last=False)

    def __len__(self) -> int:
        return len(self._kept)


class _Asking:
    """One question on its way through the servers."""

    def __init__(self, packet: bytes, servers: tuple[str, ...], stream: bool, reply: Reply) -> None:
        self.packet, self.servers, self.stream, self.reply = packet, servers, stream, reply
        self.attempt = -1
        self.deadline = 0.0
        self.sent = b""
        self.socket: socket.socket | None = None
        self.received = b""


class Forwarder:
    """Runs on the server's epoll: give it the descriptors that it ``owns``."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._cache = Cache()
        self._asking: dict[int, _Asking] = {}

    def ask(self, packet: bytes, servers: tuple[str, ...], stream: bool, reply: Reply) -> None:
        """``reply`` is called once, now or later, with a whole response to ``packet``."""
        if hit := self._cache.get(servers, packet, stream, time.monotonic()):
            reply(hit)
        elif len(self._asking) >= PENDING_LIMIT or not servers:
            reply(message.refusal(packet, message.SERVFAIL))
        else:
            self._next(_Asking(packet, servers, stream, reply))

    def owns(self, descriptor: int) -> bool:
        return descriptor in self._asking

    def ready(self, descriptor: int, events: int) -> None:
        asking = self._asking[descriptor]
        sock = asking.socket
        if sock is None:
            return
        try:
            if asking.stream and events & select.EPOLLOUT:
                sock.send(struct.pack("!H", len(asking.sent)) + asking.sent)
                self._epoll.modify(descriptor, select.EPOLLIN)
                return
            data = sock.recv(65535)
        except BlockingIOError:
            return
        except OSError:
            self._next(asking)
            return
        if asking.stream:
            if not data:
                self._next(asking)
                return
            asking.received += data
            if len(asking.received) < 2:
                return
            length = struct.unpack_from("!H", asking.received)[0]
            if len(asking.received) < 2 + length:
                return
            data = asking.received[2 : 2 + length]
        if not fits(asking.sent, data):
            if asking.stream:
                self._next(asking)
            # A datagram that does not fit may be forged: the true one may still come.
            return
        self._release(asking)
        response = asking.packet[:2] + data[2:]
        self._cache.put(asking.servers, asking.packet, asking.stream, response, time.monotonic())
        asking.reply(response)

    def tick(self) -> float:
        """Give up on servers that are late. Returns seconds until it wants to be called again,
        -1 for never."""
        if not self._asking:
            return -1.0
        now = time.monotonic()
        for asking in [a for a in self._asking.values() if a.deadline <= now]:
            self._next(asking)
        if not self._asking:
            return -1.0
        return max(0.0, min(a.deadline for a in self._asking.values()) - now)

    def _next(self, asking: _Asking) -> None:
        self._release(asking)
        while True:
            asking.attempt += 1
            if asking.attempt >= ROUNDS * len(asking.servers):
                asking.reply(message.refusal(asking.packet, message.SERVFAIL))
                return
            server = asking.servers[asking.attempt % len(asking.servers)]
            try:
                self._send(asking, server)
                return
            except OSError:
                self._release(asking)

    def _send(self, asking: _Asking, server: str) -> None:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        kind = socket.SOCK_STREAM if asking.stream else socket.SOCK_DGRAM
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        asking.socket = sock
        asking.received = b""
        asking.sent = os.urandom(2) + asking.packet[2:]
        asking.deadline = time.monotonic() + TIMEOUT_S
        self._asking[sock.fileno()] = asking
        with contextlib.suppress(BlockingIOError):
            sock.connect((server, 53))
        if not asking.stream:
            sock.send(asking.sent)
        # Registered only once it is connecting: an idle stream socket reports a hang-up.
        self._epoll.register(sock, select.EPOLLOUT if asking.stream else select.EPOLLIN)

    def _release(self, asking: _Asking) -> None:
        if asking.socket is not None:
            self._asking.pop(asking.socket.fileno(), None)
            # Closing takes it off the epoll as well.
            asking.socket.close()
            asking.socket = None


def fits(sent: bytes, data: bytes) -> bool:
    """Whether ``data`` answers what was sent: its id, and its question if it has one."""
    if len(data) < 12 or data[:2] != sent[:2] or not data[2] & 0x80:
        return False
    if data[4:6] == b"\0\0":
        return True
    try:
        end = message.read_name(sent, 12)[1] + 4
    except message.Malformed:
        return False
    return data[12:end].lower() == sent[12:end].lower()
