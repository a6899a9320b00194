"""JSON lines: the answer of everything that takes long and tells how it goes.

A ``ProgressStream`` is written to from plain callbacks (progress of a pull comes hundreds of times
a second) and drained by one writer, so that nothing waits for a slow client. The head is only sent
with the first line: what fails before is still a proper HTTP error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from aiohttp import web

from sampan.aio import Tasks
from sampan.api.docker_request import DockerRequest, encode
from sampan.api.errors import sentence_of
from sampan.api.types.images import ErrorDetail, Line, ProgressDetail
from sampan.image.contract import Progress

T = TypeVar("T")


class ProgressStream:
    """Lines waiting to be sent."""

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._places: dict[str, int] = {}
        self._ready = asyncio.Event()
        self._closed = False

    def put(self, line: Line) -> None:
        """Add a line. Never blocks."""
        self._pending.append(encode(line) + b"\r\n")
        self._ready.set()

    def progress(self, step: Progress) -> None:
        """A line of progress. While the client is slow, a newer line about the same transfer
        takes the place of the older: memory is bounded by the number of layers."""
        line = Line(status=step.status, progress_detail=ProgressDetail(), id=step.id or _UNSET)
        if step.current or step.total:
            line.progress_detail = ProgressDetail(current=step.current, total=step.total)
            line.progress = bar(step.current, step.total)
        data = encode(line) + b"\r\n"
        key = f"{step.id}\0{step.status}"
        if step.id and step.total and (at := self._places.get(key)) is not None:
            self._pending[at] = data
        else:
            if step.id and step.total:
                self._places[key] = len(self._pending)
            self._pending.append(data)
        self._ready.set()

    def fail(self, error: BaseException, code: int | None = None) -> None:
        """The stream's last line."""
        message = sentence_of(error)
        detail = ErrorDetail(message=message) if code is None else ErrorDetail(code, message)
        self.put(Line(error_detail=detail, error=message))

    def close(self) -> None:
        self._closed = True
        self._ready.set()

    async def take(self) -> bytes:
        """What is waiting, when there is something; empty at the end."""
        while not self._pending:
            if self._closed:
                return b""
            self._ready.clear()
            await self._ready.wait()
        data = b"".join(self._pending)
        self._pending.clear()
        self._places.clear()
        return data


_UNSET = Line().id


def bar(current: int, total: int) -> str:
    """ "[=====>     ]  1.05MB/63.2MB", for clients that draw nothing themselves."""
    if total <= 0:
        return human(current)
    done = min(50, current * 50 // total)
    arrow = "=" * done + (">" if done < 50 else "")
    return f"[{arrow:<50}]  {human(current)}/{human(total)}"


def human(size: float) -> str:
    """Decimal units, four significant digits: "63.22MB"."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.4g}{unit}"
        size /= 1000
    raise AssertionError("unreachable")


async def answer(
    call: DockerRequest, work: Awaitable[T], lines: ProgressStream, *, errors_in_it: bool = False
) -> web.StreamResponse:
    """Run ``work`` and send what it puts into ``lines`` as the answer.

    When the client hangs up, ``work`` is cancelled. An error before the first line is raised, one
    after it is the last line; with ``errors_in_it``, also when it is the only one.
    """

    async def guarded() -> BaseException | None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - told to the client below
            return error
        finally:
            lines.close()
        return None

    tasks = Tasks()
    try:
        task = tasks.spawn(guarded(), name="lines")
        data = await lines.take()
        if not data and (error := await task) is not None and not errors_in_it:
            raise error
        response = await call.stream("application/json")
        while data:
            await response.write(data)
            data = await lines.take()
        if (error := await task) is not None:
            lines.fail(error, getattr(error, "code", None))
            await response.write(await lines.take())
        return response
    finally:
        await tasks.close()
