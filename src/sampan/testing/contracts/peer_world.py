"""The nodes that the contract of talking between nodes is tried with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Protocol

import msgspec

from sampan.cluster.peer.contract import Client, NodeRole, PeerRequest, Server, Socket

WAIT_S = 20.0


class Ask(msgspec.Struct):
    word: str
    data: bytes = b""


class Told(msgspec.Struct):
    word: str
    by: str


class Other(msgspec.Struct):
    word: int


class Speaker(Protocol):
    """A node of the world under test."""

    @property
    def address(self) -> str: ...
    @property
    def server(self) -> Server: ...
    @property
    def client(self) -> Client: ...


class World(Protocol):
    """A cluster whose members are what ``roles`` says."""

    roles: dict[str, NodeRole]

    def node(self, node_id: str, role: NodeRole) -> Speaker:
        """A node with a certificate; a member as well. Not started."""
        ...

    async def start(self, node: Speaker) -> None: ...
    def stranger(self) -> Client:
        """A client without a certificate that knows the roots."""
        ...


async def echo(request: PeerRequest, body: Ask) -> Told:
    return Told(body.word, request.identity.node_id if request.identity else "nobody")


async def echo_socket(request: PeerRequest, socket: Socket) -> None:
    while True:
        await socket.send(await socket.receive())


async def within(work: Awaitable[object]) -> None:
    await asyncio.wait_for(work, WAIT_S)
