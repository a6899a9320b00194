"""Two fronts in one process: the contract of each, and that neither shows through in the other."""

from __future__ import annotations

import asyncio
import json
import logging
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from sampan.api.front import docker_front
from sampan.errors import Conflict, Forbidden
from sampan.http.connection import Connection
from sampan.http.context import RequestContext
from sampan.http.front import Limits
from sampan.http.router import Handler
from sampan.testing.contracts.http_front import Answer, FrontContract, read_answer
from sampan.testing.daemon import short_directory
from sampan.testing.fronts import Notes, listening
from sampan.testing.memory_engine import memory_engine


@pytest.fixture
def base() -> Iterator[Path]:
    with short_directory() as made:
        yield Path(made)


class TestNotes(FrontContract):
    @pytest.fixture
    async def path(self, base: Path) -> AsyncIterator[Path]:
        async with listening(Notes().front(), base / "notes.sock"):
            yield base / "notes.sock"

    def tells(self, answer: Answer) -> str:
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.body.startswith(b"notes: ")
        return answer.body.decode()


class TestDocker(FrontContract):
    known = "/_ping"
    known_body = b"OK"
    takes_json = "/v1.51/networks/create"
    json_body = b'{"Name": "one"}'
    missing = "/v1.51/nope"
    wrong_method_status = 404
    headers = ("api-version", "docker-experimental", "ostype", "server")

    @pytest.fixture
    async def path(self, base: Path) -> AsyncIterator[Path]:
        async with memory_engine(base) as (services, _):
            async with listening(docker_front(services), base / "docker.sock"):
                yield base / "docker.sock"

    def tells(self, answer: Answer) -> str:
        assert answer.headers["content-type"].startswith("application/json")
        body = json.loads(answer.body)
        assert set(body) == {"message"}
        return str(body["message"])

    async def test_a_refused_hijack_of_a_client_that_has_ended_its_side(self, path: Path) -> None:
        async with self.connected(path) as (reader, writer):
            writer.write(self.get("/containers/nobody/attach", "POST", b"Content-Length: 0\r\n"))
            writer.write(self.get(self.known))
            writer.write_eof()
            assert "No such container" in self.refused(await read_answer(reader), 404)
            assert (await read_answer(reader)).body == self.known_body
            assert await reader.read() == b""

    async def test_a_hijack_with_a_chunked_body_is_answered_as_http(self, path: Path) -> None:
        chunked = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
        async with self.connected(path) as (reader, writer):
            writer.write(self.get("/exec/nobody/start", "POST", chunked))
            writer.write(b"2\r\n{}\r\n0\r\n\r\n" + self.get(self.known))
            assert "No such exec" in self.refused(await read_answer(reader), 404)
            assert (await read_answer(reader)).body == self.known_body

    async def test_a_hijack_with_a_body_larger_than_the_buffer(self, path: Path) -> None:
        for size in (200_000, 300_000, 900_000, 1_200_000):
            body = b'{"x":"' + b"a" * size + b'"}'
            head = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
            async with self.connected(path) as (reader, writer):
                writer.write(self.get("/exec/nobody/start", "POST", head) + body)
                writer.write(self.get(self.known))
                assert "No such exec" in self.refused(await read_answer(reader), 404)
                assert (await read_answer(reader)).body == self.known_body

    async def test_a_body_that_is_no_utf8(self, path: Path) -> None:
        body = b'{"Image":"\xff"}'
        head = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        answer = await self.ask(path, self.get("/containers/create", "POST", head) + body)
        assert "invalid JSON" in self.refused(answer, 400)

    async def test_a_hijack_with_a_length_that_is_none(self, path: Path) -> None:
        length = b"Content-Length: " + b"9" * 6000 + b"\r\n"
        async with self.connected(path) as (reader, writer):
            writer.write(self.get("/containers/nobody/attach", "POST", length))
            assert "malformed HTTP request" in self.refused(await read_answer(reader), 400)

    async def test_no_such_version(self, path: Path) -> None:
        for version, said in (("9.99", "too new"), ("1.1", "too old"), ("1.x", "invalid")):
            answer = await self.ask(path, self.get(f"/v{version}/_ping"))
            assert said in self.refused(answer, 400)


async def test_two_fronts_share_nothing(base: Path) -> None:
    notes = Notes()
    contract = TestDocker()
    async with memory_engine(base) as (services, _):
        async with (
            listening(docker_front(services), base / "docker.sock"),
            listening(notes.front(), base / "notes.sock"),
        ):
            docker = await contract.ask(base / "docker.sock", contract.get("/v1.51/_ping"))
            small = await contract.ask(base / "notes.sock", contract.get("/hello"))
            assert "x-notes" not in docker.headers
            assert not {"api-version", "ostype", "docker-experimental"} & set(small.headers)
            # no version prefix here, and nothing of Docker's is hijacked here
            prefixed = await contract.ask(base / "notes.sock", contract.get("/v1.51/hello"))
            assert prefixed.status == 404
            attach = contract.get("/containers/a/attach", "POST", b"Content-Length: 0\r\n")
            foreign = await contract.ask(base / "notes.sock", attach)
            assert (foreign.status, foreign.body[:7]) == (404, b"notes: ")
            echo = contract.get("/echo/a", "POST", b"Content-Length: 0\r\n")
            foreign = await contract.ask(base / "docker.sock", echo)
            assert json.loads(foreign.body) == {"message": "page not found"}
            async with contract.connected(base / "notes.sock") as (reader, writer):
                writer.write(echo + b"early")
                assert b"101" in await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(5) == b"early"
                writer.write_eof()
                assert await reader.read() == b""


