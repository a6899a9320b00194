"""One request on its way through a handler: typed access to what was asked, ways to answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec
from aiohttp import web

from sampan.aio import in_thread
from sampan.errors import InvalidArgument
from sampan.http.decode import decode
from sampan.http.front import Matched

T = TypeVar("T")

LARGE_BODY = 256 * 1024
"""Bytes of a JSON body from which decoding it would hold the loop up."""
BODY_LIMIT = 4 << 20
"""Bytes of a JSON body; streams (archives, contexts) are not read as a whole. The largest for which
there is a reason has 1.4 MiB (a config) or 2 MiB (all the arguments that the kernel takes), and to
decode one keeps everybody waiting, in whatever thread it is done."""
_FALSE = frozenset(("", "0", "no", "false", "none"))

encode = msgspec.json.Encoder().encode
"""JSON bytes of a wire type."""


class RequestContext:
    """A request, and what its front and route say of it."""

    __slots__ = (
        "_invited",
        "_read_ahead",
        "headers",
        "method",
        "path",
        "pattern",
        "query",
        "request",
        "version",
    )

    def __init__(self, request: web.BaseRequest, matched: Matched) -> None:
        self.request = request
        self.version, self.path, self.headers, self.method, self.pattern = matched
        self.query = request.rel_url.query
        self._read_ahead: list[bytes] = []
        self._invited = False

    # -- what was asked

    def text(self, name: str, default: str = "") -> str:
        """A query parameter as written."""
        return self.query.get(name, default)

    def flag(self, name: str, default: bool = False) -> bool:
        """A yes or no: everything but 0, no, false and none is yes."""
        value = self.query.get(name)
        return default if value is None else value.strip().lower() not in _FALSE

    def number(self, name: str, default: int | None = None) -> int | None:
        """A whole number, or ``default`` when absent or empty.

        Raises:
            InvalidArgument: something else.
        """
        value = self.query.get(name, "")
        if value == "":
            return default
        try:
            return int(value)
        except ValueError as error:
            raise InvalidArgument(
                f"invalid value {value!r} for parameter {name}: it is a whole number"
            ) from error

    def needs(self, name: str) -> str:
        """A query parameter that must be there."""
        value = self.query.get(name, "")
        if not value:
            raise InvalidArgument(f"the query parameter {name} is required")
        return value

    async def body(self, decoder: msgspec.json.Decoder[T], *, default: T | None = None) -> T:
        """The JSON body; ``default`` stands for an absent one. See ``sampan.http.decode``.

        Raises:
            InvalidArgument: no body, not JSON, wrong content type, or a field of a wrong type
            (named by its path).
        """
        raw = await self.read_body(BODY_LIMIT)
        if not raw:
            if default is not None:
                return default
            raise InvalidArgument("invalid JSON: got EOF while reading request body")
        content_type = self.request.headers.get("Content-Type", "")
        if content_type and self.request.content_type not in ("application/json", "text/json"):
            raise InvalidArgument(
                f"unsupported Content-Type header ({content_type}): must be 'application/json'"
            )
        if len(raw) > LARGE_BODY:
            return await in_thread(decode, raw, decoder)
        return decode(raw, decoder)

    async def read_body(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            InvalidArgument: it is larger than ``limit`` bytes.
        """
        raw = await self.peek_body(limit)
        if raw is None:
            raise InvalidArgument(f"the request body is larger than {_mib(limit)}")
        return raw

    async def peek_body(self, limit: int) -> bytes | None:
        """The whole body, if it has at most ``limit`` bytes, else None. Whoever reads the body
        later still gets all of it."""
        request, ahead = self.request, self._read_ahead
        size = sum(map(len, ahead))
        if (request.content_length or 0) > limit or size > limit:
            return None
        if request.can_read_body:
            await self._invite()
            async for chunk in request.content.iter_any():
                ahead.append(chunk)
                size += len(chunk)
                if size > limit:
                    return None
        if len(ahead) > 1:
            ahead[:] = [b"".join(ahead)]
        return ahead[0] if ahead else b""

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes, once; reading it slowly slows the client down."""
        ahead, self._read_ahead = self._read_ahead, []
        for chunk in ahead:
            yield chunk
        if self.request.can_read_body:
            await self._invite()
            async for chunk in self.request.content.iter_any():
                yield chunk

    async def _invite(self) -> None:
        """Tell a client that waits for it (curl, with more than a megabyte) to send the body."""
        request = self.request
        if "Expect" not in request.headers or self._invited:
            return
        self._invited = True
        if request.headers["Expect"].lower() == "100-continue" and request.writer.output_size == 0:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # it was no answer yet

    # -- answers

    def json(self, value: object, *, status: int = 200) -> web.Response:
        """``value`` (a wire type) as the answer."""
        return web.Response(
            status=status,
            body=encode(value) + b"\n",
            headers=self.headers,
            content_type="application/json",
        )

    def empty(self, status: int = 204) -> web.Response:
        return web.Response(status=status, headers=self.headers)

    async def stream(
        self, content_type: str, *, headers: Mapping[str, str] | None = None
    ) -> web.StreamResponse:
        """Start a streaming answer: the head goes out now, not with the first bytes, because
        clients wait for it. After this, errors can only be told inside the stream."""
        response = self.streamed({**self.headers, "Content-Type": content_type, **(headers or {})})
        await response.prepare(self.request)
        return response

    def streamed(self, headers: Mapping[str, str]) -> web.StreamResponse:
        """A streaming answer that has not begun; a front may have a kind of its own."""
        return web.StreamResponse(headers=headers)

    async def send_all(self, chunks: AsyncIterator[bytes], content_type: str) -> web.StreamResponse:
        """Stream ``chunks``. The first one is fetched before the head is sent, so that what fails
        at once is still a proper error."""
        async with closing(chunks) as iterator:
            first = await anext(iterator, None)
            response = await self.stream(content_type)
            if first is not None:
                await response.write(first)
                async for chunk in iterator:
                    await response.write(chunk)
            return response


@asynccontextmanager
async def closing(items: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Iterate in here: a generator is closed at the end at once, and not when the collector comes
    by. Those of the engine hold processes and mounts."""
    try:
        yield items
    finally:
        if isinstance(items, AsyncGenerator):
            await items.aclose()


def _mib(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size} bytes"
