"""The daemon's side of the worker processes: a pool that grows on demand and ends when idle."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.aio import beside
from sampan.errors import Exhausted, Internal, SampanError
from sampan.image.contract import BadLayer
from sampan.image.worker_frames import FRAME

WORKERS = 3
IDLE_S = 10.0
_PIPE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileSlice:
    """Bytes of a file on this host."""

    path: Path
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What a layer turned out to be."""

    digest: str
    """Of the bytes as they came, compressed or not."""
    diff_id: str
    blob_bytes: int
    tar_bytes: int
    size: int
    """Bytes of file contents."""


@dataclass(frozen=True, slots=True)
class Packed:
    diff_id: str
    tar_bytes: int
    size: int


class _Worker:
    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._in = process.stdin
        self._out = process.stdout

    def send(self, kind: bytes, body: bytes) -> None:
        self._in.write(FRAME.pack(kind, len(body)))
        if body:
            self._in.write(body)

    async def drain(self) -> None:
        try:
            await self._in.drain()
        except (BrokenPipeError, ConnectionResetError):
            return  # its last words are in the other pipe

    async def receive(self) -> tuple[bytes, bytes]:
        try:
            kind, size = FRAME.unpack(await self._out.readexactly(FRAME.size))
            return kind, await self._out.readexactly(size) if size else b""
        except asyncio.IncompleteReadError:
            code = await self.process.wait()
            raise Internal(
                f"a layer worker ended with status {code}; the daemon's log has its last words"
            ) from None

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self._in.close()

    async def gone(self) -> None:
        """Wait for its end, after ``kill``."""
        # asyncio says that a process has ended once its pipes have, and does not look at one of
        # which more was read ahead than anybody has asked for.
        while await self._out.read(_PIPE_BYTES):
            pass
        await self.process.wait()
        with suppress(BrokenPipeError, ConnectionResetError):
            await self._in.wait_closed()


def layer_failure(answer: dict[str, Any]) -> SampanError:
    """The error that a worker's last frame means."""
    if answer["kind"] == "full":
        return Exhausted(answer["text"])
    return BadLayer(answer["text"])


