"""One request on its way through a router: typed access to what was asked, ways to answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec
from aiohttp import web

from sampan.api import acknowledge
from sampan.api.services import Services
from sampan.api.versions import Version
from sampan.errors import InvalidArgument

T = TypeVar("T")

BODY_LIMIT = 16 << 20
"""Bytes of a JSON body; streams (archives, contexts) are not read as a whole."""
_FALSE = frozenset(("", "0", "no", "false", "none"))

_encode = msgspec.json.Encoder().encode
COMMON_HEADERS: dict[str, str] = {}
"""On every answer; filled in by ``sampan.api.app``."""


class Call:
    """A request, the values of its route's variables, and the parts of the daemon."""

    __slots__ = ("path", "query", "request", "services", "version")

    def __init__(
        self,
        request: web.BaseRequest,
        services: Services,
        version: Version,
        path: Mapping[str, str],
    ) -> None:
        self.request = request
        self.services = services
        self.version = version
        self.path = path
        self.query = request.rel_url.query

    # -- what was asked

    def text(self, name: str, default: str = "") -> str:
        """A query parameter as written."""
        return self.query.get(name, default)

    def flag(self, name: str, default: bool = False) -> bool:
        """A yes or no, read as Docker reads it: everything but 0, no, false, none is yes."""
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
        """The JSON body; ``default`` stands for an absent one.

        Raises:
            InvalidArgument: no body, not JSON, wrong content type, or a field of a wrong type
            (named by its path).
        """
        raw = await self._read()
        if not raw:
            if default is not None:
                return default
            raise InvalidArgument("invalid JSON: got EOF while reading request body")
        content_type = self.request.headers.get("Content-Type", "")
        if content_type and self.request.content_type not in ("application/json", "text/json"):
            raise InvalidArgument(
                f"unsupported Content-Type header ({content_type}): must be 'application/json'"
            )
        try:
            return decoder.decode(raw)
        except msgspec.ValidationError as error:
            raise InvalidArgument(f"invalid JSON: {error}") from error
        except msgspec.DecodeError as error:
            raise InvalidArgument(f"invalid JSON: {error}") from error
        except RecursionError as error:
            raise InvalidArgument("invalid JSON: nested too deeply") from error

    async def _read(self) -> bytes:
        request = self.request
        if not request.can_read_body:
            return b""
        if (request.content_length or 0) <= BODY_LIMIT:
            chunks = bytearray()
            async for chunk in request.content.iter_any():
                chunks += chunk
                if len(chunks) > BODY_LIMIT:
                    break
            else:
                return bytes(chunks)
        raise InvalidArgument(f"the request body is larger than {BODY_LIMIT >> 20} MiB")

    # -- answers

    def json(self, value: object, *, status: int = 200) -> web.Response:
        """``value`` (records of ``sampan.api.types``) as the answer."""
        return json_response(value, status=status)

    def empty(self, status: int = 204) -> web.Response:
        return web.Response(status=status, headers=COMMON_HEADERS)

    async def stream(
        self, content_type: str, *, headers: Mapping[str, str] | None = None
    ) -> web.StreamResponse:
        """Start a streaming answer: the head goes out now, not with the first bytes, because
        clients wait for it. After this, errors can only be told inside the stream."""
        response = acknowledge.stream(
            self.request,
            self.services.store,
            {**COMMON_HEADERS, "Content-Type": content_type, **(headers or {})},
        )
        await response.prepare(self.request)
        return response

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


def json_response(value: object, *, status: int = 200) -> web.Response:
    """A JSON answer, without a ``Call``."""
    return web.Response(
        status=status,
        body=_encode(value) + b"\n",
        headers=COMMON_HEADERS,
        content_type="application/json",
    )


encode = _encode
"""JSON bytes of a wire type."""
