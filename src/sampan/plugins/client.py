"""One plugin as a server: a connection and a request a call.

Connections are not kept. On a unix socket a new one costs microseconds, and a kept one that turns
out to be dead leaves open whether the plugin has seen the request.

*What is tried again*: only connecting. A plugin that starts a moment later than the daemon, or that
is being restarted, is waited for; where it listens is looked up anew each time. A request that was
sent is never sent twice: Docker does so, and a plugin that dies in ``RequestAddress`` gives out two
addresses then.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any, TypeVar

import aiohttp
import msgspec

from sampan.aio import Clock, in_thread, within
from sampan.config import PluginSettings
from sampan.plugins.discovery import Address, Directories, tls_context
from sampan.plugins.errors import BadAnswer, NoAnswer, NoSuchPlugin, Unreachable
from sampan.plugins.wire import ANSWER_LIMIT, MEDIA_TYPE, Answer, decode, encode

log = logging.getLogger(__name__)

A = TypeVar("A", bound=Answer)
T = TypeVar("T")

BROKE = "the plugin broke the connection off in the middle of its answer"
HOST = "plugin.moby.localhost"
"""What the ``Host`` header says on a unix socket; plugins see the same from Docker."""


def pause_before(retry: int, elapsed_s: float, limit_s: float) -> float | None:
    """Seconds to wait before trying to connect again, doubling from 1; None: give up.

    ``retry`` counts from 0. Gives up rather than end its wait at ``limit_s`` or later.
    """
    pause = min(2.0**retry, limit_s)
    return None if elapsed_s + pause >= limit_s else pause


class PluginClient:
    """Calls to the plugin ``name``, wherever ``directories`` has it at the time."""

    def __init__(
        self, name: str, directories: Directories, clock: Clock, settings: PluginSettings
    ) -> None:
        self.name = name
        self._directories = directories
        self._clock = clock
        self._settings = settings

    async def call(
        self,
        method: str,
        request: msgspec.Struct | None,
        reply: type[A],
        *,
        patient: bool = True,
    ) -> A:
        """Ask and read the answer. ``method`` is ``KIND.METHOD``. ``patient`` False: nobody has
        named this plugin, and who asks all of them does not wait for one that is not there.

        Raises:
            Unreachable: it takes no connections, for ``connect_s`` when ``patient``.
            NoAnswer: it took longer than ``answer_s``, or ended before its answer did.
            BadAnswer, Refused, NoSuchMethod: see ``wire.decode``.
            BadPluginFile: where it listens cannot be read.
        """
        body = encode(request)
        status, answer = await self._patiently(
            method, lambda: self._exchange(method, body), self._settings.connect_s * patient
        )
        if len(answer) > ANSWER_LIMIT:
            problem = f"the answer is larger than {ANSWER_LIMIT >> 20} MiB"
            raise BadAnswer(self.name, method, problem)
        return decode(self.name, method, status, answer, reply)

    async def _exchange(self, method: str, body: bytes) -> tuple[int, bytes]:
        async with await self._session() as session, _post(session, method, body) as response:
            return response.status, await _read(response)

    @asynccontextmanager
    async def stream(
        self, method: str, request: msgspec.Struct
    ) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """Ask and have the answer's body as it comes, however long it goes on.

        Raises:
            as ``call``, which waits for the head only; while iterating: NoAnswer.
        """
        body = encode(request)
        async with AsyncExitStack() as stack:
            response = await self._patiently(
                method, lambda: self._open(stack, method, body), self._settings.connect_s
            )
            if response.status != 200:
                decode(self.name, method, response.status, await _read(response), Answer)
            chunks = self._chunks(method, response)
            stack.push_async_callback(chunks.aclose)
            yield chunks

    async def _open(
        self, stack: AsyncExitStack, method: str, body: bytes
    ) -> aiohttp.ClientResponse:
        async with AsyncExitStack() as undo:
            session = await undo.enter_async_context(await self._session())
            response = await undo.enter_async_context(_post(session, method, body))
            stack.push_async_callback(undo.pop_all().aclose)
            return response

    async def _chunks(
        self, method: str, response: aiohttp.ClientResponse
    ) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise NoAnswer(self.name, method, BROKE) from error

    async def _patiently(
        self, method: str, attempt: Callable[[], Coroutine[Any, Any, T]], connect_s: float
    ) -> T:
        """``attempt`` until it has connected, for at most ``connect_s``."""
        started = self._clock.monotonic()
        for retry in count():
            try:
                return await within(self._clock, self._settings.answer_s, attempt())
            except TimeoutError:
                problem = f"no answer within {self._settings.answer_s:g} s"
                raise NoAnswer(self.name, method, problem) from None
            except (aiohttp.ClientConnectorError, NoSuchPlugin) as error:
                elapsed = self._clock.monotonic() - started
                pause = pause_before(retry, elapsed, connect_s)
                reason = _reason(error)
                if pause is None:
                    raise Unreachable(
                        self.name, method, f"{reason}: is the plugin running?"
                    ) from error
                log.warning('plugin "%s": %s, trying again in %g s', self.name, reason, pause)
                await self._clock.sleep(pause)
            except (aiohttp.ClientError, OSError) as error:
                raise NoAnswer(self.name, method, BROKE) from error
        raise AssertionError("the loop has no end")

    async def _session(self) -> aiohttp.ClientSession:
        address, tls = await in_thread(self._find)
        connector: aiohttp.BaseConnector
        if address.socket:
            connector = aiohttp.UnixConnector(address.socket, force_close=True)
            base = f"http://{HOST}"
        else:
            connector = aiohttp.TCPConnector(force_close=True, use_dns_cache=False)
            if tls is not None:
                connector = aiohttp.TCPConnector(force_close=True, use_dns_cache=False, ssl=tls)
            base = f"{'http' if tls is None else 'https'}://{address.host}"
        return aiohttp.ClientSession(
            base,
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept-Encoding", "Content-Type"),
        )

    def _find(self) -> tuple[Address, ssl.SSLContext | None]:
        address = self._directories.find(self.name)
        return address, None if address.tls is None else tls_context(self.name, address.tls)


def _post(
    session: aiohttp.ClientSession, method: str, body: bytes
) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
    headers = {"Accept": MEDIA_TYPE}
    if body:
        headers["Content-Type"] = MEDIA_TYPE
    return session.post(f"/{method}", data=body, headers=headers, allow_redirects=False)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, or one byte more of it than ``ANSWER_LIMIT``."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > ANSWER_LIMIT:
            break
    return bytes(body[: ANSWER_LIMIT + 1])


def _reason(error: aiohttp.ClientConnectorError | NoSuchPlugin) -> str:
    if isinstance(error, NoSuchPlugin):
        return "its socket and its specification file are gone"
    return f"cannot connect: {error.strerror or error}"
