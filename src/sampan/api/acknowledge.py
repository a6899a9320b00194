"""An answer to whoever changed something means: on disk.

Every request but the reading ones waits for the store before the first word of its answer that can
be taken for "done": the whole of a plain answer, each write of a streamed one. What a handler did
on the way need not be known here, as waiting for the newest transaction waits for all of them; when
nothing has changed, nothing is waited for. docs/design/store.md argues it.
"""

from __future__ import annotations

from aiohttp import web

from sampan.store.contract import Store

READING = frozenset(("GET", "HEAD", "OPTIONS"))
"""They promise nothing: what they show may be some milliseconds ahead of the disk."""


async def durable(request: web.BaseRequest, store: Store) -> None:
    """Wait until what ``request`` changed survives a power cut. Raises StoreFailed."""
    if request.method not in READING:
        await store.durable()


class DurableStream(web.StreamResponse):
    """A streamed answer that says nothing that is not on disk yet."""

    def __init__(self, store: Store, headers: dict[str, str]) -> None:
        super().__init__(headers=headers)
        self._store = store

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await self._store.durable()
        await super().write(data)


def stream(request: web.BaseRequest, store: Store, headers: dict[str, str]) -> web.StreamResponse:
    """A streamed answer to ``request``, not begun yet."""
    if request.method in READING:
        return web.StreamResponse(headers=headers)
    return DurableStream(store, headers)
