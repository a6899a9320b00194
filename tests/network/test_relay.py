"""The relay's flows of datagrams, between sockets of this host."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from sampan.aio import Tasks
from sampan.network import relay
from sampan.network.relay import Relay
from sampan.testing.clock import FakeClock, settle


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    """The published port, the container's, and a client."""
    made = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    for one in made:
        one.bind(("127.0.0.1", 0))
        one.setblocking(False)
    yield made
    for one in made:
        one.close()


async def test_a_flow_ends_when_the_container_has_been_silent_for_long(
    sockets: list[socket.socket],
) -> None:
    held, container, client = sockets
    loop, clock, tasks = asyncio.get_running_loop(), FakeClock(), Tasks()
    relaying = Relay(tasks, clock)
    relaying.serve(held, *container.getsockname(), "udp")

    async def ask() -> object:
        """Who the container sees."""
        await loop.sock_sendto(client, b"ping", held.getsockname())
        _, seen = await loop.sock_recvfrom(container, 100)
        return seen

    first = await ask()
    await loop.sock_sendto(container, b"pong", first)
    assert (await loop.sock_recvfrom(client, 100))[0] == b"pong"
    await clock.advance(relay._UDP_IDLE_S / 2)
    assert await ask() == first
    await clock.advance(relay._UDP_IDLE_S)
    assert await ask() != first
    relaying.close_all()
    await settle()
    await tasks.close()
