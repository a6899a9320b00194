"""What every front on ``sampan.http`` does, whatever it serves. Driven with raw sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

HOST = b"Host: x\r\n"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


async def read_answer(reader: asyncio.StreamReader, *, head_only: bool = False) -> Answer:
    """The next answer of a connection."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {
        name.lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines[1:])
    }
    body = b""
    if not head_only and "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    return Answer(int(lines[0].split()[1]), headers, body)


class FrontContract:
    """Subclass it and provide the fixture ``path``: the front's unix socket."""

    known = "/hello"
    """Answers GET and HEAD, always."""
    known_body = b"hello"
    takes_json = "/notes"
    """Takes a POST of JSON."""
    json_body = b'{"Text": "t"}'
    json_status = 201
    missing = "/nope"
    wrong_method_status = 405
    headers: tuple[str, ...] = ("x-notes",)
    """That every answer has, in lower case."""

    def tells(self, answer: Answer) -> str:
        """The sentence of an error, which has the front's own form."""
        raise NotImplementedError

    @asynccontextmanager
    async def connected(
        self, path: Path
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 22)
            try:
                yield reader, writer
            finally:
                writer.close()

    async def ask(self, path: Path, *chunks: bytes, head_only: bool = False) -> Answer:
        """The answer to raw bytes on a connection of their own."""
        async with self.connected(path) as (reader, writer):
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
            return await read_answer(reader, head_only=head_only)

    def get(self, target: str, method: str = "GET", more: bytes = b"") -> bytes:
        return f"{method} {target} HTTP/1.1\r\n".encode() + HOST + more + b"\r\n"

    def refused(self, answer: Answer, status: int) -> str:
        assert answer.status == status, answer
        for name in self.headers:
            assert name in answer.headers, f"{name} is not in {answer}"
        sentence = self.tells(answer)
        assert sentence
        return sentence

    async def test_every_answer_has_the_fronts_headers(self, path: Path) -> None:
        answer = await self.ask(path, self.get(self.known))
        assert (answer.status, answer.body) == (200, self.known_body)
        for name in self.headers:
            assert name in answer.headers

    async def test_head_is_get_without_a_body(self, path: Path) -> None:
        whole = await self.ask(path, self.get(self.known))
        async with self.connected(path) as (reader, writer):
            writer.write(self.get(self.known, "HEAD") + self.get(self.known))
            head = await read_answer(reader, head_only=True)
            assert head.status == 200
            for name in self.headers:
                assert head.headers[name] == whole.headers[name]
            # nothing of a body is between the two
            assert (await read_answer(reader)).body == self.known_body

    async def test_no_such_path(self, path: Path) -> None:
        self.refused(await self.ask(path, self.get(self.missing)), 404)
        self.refused(await self.ask(path, self.get("/")), 404)

    async def test_no_such_method(self, path: Path) -> None:
        answer = await self.ask(path, self.get(self.known, "DELETE"))
        self.refused(answer, self.wrong_method_status)
        if self.wrong_method_status == 405:
            assert answer.headers["allow"] == "GET, HEAD"

    @pytest.mark.parametrize(
        "sent",
        [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET / HTTP/9.9.9\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        ],
    )
    async def test_what_is_no_http(self, path: Path, sent: bytes) -> None:
        async with self.connected(path) as (reader, writer):
            writer.write(sent)
            assert "malformed HTTP request" in self.refused(await read_answer(reader), 400)
            assert await reader.read() == b"", (
                "the connection goes on after something that is not HTTP"
            )

    async def test_a_huge_header_is_refused(self, path: Path) -> None:
        more = b"X-Long: " + b"a" * 1_000_000 + b"\r\n"
        answer = await self.ask(path, self.get(self.known, more=more))
        assert "malformed HTTP request" in self.refused(answer, 400)

    async def test_a_huge_path_is_refused(self, path: Path) -> None:
        answer = await self.ask(path, self.get("/" + "a" * 1_000_000))
        assert "malformed HTTP request" in self.refused(answer, 400)

    async def test_too_many_headers_are_refused(self, path: Path) -> None:
        more = b"".join(b"X-%d: a\r\n" % n for n in range(5000))
        answer = await self.ask(path, self.get(self.known, more=more))
        assert "malformed HTTP request" in self.refused(answer, 400)

    async def test_a_chunked_body(self, path: Path) -> None:
        more = b"Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n"
        half = len(self.json_body) // 2
        parts = [
            b"%x\r\n%s\r\n" % (len(one), one)
            for one in (self.json_body[:half], self.json_body[half:])
        ]
        request = self.get(self.takes_json, "POST", more)
        answer = await self.ask(path, request, *parts, b"0\r\n\r\n")
        assert answer.status == self.json_status, answer

    async def test_a_chunked_body_that_is_broken(self, path: Path) -> None:
        more = b"Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n"
        request = self.get(self.takes_json, "POST", more)
        answer = await self.ask(path, request, b"5\r\n{}{}{\r\nno number\r\n")
        assert "malformed HTTP request" in self.refused(answer, 400)

    async def test_what_is_no_json(self, path: Path) -> None:
        for body in (b"{", b'{"Text": 3, "Name": 3}', b"[]", b"[" * 100_000):
            more = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
            answer = await self.ask(path, self.get(self.takes_json, "POST", more), body)
            assert "invalid JSON" in self.refused(answer, 400)

    async def test_no_body_and_another_content_type(self, path: Path) -> None:
        answer = await self.ask(path, self.get(self.takes_json, "POST"))
        assert "EOF" in self.refused(answer, 400)
        more = b"Content-Type: text/plain\r\nContent-Length: 2\r\n"
        answer = await self.ask(path, self.get(self.takes_json, "POST", more), b"{}")
        assert "text/plain" in self.refused(answer, 400)

    async def test_a_json_body_that_is_too_large(self, path: Path) -> None:
        more = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % (1 << 30)
        answer = await self.ask(path, self.get(self.takes_json, "POST", more), b"{")
        assert "4 MiB" in self.refused(answer, 400)

    async def test_a_client_that_waits_to_be_told_to_go_on(self, path: Path) -> None:
        more = b"Expect: 100-continue\r\nContent-Type: application/json\r\n"
        more += b"Content-Length: %d\r\n" % len(self.json_body)
        async with self.connected(path) as (reader, writer):
            writer.write(self.get(self.takes_json, "POST", more))
            assert (await reader.readuntil(b"\r\n\r\n")) == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(self.json_body)
            assert (await read_answer(reader)).status == self.json_status

    async def test_pipelined_requests_are_answered_in_order(self, path: Path) -> None:
        asked = [self.known, self.missing, self.known, self.known]
        async with self.connected(path) as (reader, writer):
            writer.write(b"".join(self.get(target) for target in asked))
            found = [(await read_answer(reader)).status for _ in asked]
        assert found == [200, 404, 200, 200]

    async def test_a_client_that_ends_its_side_gets_its_answers(self, path: Path) -> None:
        async with self.connected(path) as (reader, writer):
            writer.write(self.get(self.known) + self.get(self.missing))
            writer.write_eof()
            assert (await read_answer(reader)).body == self.known_body
            self.refused(await read_answer(reader), 404)
            assert await reader.read() == b""

    async def test_a_client_that_ends_its_side_in_the_middle(self, path: Path) -> None:
        for half in (b"GET /", self.get(self.takes_json, "POST", b"Content-Length: 9\r\n") + b"{"):
            async with self.connected(path) as (reader, writer):
                writer.write(half)
                writer.write_eof()
                await reader.read()  # it ends, with or without a word
        assert (await self.ask(path, self.get(self.known))).status == 200

    async def test_a_client_that_sends_byte_by_byte(self, path: Path) -> None:
        async with self.connected(path) as (reader, writer):
            for byte in self.get(self.known):
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(0)
            assert (await read_answer(reader)).body == self.known_body

    async def test_clients_that_never_finish_hold_up_nobody(self, path: Path) -> None:
        async with self.connected(path) as (_, one), self.connected(path) as (_, other):
            one.write(b"GET /hello HTTP/1.1\r\nX-")
            other.write(self.get(self.takes_json, "POST", b"Content-Length: 1000\r\n"))
            await one.drain()
            await other.drain()
            for _ in range(3):
                assert (await self.ask(path, self.get(self.known))).status == 200

    async def test_a_client_that_does_not_read_holds_up_nobody(self, path: Path) -> None:
        count = 2000
        async with self.connected(path) as (reader, writer):
            writer.write(self.get(self.known) * count)
            for _ in range(3):
                assert (await self.ask(path, self.get(self.known))).status == 200
            for _ in range(count):
                assert (await read_answer(reader)).body == self.known_body

    async def test_a_connection_is_kept(self, path: Path) -> None:
        async with self.connected(path) as (reader, writer):
            for _ in range(3):
                writer.write(self.get(self.known))
                assert (await read_answer(reader)).status == 200
            writer.write(self.get(self.known, more=b"Connection: close\r\n"))
            assert (await read_answer(reader)).status == 200
            assert await reader.read() == b""

    async def test_an_error_does_not_cost_the_connection(self, path: Path) -> None:
        async with self.connected(path) as (reader, writer):
            writer.write(self.get(self.missing))
            self.refused(await read_answer(reader), 404)
            writer.write(self.get(self.known))
            assert (await read_answer(reader)).status == 200
