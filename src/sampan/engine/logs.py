"""What a container wrote."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sampan.engine.books import Books
from sampan.engine.bundle import log_path
from sampan.engine.contract import LogRequest
from sampan.engine.live import Live, LiveRun
from sampan.engine.parts import Parts
from sampan.errors import InvalidArgument, Unsupported
from sampan.runtime.contract import LogEntry, Stream


class Logs:
    def __init__(self, parts: Parts, books: Books, live: Live) -> None:
        self._parts, self._books, self._live = parts, books, live

    def read(self, ref: str, request: LogRequest) -> AsyncIterator[list[LogEntry]]:
        """Raises NoSuchContainer, InvalidArgument, Unsupported at once, not at the first batch."""
        container = self._books.get(ref)
        if not (request.stdout or request.stderr):
            raise InvalidArgument("Bad parameters: you must choose at least one stream")
        path = log_path(container, self._parts.config)
        if path is None:
            raise Unsupported("configured logging driver does not support reading")
        streams: set[Stream] = set()
        if request.stdout:
            streams.add("stdout")
        if request.stderr:
            streams.add("stderr")
        run = self._live.runs.get(container.id)
        return self._parts.logs.read(
            path,
            tail=request.tail,
            since_ns=request.since_ns,
            until_ns=request.until_ns,
            streams=frozenset(streams),
            follow=_until_ended(run) if request.follow and run is not None else None,
        )


async def _until_ended(run: LiveRun) -> AsyncIterator[None]:
    await run.ended.wait()
    nothing: tuple[None, ...] = ()
    for item in nothing:
        yield item
