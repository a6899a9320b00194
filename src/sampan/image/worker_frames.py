"""The protocol of worker processes, and the worker's side of it.

    daemon -> worker   J json      a job                D bytes   its data    E   end of data
    worker -> daemon   D bytes     data                 R json    it is done
                       X json      it failed: {"kind": ..., "text": ...}

Each frame is one letter, a 4-byte length and so many bytes. What kinds of failure there are is the
matter of each worker and of who asks it.
"""

from __future__ import annotations

import json
import os
import select
import struct
import threading
from collections.abc import Iterator
from typing import Any

from sampan.image.tar import BadTar

FRAME = struct.Struct("!cI")
_BLOCK = 1 << 20
_PART = 1 << 18


class Channel:
    """Frames over two descriptors. Unbuffered: what would be read ahead here would be missing in a
    child that goes on with the job."""

    def __init__(self, source: int, sink: int) -> None:
        self._source, self._sink = source, sink
        self._more = False
        """The current job's data has not ended yet."""

    def jobs(self) -> Iterator[dict[str, Any]]:
        """Jobs, until the daemon ends them. ``data`` is of the newest."""
        while (frame := self._receive()) is not None:
            kind, body = frame
            if kind != b"J":
                continue  # data of a job that failed before it had read all of it
            job: dict[str, Any] = json.loads(body)
            self._more = bool(job.get("stream"))
            yield job

    def data(self) -> Iterator[bytes]:
        """What the daemon sends for the job.

        Raises:
            BadTar: the daemon went away in the middle.
        """
        while self._more:
            frame = self._receive()
            if frame is None:
                raise BadTar("unexpected EOF: the daemon went away")
            kind, body = frame
            if kind == b"E":
                self._more = False
                return
            if body:
                yield body

    def send(self, kind: bytes, body: bytes) -> None:
        """Raises BrokenPipeError: the daemon is gone."""
        head = FRAME.pack(kind, len(body))
        sent = os.writev(self._sink, (head, body))  # not copied into one
        if sent < len(head):
            left = memoryview(head[sent:] + body)
        else:
            left = memoryview(body)[sent - len(head) :]
        while left:
            left = left[os.write(self._sink, left) :]

    def stream(self, chunks: Iterator[bytes]) -> None:
        """Send data: small pieces together, large ones in parts."""
        waiting: list[bytes] = []
        size = 0
        for chunk in chunks:
            waiting.append(chunk)
            size += len(chunk)
            if size >= _PART:
                self._parts(b"".join(waiting))
                waiting, size = [], 0
        if waiting:
            self._parts(b"".join(waiting))

    def _parts(self, whole: bytes) -> None:
        for at in range(0, len(whole), 2 * _PART):
            self.send(b"D", whole[at : at + 2 * _PART])

    def done(self, result: dict[str, Any]) -> None:
        self.send(b"R", json.dumps(result).encode())

    def fail(self, kind: str, text: str) -> None:
        self.send(b"X", json.dumps({"kind": kind, "text": text}).encode())

    def _receive(self) -> tuple[bytes, bytes] | None:
        head = self._read(FRAME.size)
        if len(head) != FRAME.size:
            return None
        kind, size = FRAME.unpack(head)
        body = self._read(size)
        return (kind, body) if len(body) == size else None

    def _read(self, size: int) -> bytes:
        parts = []
        while size:
            part = os.read(self._source, min(size, _BLOCK))
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def channel_of_this_process() -> Channel:
    """Frames over standard input and output, which nothing else gets hold of: a stray print must
    not end up between them. From now on the process ends with its daemon, whose successor sweeps:
    the result is no longer wanted."""
    threading.Thread(target=_end_with_the_daemon, daemon=True).start()
    out = os.dup(1)
    os.dup2(2, 1)
    return Channel(0, out)


def _end_with_the_daemon() -> None:
    poll = select.poll()
    poll.register(0, 0)  # hang-ups are always reported
    poll.poll()
    os._exit(1)
