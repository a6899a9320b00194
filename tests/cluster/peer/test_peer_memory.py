"""Links in memory: cut, slow, broken; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from sampan.aio import Tasks
from sampan.cluster.peer.contract import (
    Allow,
    Identity,
    NodeRole,
    PeerRequest,
    Socket,
    SocketClosed,
    Unreachable,
)
from sampan.testing.clock import FakeClock, settle
from sampan.testing.contracts.peers import Ask, Told, echo, echo_socket
from sampan.testing.peers import PeerHub, PeerNode

ROLES: dict[str, NodeRole] = {"m1": "manager", "m2": "manager", "w1": "worker"}


class Net:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.hub = PeerHub(self.clock)
        self.tasks = Tasks()

    def node(self, node_id: str) -> PeerNode:
        made = self.hub.node(f"{node_id}:2377", Identity(node_id, ROLES[node_id], "c"), ROLES.get)
        made.server.call("/echo", Ask, echo, allow=Allow.NODES)
        made.server.socket("/socket", echo_socket, allow=Allow.NODES)
        made.start()
        return made


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    net = Net()
    yield net
    await net.hub.close()
    await net.tasks.close()


async def test_a_call_over_a_cut_link_runs_into_its_deadline(net: Net) -> None:
    m1, w1 = net.node("m1"), net.node("w1")
    net.hub.cut(m1.address)
    call = net.tasks.spawn(
        w1.client.call(m1.address, "/echo", Ask("x"), Told, timeout_s=3.0), name="call"
    )
    await settle()
    await net.clock.advance(2.9)
    assert not call.done()
    await net.clock.advance(0.2)
    with pytest.raises(Unreachable, match="no answer within 3 s"):
        call.result()


async def test_what_was_sent_over_a_cut_link_arrives_when_it_heals(net: Net) -> None:
    m1, w1 = net.node("m1"), net.node("w1")
    socket = await w1.client.socket(m1.address, "/socket")
    net.hub.cut(w1.address, m1.address)
    for word in (b"1", b"2", b"3"):
        await socket.send(word)
    answer = net.tasks.spawn(socket.receive(), name="answer")
    await net.clock.advance(100)
    assert not answer.done()
    net.hub.heal(w1.address, m1.address)
    assert await answer == b"1"
    assert [await socket.receive(), await socket.receive()] == [b"2", b"3"]


async def test_delay_is_of_the_way_and_not_of_each_message(net: Net) -> None:
    m1, w1 = net.node("m1"), net.node("w1")
    socket = await w1.client.socket(m1.address, "/socket")
    net.hub.delay(w1.address, m1.address, 0.5)
    for n in range(10):
        await socket.send(str(n).encode())
    got: list[bytes] = []

    async def read() -> None:
        with suppress(SocketClosed):
            while True:
                got.append(await socket.receive())

    net.tasks.spawn(read(), name="read")
    await settle()
    await net.clock.advance(0.99)
    assert got == []
    await net.clock.advance(0.02)
    assert got == [str(n).encode() for n in range(10)]


async def test_a_crash_resets_what_is_open_and_a_successor_takes_the_address(net: Net) -> None:
    m1, w1 = net.node("m1"), net.node("w1")
    ended: list[str] = []
    begun = asyncio.Event()

    async def long(request: PeerRequest, socket: Socket) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("killed")
            raise

    m1.server.socket("/long", long, allow=Allow.NODES)
    socket = await w1.client.socket(m1.address, "/long")
    await begun.wait()
    await net.hub.crash(m1.address)
    assert ended == ["killed"]
    with pytest.raises(SocketClosed, match="reset"):
        await socket.receive()
    with pytest.raises(Unreachable, match="refused"):
        await w1.client.call(m1.address, "/echo", Ask("x"), Told)
    net.node("m1")
    assert (await w1.client.call(m1.address, "/echo", Ask("x"), Told)).by == "w1"


async def test_a_crash_behind_a_cut_is_not_noticed_until_it_heals(net: Net) -> None:
    m1, w1 = net.node("m1"), net.node("w1")
    socket = await w1.client.socket(m1.address, "/socket")
    net.hub.cut(m1.address)
    await net.hub.crash(m1.address)
    waiting = net.tasks.spawn(socket.receive(), name="waiting")
    await net.clock.advance(60)
    assert not waiting.done()
    net.hub.heal(m1.address)
    await settle()
    assert isinstance(waiting.exception(), SocketClosed)


async def test_others_go_on_beside_a_cut(net: Net) -> None:
    m1, m2, w1 = net.node("m1"), net.node("m2"), net.node("w1")
    net.hub.cut(m1.address, w1.address)
    assert (await w1.client.call(m2.address, "/echo", Ask("x"), Told)).by == "w1"
    assert (await m2.client.call(m1.address, "/echo", Ask("x"), Told)).by == "m2"
