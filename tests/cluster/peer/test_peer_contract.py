"""Nodes over TLS on the loopback, and nodes in memory, both keep to the contract."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sampan.aio import SystemClock
from sampan.cluster.peer.client import PeerClient
from sampan.cluster.peer.contract import Client, Identity, NodeRole
from sampan.cluster.peer.server import PeerServer
from sampan.cluster.peer.tls import Tls, trusting
from sampan.testing.certificates import Issuer
from sampan.testing.contracts.peers import PeersContract, Speaker
from sampan.testing.peers import PeerHub, PeerNode


@dataclass
class TlsNode:
    server: PeerServer
    client: PeerClient
    started: bool = False

    @property
    def address(self) -> str:
        # port 9 (discard): nobody listens there
        return f"127.0.0.1:{self.server.port if self.started else 9}"


class TlsWorld:
    def __init__(self, directory: Path) -> None:
        self.roles: dict[str, NodeRole] = {}
        self.issuer = Issuer(directory)
        self._nodes: list[TlsNode] = []
        self._clients: list[PeerClient] = []

    def node(self, node_id: str, role: NodeRole) -> TlsNode:
        self.roles[node_id] = role
        tls = Tls(self.issuer.credentials(node_id, role))
        made = TlsNode(PeerServer(tls, self.roles.get), PeerClient(tls))
        self._nodes.append(made)
        return made

    async def start(self, node: Speaker) -> None:
        assert isinstance(node, TlsNode)
        await node.server.start("127.0.0.1", 0)
        node.started = True

    def stranger(self) -> Client:
        made = PeerClient(anonymous=trusting(self.issuer.roots, self.issuer.cluster_id))
        self._clients.append(made)
        return made

    async def close(self) -> None:
        for client in self._clients + [node.client for node in self._nodes]:
            await client.close()
        for node in self._nodes:
            await node.server.stop()


class TestOverTls(PeersContract):
    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[TlsWorld]:
        world = TlsWorld(tmp_path)
        yield world
        await world.close()


class MemoryWorld:
    def __init__(self, hub: PeerHub) -> None:
        self.roles: dict[str, NodeRole] = {}
        self._hub = hub
        self._numbers = itertools.count(1)

    def node(self, node_id: str, role: NodeRole) -> PeerNode:
        self.roles[node_id] = role
        address = f"10.0.0.{next(self._numbers)}:2377"
        return self._hub.node(address, Identity(node_id, role, "c1"), self.roles.get)

    async def start(self, node: Speaker) -> None:
        assert isinstance(node, PeerNode)
        node.start()

    def stranger(self) -> Client:
        address = f"10.0.0.{next(self._numbers)}:2377"
        return self._hub.node(address, None, self.roles.get).client


class TestInMemory(PeersContract):
    @pytest.fixture
    async def world(self) -> AsyncIterator[MemoryWorld]:
        async with PeerHub(SystemClock()) as hub:
            yield MemoryWorld(hub)
