"""How much a request may bring along: less of somebody unknown."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from sampan.cluster.peer.contract import STRANGERS_BODY_LIMIT, Allow, Identity, PeerRequest, Reply
from sampan.cluster.peer.routes import Routes
from sampan.errors import InvalidArgument


class Said(msgspec.Struct):
    text: str


async def chunks(size: int) -> AsyncIterator[bytes]:
    yield b'{"text":"'
    for _ in range(size // 1024):
        yield b"x" * 1024
    yield b'"}'


async def ask(allow: Allow, size: int) -> Reply:
    routes = Routes(lambda node_id: "worker")
    identity = Identity("n1", "worker", "c")

    async def echo(request: PeerRequest, body: Said) -> Said:
        return Said(str(len(body.text)))

    routes.call("/echo", Said, echo, allow=allow)
    route, match = routes.find("POST", "/echo")
    assert route.handler is not None
    return await route.handler(
        PeerRequest(
            method="POST",
            path="/echo",
            match=match,
            query={},
            headers={},
            identity=identity,
            remote="10.0.0.1",
            body=chunks(size),
        )
    )


async def test_a_node_may_say_much() -> None:
    reply = await ask(Allow.NODES, 2 * STRANGERS_BODY_LIMIT)
    assert reply.body == msgspec.json.encode(Said(str(2 * STRANGERS_BODY_LIMIT)))


async def test_anybody_may_say_little() -> None:
    assert (await ask(Allow.ANYONE, 4096)).status == 200
    with pytest.raises(InvalidArgument, match="bytes"):
        await ask(Allow.ANYONE, 2 * STRANGERS_BODY_LIMIT)