class WorkerPool:
    """At most ``most`` processes running ``module``; callers wait their turn."""

    def __init__(
        self,
        module: str = "sampan.image.worker",
        *,
        most: int = WORKERS,
        failure: Callable[[dict[str, Any]], SampanError] = layer_failure,
    ) -> None:
        self._module = module
        self._failure = failure
        self._turns = asyncio.Semaphore(most)
        self._idle: list[tuple[_Worker, asyncio.TimerHandle]] = []
        self._ended: set[_Worker] = set()

    async def close(self) -> None:
        """End every idle worker and wait for all that were ended."""
        while self._idle:
            worker, timer = self._idle.pop()
            timer.cancel()
            self._end(worker)
        for worker in list(self._ended):
            await worker.gone()
        self._ended.clear()

    async def unpack(
        self, target: Path, tar_split: Path, data: AsyncIterator[bytes] | FileSlice
    ) -> Unpacked:
        """Unpack a layer into the empty directory ``target`` and write its recipe.

        Raises:
            BadLayer: not a layer.
            Exhausted: the disk is full.
            Whatever ``data`` raises.
        """
        job: dict[str, Any] = {"job": "unpack", "target": str(target), "recipe": str(tar_split)}
        if isinstance(data, FileSlice):
            job |= {"path": str(data.path), "offset": data.offset, "size": data.size}
            async with self._worker() as worker:
                worker.send(b"J", json.dumps(job).encode())
                return Unpacked(**await self._result(worker))
        job["stream"] = True
        async with self._worker() as worker:
            worker.send(b"J", json.dumps(job).encode())
            return Unpacked(**await self._fed(worker, data))

    async def pack(self, target: Path, tar_split: Path) -> Packed:
        """Digest the layer that the overlay directory ``target`` is, and write its recipe."""
        async with self._worker() as worker:
            job = {"job": "pack", "target": str(target), "recipe": str(tar_split)}
            worker.send(b"J", json.dumps(job).encode())
            return Packed(**await self._result(worker))

    async def pack_stream(
        self, target: Path, skip: frozenset[str] = frozenset()
    ) -> AsyncIterator[bytes]:
        """The layer tar of the overlay directory ``target``, without empty ``skip``."""
        names = sorted(path.lstrip("/") for path in skip)
        job = {"job": "pack", "target": str(target), "skip": names}
        async with aclosing(self._stream(job, "")) as stream:
            async for chunk in stream:
                yield chunk

    async def assemble(
        self, target: Path, tar_split: Path, diff_id: str
    ) -> AsyncGenerator[bytes, None]:
        """A layer's tar as it came.

        Raises:
            BadLayer: after the last byte, when its digest is not ``diff_id``: the directory was
                changed behind the daemon's back.
        """
        job = {"job": "assemble", "target": str(target), "recipe": str(tar_split)}
        async with aclosing(self._stream(job, diff_id)) as stream:
            async for chunk in stream:
                yield chunk

    async def run(
        self, job: dict[str, Any], data: AsyncIterator[bytes] | None = None
    ) -> dict[str, Any]:
        """Any job: its result. ``data``: what the job reads meanwhile (it has ``stream`` set)."""
        async with self._worker() as worker:
            worker.send(b"J", json.dumps(job).encode())
            return await (self._fed(worker, data) if data is not None else self._result(worker))

    async def frames(self, job: dict[str, Any]) -> AsyncIterator[bytes]:
        """Any job: the data that it sends, as it comes. Ending early ends the worker."""
        async with self._worker() as worker:
            worker.send(b"J", json.dumps(job).encode())
            while True:
                kind, body = await worker.receive()
                if kind != b"D":
                    self._checked(kind, body)
                    return
                yield body

    async def _stream(self, job: dict[str, Any], diff_id: str) -> AsyncGenerator[bytes, None]:
        async with self._worker() as worker:
            worker.send(b"J", json.dumps(job).encode())
            while True:
                kind, body = await worker.receive()
                if kind == b"D":
                    yield body
                    continue
                found = self._checked(kind, body)["diff_id"]
                if diff_id and found != diff_id:
                    raise BadLayer(
                        f"layer {diff_id} has changed on disk (it is {found} now): remove its "
                        "images and pull them again"
                    )
                return

    async def _fed(self, worker: _Worker, data: AsyncIterator[bytes]) -> dict[str, Any]:
        # A worker that fails says so at once, and then swallows what still comes: without a
        # look at its answer the rest of a gigabyte would be fetched for nobody.
        # To its end, as the pipe has one reader at a time.
        async with beside(worker.receive(), name="layer worker's answer") as answer:
            async for chunk in data:
                if answer.done():
                    break
                for at in range(0, len(chunk), _PIPE_BYTES):
                    worker.send(b"D", chunk[at : at + _PIPE_BYTES])
                    await worker.drain()
            else:
                worker.send(b"E", b"")
                await worker.drain()
            return self._checked(*await answer)

    async def _result(self, worker: _Worker) -> dict[str, Any]:
        return self._checked(*await worker.receive())

    def _checked(self, kind: bytes, body: bytes) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(body)
        if kind == b"R":
            return answer
        raise self._failure(answer)

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[_Worker]:
        async with self._turns:
            worker = await self._take()
            try:
                yield worker
            except BaseException:
                # In the middle of a job: whatever it still does must not outlive the error.
                self._end(worker)
                await worker.gone()
                self._ended.discard(worker)
                raise
            timer = asyncio.get_running_loop().call_later(IDLE_S, self._expire, worker)
            self._idle.append((worker, timer))

    async def _take(self) -> _Worker:
        while self._idle:
            worker, timer = self._idle.pop()
            timer.cancel()
            if worker.process.returncode is None:
                return worker
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-m", self._module, stdin=PIPE, stdout=PIPE,
            limit=_PIPE_BYTES, start_new_session=True, env=dict(os.environ),
        )  # fmt: skip
        return _Worker(process)

    def _expire(self, worker: _Worker) -> None:
        self._idle = [entry for entry in self._idle if entry[0] is not worker]
        self._end(worker)

    def _end(self, worker: _Worker) -> None:
        worker.kill()
        self._ended.add(worker)
