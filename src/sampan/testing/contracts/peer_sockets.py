"""What every way of exchanging messages between nodes keeps to. Part of ``contracts.peers``."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from sampan.aio import Tasks
from sampan.cluster.peer.contract import Allow, Identity, PeerRequest, Socket, SocketClosed
from sampan.errors import Conflict
from sampan.testing.contracts.peer_world import WAIT_S, Speaker, World, echo_socket, within


class SocketsContract:
    """Tests of sockets; ``PeersContract`` has the fixtures."""

    async def test_messages_arrive_whole_and_in_order(
        self, world: World, manager: Speaker, worker: Speaker
    ) -> None:
        manager.server.socket("/echo", echo_socket, allow=Allow.NODES)
        await world.start(manager)
        socket = await worker.client.socket(manager.address, "/echo")
        sent = [b"", b"a", b"b" * 70_000, *(str(n).encode() for n in range(100))]
        for message in sent:
            await socket.send(message)
        assert [await socket.receive() for _ in sent] == sent
        await socket.close()
        await socket.close()
        with pytest.raises(SocketClosed):
            await socket.receive()
        with pytest.raises(SocketClosed):
            await socket.send(b"late")

    async def test_what_was_sent_before_the_close_arrives(
        self, world: World, manager: Speaker, worker: Speaker
    ) -> None:
        async def speak(request: PeerRequest, socket: Socket) -> None:
            assert request.caller == Identity("w1", "worker", request.caller.cluster_id)
            await socket.send(b"first")
            await socket.send(b"last")

        manager.server.socket("/speak", speak, allow=Allow.NODES)
        await world.start(manager)
        socket = await worker.client.socket(manager.address, "/speak")
        assert await socket.receive() == b"first"
        assert await socket.receive() == b"last"
        for _ in range(2):
            with pytest.raises(SocketClosed):
                await socket.receive()

    async def test_the_handlers_error_is_the_reason(
        self, world: World, manager: Speaker, worker: Speaker
    ) -> None:
        async def refuse(request: PeerRequest, socket: Socket) -> None:
            await socket.receive()
            raise Conflict("another session of this node is newer")

        manager.server.socket("/refuse", refuse, allow=Allow.NODES)
        await world.start(manager)
        socket = await worker.client.socket(manager.address, "/refuse")
        await socket.send(b"hello")
        with pytest.raises(SocketClosed, match="newer"):
            await socket.receive()

    async def test_the_handler_notices_the_callers_close(
        self, world: World, manager: Speaker, worker: Speaker
    ) -> None:
        noticed: asyncio.Queue[bytes] = asyncio.Queue()

        async def listen(request: PeerRequest, socket: Socket) -> None:
            with suppress(SocketClosed):
                while True:
                    noticed.put_nowait(await socket.receive())
            noticed.put_nowait(b"END")

        manager.server.socket("/listen", listen, allow=Allow.NODES)
        await world.start(manager)
        socket = await worker.client.socket(manager.address, "/listen")
        await socket.send(b"x")
        await socket.close()
        assert await asyncio.wait_for(noticed.get(), WAIT_S) == b"x"
        assert await asyncio.wait_for(noticed.get(), WAIT_S) == b"END"

    async def test_a_slow_reader_holds_the_sender_back(
        self, world: World, manager: Speaker, worker: Speaker
    ) -> None:
        go = asyncio.Event()

        async def sleepy(request: PeerRequest, socket: Socket) -> None:
            await go.wait()
            while True:
                await socket.receive()

        manager.server.socket("/sleepy", sleepy, allow=Allow.NODES)
        await world.start(manager)
        socket = await worker.client.socket(manager.address, "/sleepy")
        sent = 0
        moved = asyncio.Event()

        async def flood() -> None:
            nonlocal sent
            for _ in range(2000):
                await socket.send(b"\0" * 65536)
                sent += 1
                moved.set()
                await asyncio.sleep(0)

        tasks = Tasks()
        job = tasks.spawn(flood(), name="flood")
        while not job.done():
            moved.clear()
            try:
                await asyncio.wait_for(moved.wait(), 0.5)
            except TimeoutError:
                break
        assert 0 < sent < 2000
        go.set()
        await within(job)
        assert sent == 2000
        await socket.close()

    async def test_disconnecting_a_node_closes_its_sockets(
        self, world: World, manager: Speaker, worker: Speaker
    ) -> None:
        other = world.node("w2", "worker")
        manager.server.socket("/echo", echo_socket, allow=Allow.NODES)
        await world.start(manager)
        gone = await worker.client.socket(manager.address, "/echo")
        stays = await other.client.socket(manager.address, "/echo")
        await manager.server.disconnect("w1")
        with pytest.raises(SocketClosed):
            await asyncio.wait_for(gone.receive(), WAIT_S)
        await stays.send(b"still")
        assert await asyncio.wait_for(stays.receive(), WAIT_S) == b"still"

    async def test_closing_the_client_closes_its_sockets(
        self, world: World, manager: Speaker, worker: Speaker
    ) -> None:
        ended = asyncio.Event()

        async def listen(request: PeerRequest, socket: Socket) -> None:
            try:
                await socket.receive()
            finally:
                ended.set()

        manager.server.socket("/listen", listen, allow=Allow.NODES)
        await world.start(manager)
        await worker.client.socket(manager.address, "/listen")
        await worker.client.close()
        await within(ended.wait())
