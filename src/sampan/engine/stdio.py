"""Attaching to a run that is there, or to the one that is to come.

``docker run`` attaches before it starts: the stream must begin with the run's first byte. So an
attachment to a container that does not run waits in a list, and ``start`` connects the list
between the moment at which the run's stdio exists and the one at which its process executes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from sampan.runtime.contract import AttachStream, Stream


class StdioAttachment:
    """An ``AttachStream`` whose run may be still to come.

    ``close_stdin`` reaches the container only when it was created with ``stdin_once``: otherwise
    its stdin stays open for the next client that attaches.
    """

    def __init__(self, *, stdin_once: bool) -> None:
        self._stdin_once = stdin_once
        self._stream: asyncio.Future[AttachStream | None] = (
            asyncio.get_running_loop().create_future()
        )
        self._closed = False

    def connect(self, stream: AttachStream | None) -> None:
        """Give it its run's stdio; None: there will be none."""
        if not self._stream.done():
            self._stream.set_result(stream)

    @property
    def closed(self) -> bool:
        return self._closed

    async def output(self) -> AsyncIterator[tuple[Stream, bytes]]:
        stream = await asyncio.shield(self._stream)
        if stream is not None:
            async for chunk in stream.output():
                yield chunk

    async def write(self, data: bytes) -> None:
        stream = await asyncio.shield(self._stream)
        if stream is None:
            raise BrokenPipeError("the container did not start")
        await stream.write(data)

    async def close_stdin(self) -> None:
        if self._stdin_once:
            stream = await asyncio.shield(self._stream)
            if stream is not None:
                await stream.close_stdin()

    async def close(self) -> None:
        self._closed = True
        if not self._stream.done():
            self._stream.set_result(None)
        elif (stream := self._stream.result()) is not None:
            await stream.close()


class StdioAttachments:
    """Those who wait for a container's next run."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[StdioAttachment]] = {}

    def wait(self, container_id: str, *, stdin_once: bool) -> StdioAttachment:
        attachment = StdioAttachment(stdin_once=stdin_once)
        waiting = [a for a in self._waiting.get(container_id, ()) if not a.closed]
        self._waiting[container_id] = [*waiting, attachment]
        return attachment

    def take(self, container_id: str) -> list[StdioAttachment]:
        """Those to connect now; they are no longer waiting."""
        return [a for a in self._waiting.pop(container_id, ()) if not a.closed]

    def leave(self, container_id: str, attachment: StdioAttachment) -> None:
        """It is connected by its owner."""
        left = [a for a in self._waiting.pop(container_id, ()) if a is not attachment]
        if left:
            self._waiting[container_id] = left

    def give_up(self, container_id: str) -> None:
        """No run will come."""
        for attachment in self.take(container_id):
            attachment.connect(None)