class TestHangUps:
    async def test_a_change_runs_to_its_end_without_its_client(self, base: Path) -> None:
        notes, contract = Notes(), TestNotes()
        async with listening(notes.front(), base / "n.sock"):
            async with contract.connected(base / "n.sock") as (_, writer):
                writer.write(contract.get("/slow", "POST"))
                await writer.drain()
                # another answer: the first request has been read by now
                assert (await contract.ask(base / "n.sock", contract.get("/hello"))).status == 200
            notes.gate.set()
            async with asyncio.timeout(10):
                while not notes.notes:  # noqa: ASYNC110
                    await asyncio.sleep(0)

    @pytest.mark.parametrize("turns", range(6))
    async def test_a_connection_ends_with_its_client_at_whatever_moment(
        self, base: Path, turns: int
    ) -> None:
        """``turns`` of the loop after the answer the client's end of file comes."""
        loop, contract = asyncio.get_running_loop(), TestNotes()

        def ends(conn: Connection, left: int) -> None:
            if left:
                loop.call_soon(ends, conn, left - 1)
            elif not conn.eof_received() and conn.transport is not None:
                conn.transport.close()  # as the transport itself does

        class Answered(web.Response):
            conn: Connection

            async def write_eof(self, data: bytes = b"") -> None:
                await super().write_eof(data)
                ends(self.conn, turns)

        async def around(
            context: RequestContext, handler: Handler[RequestContext]
        ) -> web.StreamResponse:
            answer = Answered(text="last")
            assert isinstance(context.request.protocol, Connection)
            answer.conn = context.request.protocol
            return answer

        async with (
            listening(Notes().front(around), base / "n.sock"),
            contract.connected(base / "n.sock") as (reader, writer),
        ):
            writer.write(contract.get("/hello"))
            async with asyncio.timeout(10):
                assert (await reader.read()).endswith(b"last")

    async def test_a_stream_ends_with_its_client(self, base: Path) -> None:
        notes, contract = Notes(), TestNotes()
        async with listening(notes.front(), base / "n.sock"):
            async with contract.connected(base / "n.sock") as (reader, writer):
                writer.write(contract.get("/feed"))
                await reader.readuntil(b"\r\n\r\n")
            async with asyncio.timeout(10):
                await notes.hung_up.wait()

    async def test_streams_end_when_the_server_hangs_up(self, base: Path) -> None:
        notes, contract = Notes(), TestNotes()
        async with listening(notes.front(), base / "n.sock") as server:
            async with contract.connected(base / "n.sock") as (reader, writer):
                writer.write(contract.get("/feed"))
                await reader.readuntil(b"\r\n\r\n")
                server.hang_up()
                await reader.read()
        assert notes.hung_up.is_set()


