"""What every way of talking between nodes keeps to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sampan.cluster.peer.contract import Allow, Impostor, NotMember, PeerRequest, Reply, Unreachable
from sampan.errors import Conflict, Forbidden, Internal, InvalidArgument, NotFound
from sampan.testing.contracts.peer_sockets import SocketsContract
from sampan.testing.contracts.peer_world import (
    Ask,
    Other,
    Speaker,
    Told,
    World,
    echo,
    echo_socket,
    within,
)

__all__ = ["Ask", "Other", "PeersContract", "Speaker", "Told", "World", "echo", "echo_socket"]


class PeersContract(SocketsContract):
    """Subclass it as ``TestX`` and override the fixture ``world``."""

    @pytest.fixture
    def world(self) -> World | AsyncIterator[World]:
        raise NotImplementedError

    @pytest.fixture
    def manager(self, world: World) -> Speaker:
        return world.node("m1", "manager")

    @pytest.fixture
    def worker(self, world: World) -> Speaker:
        return world.node("w1", "worker")

    # -- calls

    async def test_a_call_is_answered_and_says_who_asks(
        self, world: World, manager: Speaker, worker: Speaker
    ) -> None:
        manager.server.call("/echo", Ask, echo, allow=Allow.NODES)
        await world.start(manager)
        told = await worker.client.call(manager.address, "/echo", Ask("hi"), Told)
        assert told == Told("hi", "w1")

    @pytest.mark.parametrize("kind", [InvalidArgument, NotFound, Conflict, Forbidden, Internal])
    async def test_errors_come_back_as_their_category(
        self, world: World, manager: Speaker, worker: Speaker, kind: type[Exception]
    ) -> None:
        class Special(kind):  # type: ignore[misc,valid-type]
            pass

        async def fail(request: PeerRequest, body: Ask) -> Told:
            raise Special("it is *so*: “wörd”")

        manager.server.call("/fail", Ask, fail, allow=Allow.NODES)
        await world.start(manager)
        with pytest.raises(kind) as caught:
            await worker.client.call(manager.address, "/fail", Ask("x"), Told)
        assert str(caught.value) == "it is *so*: “wörd”"
        assert type(caught.value) is kind

    async def test_a_bug_does_not_tell_its_inside(
        self, world: World, manager: Speaker, worker: Speaker
    ) -> None:
        async def fail(request: PeerRequest, body: Ask) -> Told:
            raise KeyError("secret")

        manager.server.call("/fail", Ask, fail, allow=Allow.NODES)
        await world.start(manager)
        with pytest.raises(Internal) as caught:
            await worker.client.call(manager.address, "/fail", Ask("x"), Told)
        assert "secret" not in str(caught.value)

    async def test_a_body_of_another_shape_is_refused(
        self, world: World, manager: Speaker, worker: Speaker
    ) -> None:
        manager.server.call("/echo", Ask, echo, allow=Allow.NODES)
        await world.start(manager)
        with pytest.raises(InvalidArgument):
            await worker.client.call(manager.address, "/echo", Other(1), Told)

    async def test_an_answer_of_another_shape_is_refused(
        self, world: World, manager: Speaker, worker: Speaker
    ) -> None:
        async def other(request: PeerRequest, body: Ask) -> Other:
            return Other(1)

        manager.server.call("/echo", Ask, other, allow=Allow.NODES)
        await world.start(manager)
        with pytest.raises(Internal):
            await worker.client.call(manager.address, "/echo", Ask("x"), Told)

    async def test_what_nobody_answers_is_not_found(
        self, world: World, manager: Speaker, worker: Speaker
    ) -> None:
        await world.start(manager)
        with pytest.raises(NotFound):
            await worker.client.call(manager.address, "/nothing", Ask("x"), Told)
        with pytest.raises(NotFound):
            await worker.client.socket(manager.address, "/nothing")

    async def test_many_calls_at_once(
        self, world: World, manager: Speaker, worker: Speaker
    ) -> None:
        manager.server.call("/echo", Ask, echo, allow=Allow.NODES)
        await world.start(manager)
        words = [str(n) for n in range(50)]
        told = await asyncio.gather(
            *(worker.client.call(manager.address, "/echo", Ask(w), Told) for w in words)
        )
        assert [t.word for t in told] == words

    async def test_a_megabyte_goes_through(
        self, world: World, manager: Speaker, worker: Speaker
    ) -> None:
        async def size(request: PeerRequest, body: Ask) -> Told:
            return Told(str(len(body.data)), "")

        manager.server.call("/size", Ask, size, allow=Allow.NODES)
        await world.start(manager)
        told = await worker.client.call(manager.address, "/size", Ask("x", b"\0" * 1_000_000), Told)
        assert told.word == "1000000"

    # -- who may

    async def test_a_worker_may_not_call_what_is_for_managers(
        self, world: World, manager: Speaker, worker: Speaker
    ) -> None:
        other = world.node("m2", "manager")
        manager.server.call("/echo", Ask, echo, allow=Allow.MANAGERS)
        manager.server.socket("/socket", echo_socket, allow=Allow.MANAGERS)
        await world.start(manager)
        assert (await other.client.call(manager.address, "/echo", Ask("x"), Told)).by == "m2"
        with pytest.raises(Forbidden):
            await worker.client.call(manager.address, "/echo", Ask("x"), Told)
        with pytest.raises(Forbidden):
            await worker.client.socket(manager.address, "/socket")

    async def test_a_stranger_may_only_call_what_is_for_anyone(
        self, world: World, manager: Speaker
    ) -> None:
        manager.server.call("/open", Ask, echo, allow=Allow.ANYONE)
        manager.server.call("/echo", Ask, echo, allow=Allow.NODES)
        await world.start(manager)
        stranger = world.stranger()
        assert (await stranger.call(manager.address, "/open", Ask("x"), Told)).by == "nobody"
        with pytest.raises(Forbidden):
            await stranger.call(manager.address, "/echo", Ask("x"), Told)
        await stranger.close()

    async def test_a_removed_node_counts_as_nobody(
        self, world: World, manager: Speaker, worker: Speaker
    ) -> None:
        manager.server.call("/echo", Ask, echo, allow=Allow.NODES)
        manager.server.call("/open", Ask, echo, allow=Allow.ANYONE)
        manager.server.socket("/socket", echo_socket, allow=Allow.NODES)
        await world.start(manager)
        await worker.client.call(manager.address, "/echo", Ask("x"), Told)
        del world.roles["w1"]
        with pytest.raises(NotMember):
            await worker.client.call(manager.address, "/echo", Ask("x"), Told)
        with pytest.raises(NotMember):
            await worker.client.socket(manager.address, "/socket")
        told = await worker.client.call(manager.address, "/open", Ask("x"), Told)
        assert told.by == "nobody"

    async def test_a_demoted_manager_counts_as_a_worker(
        self, world: World, manager: Speaker
    ) -> None:
        async def role(request: PeerRequest, body: Ask) -> Told:
            return Told(request.caller.role, request.caller.node_id)

        other = world.node("m2", "manager")
        manager.server.call("/role", Ask, role, allow=Allow.NODES)
        manager.server.call("/echo", Ask, echo, allow=Allow.MANAGERS)
        await world.start(manager)
        world.roles["m2"] = "worker"
        told = await other.client.call(manager.address, "/role", Ask("x"), Told)
        assert told.word == "worker"
        with pytest.raises(Forbidden):
            await other.client.call(manager.address, "/echo", Ask("x"), Told)

    async def test_who_answers_must_be_whom_we_ask(
        self, world: World, manager: Speaker, worker: Speaker
    ) -> None:
        asked = []

        async def note(request: PeerRequest, body: Ask) -> Told:
            asked.append(body.word)
            return Told(body.word, "")

        for node in (manager, worker):
            node.server.call("/note", Ask, note, allow=Allow.ANYONE)
            await world.start(node)
        with pytest.raises(Impostor, match="worker"):
            await manager.client.call(worker.address, "/note", Ask("token"), Told)
        with pytest.raises(Impostor, match="w1"):
            await manager.client.call(
                worker.address, "/note", Ask("token"), Told, role=None, node_id="other"
            )
        with pytest.raises(Impostor):
            await manager.client.socket(worker.address, "/note")
        assert not asked, "nothing is sent before the other side has proved itself"
        await manager.client.call(
            worker.address, "/note", Ask("fine"), Told, role="worker", node_id="w1"
        )
        await manager.client.call(worker.address, "/note", Ask("fine"), Told, role=None)
        assert asked == ["fine", "fine"]

    async def test_nobody_there(self, world: World, manager: Speaker, worker: Speaker) -> None:
        silent = world.node("m3", "manager")
        await world.start(manager)
        with pytest.raises(Unreachable):
            await manager.client.call(silent.address, "/x", Ask("x"), Told)
        with pytest.raises(Unreachable):
            await manager.client.socket(silent.address, "/x")

    # -- streams

    async def test_streams_go_both_ways(
        self, world: World, manager: Speaker, worker: Speaker
    ) -> None:
        async def double(request: PeerRequest) -> Reply:
            assert request.match == {"name": "a/b c", "digest": "sha256:1"}
            assert request.query == {"n": "2"}
            assert request.headers["x-one"] == "1"
            body = await request.read()

            async def pieces() -> AsyncIterator[bytes]:
                for _ in range(2):
                    yield body

            return Reply(status=202, headers={"X-Two": "2"}, body=pieces())

        async def up() -> AsyncIterator[bytes]:
            yield b"one"
            yield b"two"

        manager.server.route("PUT", "/v2/{name:path}/blobs/{digest}", double, allow=Allow.NODES)
        await world.start(manager)
        async with worker.client.stream(
            manager.address,
            "PUT",
            "/v2/a/b%20c/blobs/sha256:1",
            query={"n": "2"},
            headers={"X-One": "1"},
            body=up(),
        ) as incoming:
            assert incoming.status == 202
            assert incoming.headers["x-two"] == "2"
            assert await incoming.read() == b"onetwoonetwo"

    async def test_a_reply_that_the_caller_does_not_want_is_ended(
        self, world: World, manager: Speaker, worker: Speaker
    ) -> None:
        ended = asyncio.Event()

        async def forever() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"\0" * 65536
                    await asyncio.sleep(0)
            finally:
                ended.set()

        async def endless(request: PeerRequest) -> Reply:
            return Reply(body=forever())

        manager.server.route("GET", "/endless", endless, allow=Allow.NODES)
        await world.start(manager)
        async with worker.client.stream(manager.address, "GET", "/endless") as incoming:
            async for _ in incoming.chunks():
                break
        await within(ended.wait())

    async def test_a_stream_that_fails_in_the_middle_is_not_whole(
        self, world: World, manager: Speaker, worker: Speaker
    ) -> None:
        async def half() -> AsyncIterator[bytes]:
            yield b"half"
            raise OSError("disk")

        async def handler(request: PeerRequest) -> Reply:
            return Reply(body=half())

        manager.server.route("GET", "/half", handler, allow=Allow.NODES)
        await world.start(manager)
        with pytest.raises(Unreachable):
            async with worker.client.stream(manager.address, "GET", "/half") as incoming:
                await incoming.read()

    async def test_statuses_of_a_handler_pass_as_they_are(
        self, world: World, manager: Speaker, worker: Speaker
    ) -> None:
        async def no(request: PeerRequest) -> Reply:
            return Reply(status=404, body=b"not here")

        manager.server.route("GET", "/v2/x", no, allow=Allow.NODES)
        await world.start(manager)
        async with worker.client.stream(manager.address, "GET", "/v2/x") as incoming:
            assert (incoming.status, await incoming.read()) == (404, b"not here")

    async def test_a_head_tells_the_length_of_what_it_does_not_send(
        self, world: World, manager: Speaker, worker: Speaker
    ) -> None:
        async def head(request: PeerRequest) -> Reply:
            return Reply(headers={"Content-Length": "123", "Docker-Content-Digest": "sha256:1"})

        manager.server.route("HEAD", "/v2/{name:path}/blobs/{digest}", head, allow=Allow.NODES)
        await world.start(manager)
        for _ in range(2):
            async with worker.client.stream(
                manager.address, "HEAD", "/v2/a/blobs/sha256:1"
            ) as incoming:
                assert incoming.headers["content-length"] == "123"
                assert incoming.headers["docker-content-digest"] == "sha256:1"
                assert await incoming.read() == b""
