"""The userland relay: what comes in on a held socket goes on to the container.

Only for what DNAT cannot do: IPv6 clients of an IPv4-only container, ::1, and hosts where the
firewall is not ours to touch. The container then sees the host as its client, as with Docker's
proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from sampan.aio import Clock, Tasks

log = logging.getLogger(__name__)

_CHUNK = 1 << 16
_UDP_IDLE_S = 90.0
_UDP_FLOWS = 1024
_REFUSED_S = 0.05
"""Pause after a connection that could not be taken."""


class Relay:
    """Serves held sockets until they are closed. Runs on the event loop."""

    def __init__(self, tasks: Tasks, clock: Clock) -> None:
        self._tasks, self._clock = tasks, clock
        self._running: dict[int, asyncio.Task[None]] = {}

    def serve(self, sock: socket.socket, address: str, port: int, protocol: str) -> None:
        # The relay has a duplicate of its own: the holder may close its one at any time, and a
        # number used again by another socket must not be read by us.
        mine = sock.dup()
        mine.setblocking(False)
        work = self._accept if protocol == "tcp" else self._datagrams
        name = f"network/relay {address}:{port}/{protocol}"
        self._running[id(sock)] = self._tasks.spawn(work(mine, address, port), name=name)

    def close(self, sock: socket.socket | None) -> None:
        task = self._running.pop(id(sock), None)
        if task is not None:
            task.cancel()

    def close_all(self) -> None:
        for task in self._running.values():
            task.cancel()
        self._running.clear()

    async def _accept(self, listener: socket.socket, address: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        with listener:
            async with asyncio.TaskGroup() as connections:
                while True:
                    try:
                        client, _ = await loop.sock_accept(listener)
                    except OSError as error:
                        # One caller that hung up, or no descriptor left for the next one: neither
                        # may cost the port.
                        log.warning("relay to %s:%d: %s", address, port, error)
                        await self._clock.sleep(_REFUSED_S)
                        continue
                    connections.create_task(_stream(client, address, port))

    async def _datagrams(self, sock: socket.socket, address: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        flows: dict[object, _Flow] = {}
        with sock:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._end_idle(flows))
                while True:
                    data, peer = await loop.sock_recvfrom(sock, _CHUNK)
                    if peer not in flows:
                        if len(flows) >= _UDP_FLOWS:
                            continue
                        try:
                            out = _dial(address, socket.SOCK_DGRAM)
                        except OSError as error:
                            log.warning("relay to %s:%d: %s", address, port, error)
                            continue
                        with contextlib.suppress(OSError):
                            out.connect((address, port))

                        async def back(out: socket.socket = out, peer: object = peer) -> None:
                            try:
                                with out:
                                    while True:
                                        answer = await loop.sock_recv(out, _CHUNK)
                                        flows[peer].answered = self._clock.monotonic()
                                        await loop.sock_sendto(sock, answer, peer)  # type: ignore[arg-type]
                            except OSError:
                                return
                            finally:
                                flows.pop(peer, None)

                        now = self._clock.monotonic()
                        flows[peer] = _Flow(out, group.create_task(back()), now)
                    with contextlib.suppress(OSError):
                        flows[peer].out.send(data)

    async def _end_idle(self, flows: Mapping[object, _Flow]) -> None:
        """End flows that had no answer for long: one look at all of them costs less than a timer
        for each datagram."""
        while True:
            await self._clock.sleep(_UDP_IDLE_S / 4)
            late = self._clock.monotonic() - _UDP_IDLE_S
            for flow in tuple(flows.values()):
                if flow.answered <= late:
                    flow.back.cancel()


@dataclass(slots=True)
class _Flow:
    """A client's datagrams."""

    out: socket.socket
    back: asyncio.Task[None]
    answered: float
    """When the container last said something; at first: when it began."""


def _dial(address: str, kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    sock.setblocking(False)
    return sock


async def _stream(client: socket.socket, address: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    client.setblocking(False)
    with client:
        try:
            with _dial(address, socket.SOCK_STREAM) as server:
                await loop.sock_connect(server, (address, port))
                async with asyncio.TaskGroup() as both:
                    both.create_task(_pump(client, server))
                    both.create_task(_pump(server, client))
        except* OSError as broken:
            log.debug("relay to %s:%d: %s", address, port, broken)


async def _pump(source: socket.socket, sink: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, _CHUNK):
        await loop.sock_sendall(sink, data)
    sink.shutdown(socket.SHUT_WR)