class TestGuards:
    """``Front.around``."""

    POST = b"POST /notes HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

    def post(self, body: bytes) -> bytes:
        return self.POST + b"Content-Length: %d\r\n\r\n" % len(body) + body

    async def test_they_nest_and_see_both_bodies(self, base: Path) -> None:
        seen: list[object] = []

        async def outer(
            context: RequestContext, handler: Handler[RequestContext]
        ) -> web.StreamResponse:
            seen.append(("outer", context.method, context.pattern))
            response = await handler(context)
            assert isinstance(response, web.Response)
            seen.append(("answer", response.body))
            return response

        async def inner(
            context: RequestContext, handler: Handler[RequestContext]
        ) -> web.StreamResponse:
            seen.append(("inner", await context.peek_body(100)))
            return await handler(context)

        contract = TestNotes()
        async with listening(Notes().front(outer, inner), base / "n.sock"):
            answer = await contract.ask(base / "n.sock", self.post(b'{"Text": "t"}'))
            assert answer.status == 201
        assert seen == [
            ("outer", "POST", "/notes"),
            ("inner", b'{"Text": "t"}'),
            ("answer", answer.body),
        ]

    async def test_a_refusal_is_an_error_of_the_front(self, base: Path) -> None:
        async def refuse(
            context: RequestContext, handler: Handler[RequestContext]
        ) -> web.StreamResponse:
            raise Forbidden("not today")

        notes, contract = Notes(), TestNotes()
        async with listening(notes.front(refuse), base / "n.sock"):
            answer = await contract.ask(base / "n.sock", self.post(b'{"Text": "t"}'))
            assert contract.refused(answer, 403) == "notes: not today\n"
        assert not notes.notes

    async def test_an_answer_is_held_back_and_replaced(self, base: Path) -> None:
        may, held = asyncio.Event(), asyncio.Event()

        async def hold(
            context: RequestContext, handler: Handler[RequestContext]
        ) -> web.StreamResponse:
            await handler(context)
            held.set()
            await may.wait()
            return context.json({"Instead": True})

        notes, contract = Notes(), TestNotes()
        async with listening(notes.front(hold), base / "n.sock"):
            async with contract.connected(base / "n.sock") as (reader, writer):
                writer.write(self.post(b'{"Text": "t"}'))
                await held.wait()
                assert notes.notes, "the handler had its turn"
                may.set()
                answer = await read_answer(reader)
        assert json.loads(answer.body) == {"Instead": True}

    async def test_what_the_handler_raises_passes_through(self, base: Path) -> None:
        raised: list[Conflict] = []

        async def watch(
            context: RequestContext, handler: Handler[RequestContext]
        ) -> web.StreamResponse:
            try:
                return await handler(context)
            except Conflict as error:
                raised.append(error)
                raise

        contract = TestNotes()
        async with listening(Notes().front(watch), base / "n.sock"):
            for status in (201, 412):
                answer = await contract.ask(base / "n.sock", self.post(b'{"Text": "t"}'))
                assert answer.status == status
        assert [str(error) for error in raised] == ["that was noted already"]

    async def test_a_large_body_is_looked_at_and_still_read_whole(self, base: Path) -> None:
        peeked: list[bytes | None] = []

        async def peek(
            context: RequestContext, handler: Handler[RequestContext]
        ) -> web.StreamResponse:
            peeked.append(await context.peek_body(1000))
            return await handler(context)

        contract = TestNotes()
        chunked = b"PUT /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        body = b"".join(b"100\r\n" + b"x" * 256 + b"\r\n" for _ in range(2000)) + b"0\r\n\r\n"
        async with listening(Notes().front(peek), base / "n.sock"):
            answer = await contract.ask(base / "n.sock", chunked, body)
        assert json.loads(answer.body) == {"bytes": 512_000}
        assert peeked == [None]


async def test_a_front_has_its_own_limits(base: Path) -> None:
    contract = TestNotes()
    limits = Limits(line_bytes=100, field_bytes=100, headers=8)
    async with listening(Notes().front(limits=limits), base / "n.sock"):
        path = base / "n.sock"
        assert (await contract.ask(path, contract.get("/hello"))).status == 200
        contract.refused(await contract.ask(path, contract.get("/notes/" + "n" * 200)), 400)
        long = contract.get("/hello", more=b"X: " + b"x" * 200 + b"\r\n")
        contract.refused(await contract.ask(path, long), 400)
        many = b"".join(b"X-%d: a\r\n" % n for n in range(20))
        contract.refused(await contract.ask(path, contract.get("/hello", more=many)), 400)


async def test_what_is_no_http_is_one_line_of_the_log(
    base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    contract = TestNotes()
    with caplog.at_level(logging.INFO):
        async with listening(Notes().front(), base / "n.sock"):
            await contract.ask(base / "n.sock", b"\x16\x03\x01 hello\r\n\r\n")
    told = [one for one in caplog.records if "not valid HTTP" in one.getMessage()]
    assert len(told) == 1
    assert (told[0].levelno, told[0].exc_info) == (logging.INFO, None)
    assert "\n" not in told[0].getMessage()
    assert not [one for one in caplog.records if one.levelno > logging.INFO]


@pytest.mark.parametrize(
    "head", [b"\x16\x03\x01 hello\r\n\r\n", b"GET /hello HTTP/1.1\r\nX: ", b"G" * 9000]
)
async def test_what_is_no_http_takes_little_memory(base: Path, head: bytes) -> None:
    """Anybody may send it, and very much of it."""
    contract, flood = TestNotes(), [bytes(64 * 1024)] * 64
    async with listening(Notes().front(), base / "n.sock"):
        tracemalloc.start()
        try:
            answer = await contract.ask(base / "n.sock", head, *flood)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        contract.refused(answer, 400)
    assert peak < 3 << 19


async def test_a_bug_keeps_its_traceback(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(
        context: RequestContext, handler: Handler[RequestContext]
    ) -> web.StreamResponse:
        raise RuntimeError("a bug")

    contract = TestDocker()
    async with memory_engine(base) as (services, _):
        front = docker_front(services, around=(broken,))  # type: ignore[arg-type]
        async with listening(front, base / "d.sock"):
            answer = await contract.ask(base / "d.sock", contract.get("/_ping"))
    assert "the daemon's log has the details" in contract.refused(answer, 500)
    assert [one for one in caplog.records if one.exc_info and one.levelno == logging.ERROR]
