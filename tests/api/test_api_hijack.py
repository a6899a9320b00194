"""Taking a connection over, driven with raw sockets."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from sampan.aio import Tasks
from sampan.api.frames import RAW_STREAM
from sampan.api.front import error_answer
from sampan.api.hijack import Hijacked, Pumping, pump, take_over
from sampan.api.versions import DockerVersions
from sampan.http.context import RequestContext
from sampan.http.front import Front
from sampan.http.router import Route
from sampan.http.server import HttpServer
from sampan.runtime.contract import Stream

ATTACH = b"POST /v1.51/containers/abc/attach?stream=1 HTTP/1.1\r\nHost: x\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: tcp\r\n"


class Cat:
    """An attached process that copies its stdin to its stdout."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[bytes] = asyncio.Queue(maxsize=4)
        self.closed = asyncio.Event()
        self.received = 0

    async def output(self) -> AsyncIterator[tuple[Stream, bytes]]:
        while data := await self._lines.get():
            yield "stdout", data

    async def write(self, data: bytes) -> None:
        self.received += len(data)
        await self._lines.put(data)

    async def close_stdin(self) -> None:
        await self._lines.put(b"")

    async def close(self) -> None:
        self.closed.set()


class Flood(Cat):
    """Writes ``total`` bytes and ends."""

    def __init__(self, total: int) -> None:
        super().__init__()
        self.total = total

    async def output(self) -> AsyncIterator[tuple[Stream, bytes]]:
        block = bytes(range(256)) * 256
        for _ in range(self.total // len(block)):
            yield "stdout", block


class Deaf(Cat):
    """Closes its stdin at once, then says goodbye."""

    async def write(self, data: bytes) -> None:
        await self._lines.put(b"bye")
        await self._lines.put(b"")
        raise BrokenPipeError

    async def close_stdin(self) -> None:
        return


@asynccontextmanager
async def server(
    path: Path, process: Cat, *, tty: bool = False, detach_keys: bytes = b""
) -> AsyncIterator[list[str]]:
    outcomes: list[str] = []

    async def plain(context: RequestContext) -> web.StreamResponse:
        return web.Response(status=404, body=b"no:" + await context.read_body(1 << 20))

    async def attach(context: RequestContext) -> web.StreamResponse:
        request = context.request
        if context.path["id"] == "missing":
            return await plain(context)
        await context.read_body(1 << 20)
        raw = take_over(request, RAW_STREAM)
        how = Pumping(
            stdin=True, stdout=True, stderr=True, tty=tty, close_stdin=True, detach_keys=detach_keys
        )
        try:
            outcomes.append(await pump(raw, process, how))
        finally:
            await process.close()
            await raw.finish()
        return Hijacked()

    front = Front(
        name="test",
        routes=(
            Route("POST", "/containers/{id}/attach", attach, streams=True, hijacks=True),
            Route("POST", "/build", plain),
        ),
        context=RequestContext,
        error=error_answer,
        versions=DockerVersions(),
    )
    tasks = Tasks()
    runner = web.ServerRunner(HttpServer(front, tasks))
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        yield outcomes
    finally:
        await runner.cleanup()
        await tasks.close()


async def head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def frame(reader: asyncio.StreamReader) -> bytes:
    number, size = struct.unpack(">BxxxL", await reader.readexactly(8))
    assert number == 1
    return await reader.readexactly(size)


async def test_upgrade_answers_101_and_copies_both_ways(tmp_path: Path) -> None:
    async with server(tmp_path / "s", Cat()):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(ATTACH + UPGRADE + b"\r\n")
        answer = await head(reader)
        assert answer.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
        assert b"Content-Type: application/vnd.docker.raw-stream\r\n" in answer
        writer.write(b"hello")
        assert await frame(reader) == b"hello"
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()


async def test_without_upgrade_answers_200(tmp_path: Path) -> None:
    async with server(tmp_path / "s", Cat(), tty=True):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(ATTACH + b"Content-Length: 0\r\n\r\n")
        assert (await head(reader)).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.write(b"raw")
        assert await reader.readexactly(3) == b"raw"
        writer.close()


@pytest.mark.parametrize("split", [1, 5, 30, 80, 120, 140])
async def test_input_sent_with_the_request_is_not_lost(tmp_path: Path, split: int) -> None:
    everything = ATTACH + UPGRADE + b"Content-Length: 2\r\n\r\n{}" + b"early"
    async with server(tmp_path / "s", Cat(), tty=True):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(everything[:split])
        await writer.drain()
        for _ in range(10):
            await asyncio.sleep(0)  # let the server see the first part alone
        writer.write(everything[split:])
        writer.write_eof()
        await head(reader)
        assert await reader.read() == b"early"
        writer.close()


async def test_a_refused_hijack_keeps_the_connection_in_http(tmp_path: Path) -> None:
    async with server(tmp_path / "s", Cat()):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        refused = b"POST /containers/missing/attach HTTP/1.1\r\nHost: x\r\n\r\n"
        for _ in range(3):
            writer.write(refused)
            assert b" 404 " in await head(reader)
            assert await reader.readexactly(3) == b"no:"
        writer.close()


async def test_a_body_that_looks_like_an_attach_is_a_body(tmp_path: Path) -> None:
    async with server(tmp_path / "s", Cat()):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        body = ATTACH + b"\r\n"
        writer.write(b"POST /build HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
        await writer.drain()
        for _ in range(10):
            await asyncio.sleep(0)
        writer.write(body)
        assert b" 404 " in await head(reader)
        assert await reader.readexactly(3 + len(body)) == b"no:" + body
        writer.close()


async def test_big_output_is_complete_through_a_slow_reader(tmp_path: Path) -> None:
    total = 32 << 20
    async with server(tmp_path / "s", Flood(total)) as outcomes:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(ATTACH + UPGRADE + b"\r\n")
        await head(reader)
        got = 0
        while data := await reader.read(1 << 20):
            got += len(data)
        assert got == total + total // 65536 * 8
        writer.close()
    assert outcomes == ["ended"]


async def test_input_is_not_read_faster_than_the_process_takes_it(tmp_path: Path) -> None:
    process = Cat()
    async with server(tmp_path / "s", process, tty=True):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(ATTACH + UPGRADE + b"\r\n")
        await head(reader)
        sent: list[int] = []

        async def send_forever() -> None:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
                sent.append(65536)

        # Nobody reads the output: the way back fills up, and then the way in must, too.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(send_forever(), 1.0)
        assert sum(sent) < 16 << 20
        writer.transport.abort()


async def test_a_process_that_closed_its_stdin_still_says_goodbye(tmp_path: Path) -> None:
    async with server(tmp_path / "s", Deaf(), tty=True):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(ATTACH + UPGRADE + b"\r\n")
        await head(reader)
        writer.write(b"x" * (1 << 20))
        assert await reader.readexactly(3) == b"bye"
        writer.close()


async def test_detach_keys_end_the_stream_and_not_the_process(tmp_path: Path) -> None:
    process = Cat()
    async with server(tmp_path / "s", process, tty=True, detach_keys=b"\x10\x11") as outcomes:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(ATTACH + UPGRADE + b"\r\n")
        await head(reader)
        writer.write(b"ab\x10")
        assert await reader.readexactly(2) == b"ab"
        writer.write(b"\x11")
        assert await reader.read() == b""
        writer.close()
    assert outcomes == ["detached"]
    assert process.received == 2


async def test_a_client_that_dies_is_noticed(tmp_path: Path) -> None:
    process = Flood(1 << 30)
    async with server(tmp_path / "s", process):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(ATTACH + UPGRADE + b"\r\n")
        await head(reader)
        writer.transport.abort()
        await asyncio.wait_for(process.closed.wait(), 10)


async def test_what_a_client_sent_before_it_went_reaches_the_process(tmp_path: Path) -> None:
    process = Cat()
    async with server(tmp_path / "s", process):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(ATTACH + UPGRADE + b"\r\n")
        await head(reader)
        writer.write(b"x" * 300_000)
        await writer.drain()
        writer.transport.abort()
        await asyncio.wait_for(process.closed.wait(), 10)
    assert process.received == 300_000
