"""A task's log, for the managers: a stream of frames, as the container's log file has it.

    GET /tasks/{id}/logs?follow=1&tail=100&since=NS&until=NS&stdout=1&stderr=1

Each frame is a length (4 bytes, big endian) and that many bytes of msgpack: a list of entries
``[time_ns, stream, line, partial]``. An empty frame says that the stream is alive.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from sampan.aio import Clock
from sampan.cluster.agent.contract import Executor, NoSuchTask
from sampan.cluster.dispatcher.messages import Assignment
from sampan.cluster.peer.contract import Allow, Reply, Request, Server
from sampan.cluster.records import TaskStatus
from sampan.engine.contract import LogRequest
from sampan.errors import InvalidArgument
from sampan.runtime.contract import LogEntry, Stream

LOGS_PATH = "/tasks/{id}/logs"
_LENGTH = struct.Struct(">I")
_LOOK_AGAIN_S = 0.1


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A log entry on the wire."""

    time_ns: int
    stream: Stream
    line: bytes
    partial: bool = False


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Entry])


def frame(entries: list[LogEntry]) -> bytes:
    body = _encoder.encode([Entry(e.time_ns, e.stream, e.line, e.partial) for e in entries])
    return _LENGTH.pack(len(body)) + body


async def entries(chunks: AsyncIterator[bytes]) -> AsyncIterator[list[LogEntry]]:
    """The reverse of ``frame``, from chunks that are cut anywhere.

    Raises:
        msgspec.DecodeError
    """
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        while len(buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer)
            if len(buffer) < _LENGTH.size + length:
                break
            body = bytes(buffer[_LENGTH.size : _LENGTH.size + length])
            del buffer[: _LENGTH.size + length]
            yield [LogEntry(e.time_ns, e.stream, e.line, e.partial) for e in _decoder.decode(body)]


class Book(Protocol):
    """Which tasks are here."""

    def task(self, task_id: str) -> Assignment | None: ...
    @property
    def statuses(self) -> dict[str, TaskStatus]: ...


class LogRoute:
    def __init__(self, executor: Executor, book: Book, clock: Clock) -> None:
        self._executor, self._book, self._clock = executor, book, clock

    def mount(self, server: Server) -> None:
        server.route("GET", LOGS_PATH, self.answer, allow=Allow.MANAGERS)

    async def answer(self, request: Request) -> Reply:
        """Handler of ``LOGS_PATH``.

        Raises:
            NoSuchTask: it never was here, or it is gone.
        """
        task_id = request.match["id"]
        wanted = _parse(request.query)
        batches: AsyncIterator[list[LogEntry]] | None = None
        try:
            batches = self._executor.logs(task_id, wanted)
        except NoSuchTask:
            if self._book.task(task_id) is None:
                raise
        return Reply(body=self._frames(task_id, wanted, batches))

    async def _frames(
        self, task_id: str, wanted: LogRequest, batches: AsyncIterator[list[LogEntry]] | None
    ) -> AsyncIterator[bytes]:
        # A first frame at once: the manager then knows that this node answers.
        yield frame([])
        while batches is None:
            status = self._book.statuses.get(task_id)
            task = self._book.task(task_id)
            if not wanted.follow or task is None or (status is not None and status.state.ended):
                return
            await self._clock.sleep(_LOOK_AGAIN_S)
            try:
                batches = self._executor.logs(task_id, wanted)
            except NoSuchTask:
                continue
        try:
            async for batch in batches:
                yield frame(batch)
        finally:
            # The reader has gone, as a rule: what watches the file must not wait for the collector.
            if (close := getattr(batches, "aclose", None)) is not None:
                await close()


def _parse(query: object) -> LogRequest:
    try:
        asked = msgspec.convert(query, _Query, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"logs: {error}") from error
    return LogRequest(
        follow=asked.follow,
        tail=asked.tail,
        since_ns=asked.since,
        until_ns=asked.until,
        stdout=asked.stdout,
        stderr=asked.stderr,
    )


def query_of(request: LogRequest) -> dict[str, str]:
    """``request`` as the query of ``LOGS_PATH``."""
    query = {
        "follow": str(int(request.follow)),
        "since": str(request.since_ns),
        "until": str(request.until_ns),
        "stdout": str(int(request.stdout)),
        "stderr": str(int(request.stderr)),
    }
    if request.tail is not None:
        query["tail"] = str(request.tail)
    return query


class _Query(msgspec.Struct):
    follow: bool = False
    tail: int | None = None
    since: int = 0
    until: int = 0
    stdout: bool = True
    stderr: bool = True
