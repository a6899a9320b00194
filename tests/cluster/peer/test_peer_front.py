"""The nodes' own protocol as a front: the contract that every front on the HTTP floor is held to.

Without TLS, on routes that anybody may ask: who may connect and who may ask is tested elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from sampan.cluster.peer.contract import Allow, Identity, PeerRequest, Reply
from sampan.cluster.peer.server import PeerServer
from sampan.cluster.peer.tls import Credentials, Tls
from sampan.cluster.peer.wire import ERROR_TYPE
from sampan.testing.contracts.http_front import Answer, FrontContract
from sampan.testing.daemon import short_directory
from sampan.testing.fronts import listening


class Note(msgspec.Struct):
    text: str = ""


async def hello(request: PeerRequest) -> Reply:
    return Reply(body=b"hello")


async def note(request: PeerRequest, asked: Note) -> Note:
    return asked


class TestPeers(FrontContract):
    json_body = b'{"text": "t"}'
    json_status = 200
    wrong_method_status = 404
    headers = ()

    @pytest.fixture
    async def path(self) -> AsyncIterator[Path]:
        with short_directory() as base:
            me = Identity("n1", "manager", "c1")
            server = PeerServer(Tls(Credentials(me, Path(base) / "none", "")), lambda node: None)
            server.route("GET", "/hello", hello, allow=Allow.ANYONE)
            server.route("HEAD", "/hello", hello, allow=Allow.ANYONE)
            server.call("/notes", Note, note, allow=Allow.ANYONE)
            server.route("GET", "/members", hello, allow=Allow.NODES)
            async with listening(server.front(), Path(base) / "peers.sock"):
                yield Path(base) / "peers.sock"

    def tells(self, answer: Answer) -> str:
        assert answer.headers["content-type"].startswith(ERROR_TYPE)
        body = json.loads(answer.body)
        assert set(body) == {"code", "message"}
        return str(body["message"])

    async def test_what_is_no_json(self, path: Path) -> None:
        for body in (b"{", b'{"text": 3}', b"[]", b""):
            more = b"Content-Length: %d\r\n" % len(body)
            answer = await self.ask(path, self.get("/notes", "POST", more), body)
            assert self.refused(answer, 400).startswith("/notes: ")

    async def test_no_body_and_another_content_type(self, path: Path) -> None:
        """Nodes say nothing of the kind, and are not asked."""
        more = b"Content-Type: text/plain\r\nContent-Length: 2\r\n"
        answer = await self.ask(path, self.get("/notes", "POST", more), b"{}")
        assert (answer.status, answer.body) == (200, b'{"text":""}')

    async def test_a_json_body_that_is_too_large(self, path: Path) -> None:
        more = b"Content-Length: 100000\r\n"
        answer = await self.ask(path, self.get("/notes", "POST", more), b"a" * 100_000)
        assert "65536 bytes" in self.refused(answer, 400)

    async def test_nobody_asks_what_is_for_members(self, path: Path) -> None:
        answer = await self.ask(path, self.get("/members"))
        assert "needs the certificate of a node" in self.refused(answer, 403)
