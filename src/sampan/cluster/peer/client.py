"""``Client`` over TCP and TLS."""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import msgspec
from yarl import URL

from sampan.aio import Clock, SystemClock, deadline
from sampan.cluster.peer.contract import (
    BODY_LIMIT,
    CALL_DEADLINE_S,
    MESSAGE_LIMIT,
    Impostor,
    Incoming,
    NodeRole,
    R,
    Socket,
    Unreachable,
    gather,
)
from sampan.cluster.peer.sockets import HttpSocket, dialler
from sampan.cluster.peer.tls import Tls, WrongPeer, blind
from sampan.cluster.peer.wire import ERROR_HEADER, ERROR_TYPE, from_header, load
from sampan.errors import Internal, SampanError

_IDLE_S = 30.0
"""An idle connection is kept that long: less than the server keeps it."""


class _Stream:
    """``Incoming`` of aiohttp."""

    def __init__(self, address: str, response: aiohttp.ClientResponse) -> None:
        self._address = address
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = {
            name.lower(): value for name, value in response.headers.items()
        }

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(self._address, f"the connection broke: {error}") from error

    async def read(self, limit: int = BODY_LIMIT) -> bytes:
        return await gather(self.chunks(), limit)


class PeerClient:
    """See the contract. ``tls`` may be exchanged under it: see ``Tls.reload``.

    ``anonymous`` instead of ``tls``: somebody who has no certificate yet, and a context that says
    whom to believe (``trusting``, ``blind``).

    ``instead`` tells which addresses are dialled elsewhere: what the others call this host may be
    an address that only they can use, as behind NAT.

    ``clock`` is that of every deadline.
    """

    def __init__(
        self,
        tls: Tls | None = None,
        *,
        anonymous: ssl.SSLContext | None = None,
        instead: Mapping[str, str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        assert (tls is None) != (anonymous is None)
        self._tls = tls
        self._anonymous = anonymous
        self._instead = dict(instead or {})
        self._clock = clock or SystemClock()
        self._session: aiohttp.ClientSession | None = None

    @property
    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,
                    keepalive_timeout=_IDLE_S,
                    use_dns_cache=False,
                    socket_factory=dialler,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            )
        return self._session

    def _context(self, role: NodeRole | None, node_id: str) -> ssl.SSLContext:
        if self._tls is not None:
            return self._tls.client(role, node_id)
        assert self._anonymous is not None
        return self._anonymous

    async def call(
        self,
        address: str,
        path: str,
        request: msgspec.Struct,
        reply: type[R],
        *,
        role: NodeRole | None = "manager",
        node_id: str = "",
        timeout_s: float = CALL_DEADLINE_S,
    ) -> R:
        """Ask ``path`` of the node at ``address``; see the contract."""
        body = msgspec.json.encode(request)
        try:
            async with deadline(self._clock, timeout_s):
                async with self.stream(
                    address,
                    "POST",
                    path,
                    body=body,
                    role=role,
                    node_id=node_id,
                    timeout_s=timeout_s,
                ) as incoming:
                    answer = await incoming.read()
        except TimeoutError as error:
            raise Unreachable(address, f"no answer within {timeout_s:g} s") from error
        return decode_reply(answer, reply, path)

    @asynccontextmanager
    async def stream(
        self,
        address: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | AsyncIterable[bytes] | None = None,
        role: NodeRole | None = "manager",
        node_id: str = "",
        timeout_s: float = CALL_DEADLINE_S,
    ) -> AsyncIterator[Incoming]:
        """Ask, and have the reply as it comes; see the contract."""
        response: aiohttp.ClientResponse | None = None
        try:
            try:
                async with deadline(self._clock, timeout_s):
                    response = await self._http.request(
                        method,
                        _url(self._instead.get(address, address), path, query),
                        headers=dict(headers or {}),
                        data=body,
                        ssl=self._context(role, node_id),
                        allow_redirects=False,
                    )
                    if response.content_type == ERROR_TYPE:
                        raise load(await _Stream(address, response).read(64 * 1024))
            except TimeoutError as error:
                raise Unreachable(address, f"no answer within {timeout_s:g} s") from error
            except (aiohttp.ClientError, OSError) as error:
                raise explain(address, error) from error
            yield _Stream(address, response)
        finally:
            if response is not None:
                # what was read to its end goes back to the pool, the rest is cut off
                if response.content.at_eof():
                    response.release()
                else:
                    response.close()

    async def socket(
        self,
        address: str,
        path: str,
        *,
        role: NodeRole | None = "manager",
        node_id: str = "",
        timeout_s: float = CALL_DEADLINE_S,
    ) -> Socket:
        """Open a channel; see the contract."""
        try:
            async with deadline(self._clock, timeout_s):
                ws = await self._http.ws_connect(
                    _url(self._instead.get(address, address), path, None),
                    ssl=self._context(role, node_id),
                    max_msg_size=MESSAGE_LIMIT,
                    compress=0,
                    timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                )
        except TimeoutError as error:
            raise Unreachable(address, f"no answer within {timeout_s:g} s") from error
        except aiohttp.WSServerHandshakeError as error:
            if error.headers is not None and (said := error.headers.get(ERROR_HEADER)):
                raise from_header(said) from error
            raise Unreachable(address, f"it answered {error.status}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise explain(address, error) from error
        return HttpSocket(ws)

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def decode_reply(body: bytes, kind: type[R], path: str) -> R:
    """The answer of a call as ``kind``.

    Raises:
        Internal: it is something else: the two nodes are of versions that do not fit.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise Internal(f"the other node's answer to {path} is not understood: {error}") from error


def explain(address: str, error: BaseException) -> SampanError:
    """What a failure of the connection means."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, aiohttp.ClientError):  # some of them pose as TLS errors, half made
            cause = cause.__cause__ or _inner(cause)
            continue
        if isinstance(cause, WrongPeer):
            return Impostor(f"refused to talk to {address}: {cause.args[0]}")
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Impostor(
                f"refused to talk to {address}: its certificate is not one of this cluster "
                f"({cause.verify_message})"
            )
        if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
            return Unreachable(
                address, f"it does not accept this node's certificate ({cause.reason})"
            )
        cause = cause.__cause__
    if isinstance(error, aiohttp.ClientConnectorError):
        return Unreachable(address, _why_no_connection(error.os_error))
    return Unreachable(address, str(error) or type(error).__name__)


def _why_no_connection(error: OSError) -> str:
    """asyncio's own text names its functions; the number says what happened."""
    if error.errno == errno.ECONNREFUSED:
        return (
            "connection refused: look whether the daemon runs there, is a manager of a swarm, and "
            "listens on this port"
        )
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT):
        why = os.strerror(error.errno).lower()
        return f"{why}: look whether the address is right and no firewall is in between"
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    return str(error) or "it closed the connection during the handshake"


def _inner(error: BaseException) -> BaseException | None:
    for name in ("certificate_error", "os_error"):
        inner = getattr(error, name, None)
        if isinstance(inner, BaseException) and inner is not error:
            return inner
    return None


def _url(address: str, path: str, query: Mapping[str, str] | None) -> URL:
    url = URL(f"https://{address}{path}", encoded=True)
    return url.with_query(dict(query)) if query else url


async def fetch_pinned(
    address: str, path: str, digest: str, *, timeout_s: float, clock: Clock | None = None
) -> bytes:
    """Download without believing anybody, and believe what has the SHA-256 ``digest`` (hex).

    Raises:
        Impostor: it has another.
        Unreachable
    """
    clock = clock or SystemClock()
    client = PeerClient(anonymous=blind(), clock=clock)
    try:
        async with client.stream(address, "GET", path, timeout_s=timeout_s) as incoming:
            async with deadline(clock, timeout_s):
                found = await incoming.read(64 * 1024)
    except TimeoutError as error:
        raise Unreachable(address, f"no answer within {timeout_s:g} s") from error
    finally:
        await client.close()
    got = hashlib.sha256(found).hexdigest()
    if not hmac.compare_digest(got, digest):
        raise Impostor(f"remote CA does not match fingerprint. Expected: {digest}, got {got}")
    return found
