"""What one node may ask of another, whatever carries it (TLS, or memory in tests).

    server.route("GET", "/v2/{name}/blobs/{digest}", handler, allow=Allow.NODES)
    server.call("/ca/renew", RenewRequest, handler, allow=Allow.NODES)       typed, small
    server.socket("/session", handler, allow=Allow.NODES)                    messages both ways

    await client.call(address, "/ca/renew", RenewRequest(...), RenewReply)
    async with client.stream(address, "GET", "/v2/...") as reply: ...
    socket = await client.socket(address, "/session")

Who calls is never said by the caller: it is read from its verified certificate. What a handler
raises of ``sampan.errors`` is raised again, as the same category with the same sentence, in the
client; anything else becomes ``Internal`` there and a traceback in the log here.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

import msgspec

from sampan.errors import Forbidden, InvalidArgument, Unavailable

T = TypeVar("T")
B = TypeVar("B")
R = TypeVar("R", bound=msgspec.Struct)

NodeRole = Literal["worker", "manager"]

DEFAULT_PORT = 2377
CALL_DEADLINE_S = 10.0
BODY_LIMIT = 8 * 1024 * 1024
"""Bytes that a typed request or reply, or ``read``, may have."""
STRANGERS_BODY_LIMIT = 64 * 1024
"""The same of a request that anybody may make."""
MESSAGE_LIMIT = 64 * 1024 * 1024
"""Bytes of one message of a socket: a full set of assignments may be large."""


class SocketClosed(Unavailable):
    """The channel is gone: by either side's ``close``, or because the connection broke."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the connection to the other node was closed")


class Unreachable(Unavailable):
    """No answer came from the node at ``address``, in time or at all."""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"cannot reach the node at {address}: {why}")
        self.address, self.why = address, why


class Impostor(Forbidden):
    """The other side proved to be somebody, but not the one that was asked for."""


class NotMember(Forbidden):
    """The certificate is good, but its holder was removed from the cluster."""

    def __init__(self, message: str = "this node is no longer a member of the cluster") -> None:
        super().__init__(message)


class Allow(enum.Enum):
    """Who may call a route."""

    ANYONE = "anyone"
    """Also callers without a certificate; ``Request.identity`` is then None."""
    NODES = "nodes"
    """Members of this cluster."""
    MANAGERS = "managers"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a verified certificate says of its holder."""

    node_id: str
    role: NodeRole
    cluster_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRequest:
    """One request as a handler sees it."""

    method: str
    path: str
    match: Mapping[str, str] = field(default_factory=dict)
    """What the ``{names}`` of the route's path stand for, decoded."""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    identity: Identity | None = None
    remote: str = ""
    """IP address that the connection comes from."""
    body: AsyncIterator[bytes] = field(default_factory=lambda: _stream(()))

    @property
    def caller(self) -> Identity:
        """Who asks, on routes that only nodes may call.

        Raises:
            Forbidden: nobody known.
        """
        if self.identity is None:
            raise Forbidden("this call needs the certificate of a node of this cluster")
        return self.identity

    async def read(self, limit: int = BODY_LIMIT) -> bytes:
        """The whole body.

        Raises:
            InvalidArgument: it has more than ``limit`` bytes.
        """
        return await gather(self.body, limit)

    async def decode(self, kind: type[T], limit: int = BODY_LIMIT) -> T:
        """The body as ``kind``.

        Raises:
            InvalidArgument: it is something else, or has more than ``limit`` bytes.
        """
        try:
            return msgspec.json.decode(await self.read(limit), type=kind)
        except msgspec.DecodeError as error:  # ValidationError is one
            raise InvalidArgument(f"{self.path}: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a handler of ``route`` answers. A stream is closed (``aclose``) when it has been sent
    or the caller has gone, if it has that method."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | AsyncIterable[bytes] = b""


class Incoming(Protocol):
    """The reply of a stream, while it comes in."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body, piece by piece. Not reading holds the sender back.

        Raises:
            Unreachable: the connection broke before the end.
        """
        ...

    async def read(self, limit: int = BODY_LIMIT) -> bytes:
        """The whole body, of at most ``limit`` bytes."""
        ...


class Socket(Protocol):
    """A channel of messages in both directions, in order. One reader and any number of senders."""

    async def send(self, message: bytes) -> None:
        """Send one message; waits while the other side is slow.

        Raises:
            SocketClosed
        """
        ...

    async def receive(self) -> bytes:
        """Wait for the next message.

        Raises:
            SocketClosed: there will be none. Said again on every further call.
        """
        ...

    async def close(self, reason: str = "") -> None:
        """End it, for both sides. Safe to repeat; messages sent before are still delivered if the
        connection lives."""
        ...


Handler = Callable[[PeerRequest], Awaitable[Reply]]
CallHandler = Callable[[PeerRequest, B], Awaitable[msgspec.Struct]]
SocketHandler = Callable[[PeerRequest, Socket], Awaitable[None]]


class Server(Protocol):
    """Where the parts of a node register what they answer, before it starts."""

    def route(self, method: str, path: str, handler: Handler, *, allow: Allow) -> None:
        """Answer ``method path``. ``{name}`` in ``path`` stands for one segment,
        ``{name:path}`` for one or more."""
        ...

    def call(self, path: str, request: type[B], handler: CallHandler[B], *, allow: Allow) -> None:
        """Answer ``POST path``, whose body is a ``request``, with a struct."""
        ...

    def socket(self, path: str, handler: SocketHandler, *, allow: Allow) -> None:
        """Take sockets on ``path``. The socket is closed when the handler ends; an error that it
        raises travels as the reason."""
        ...

    async def disconnect(self, node_id: str) -> None:
        """Close every connection of a node, because it is no longer what its certificate says."""
        ...


class Client(Protocol):
    """How a node asks others. ``address`` is ``host:port``.

    ``role`` is what the other side must be by its certificate (None: any node), ``node_id`` who.
    What answers but is not that raises ``Impostor`` before anything was sent.
    ``timeout_s`` runs until the reply (of ``stream``: its head; of ``socket``: the open channel).
    All raise ``Unreachable`` where nothing answers.
    """

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
    ) -> R: ...

    def stream(
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
    ) -> AbstractAsyncContextManager[Incoming]: ...

    async def socket(
        self,
        address: str,
        path: str,
        *,
        role: NodeRole | None = "manager",
        node_id: str = "",
        timeout_s: float = CALL_DEADLINE_S,
    ) -> Socket: ...

    async def close(self) -> None:
        """Close every connection; sockets too."""
        ...


async def gather(chunks: AsyncIterator[bytes], limit: int) -> bytes:
    """All of ``chunks`` as one.

    Raises:
        InvalidArgument: more than ``limit`` bytes came.
    """
    found = bytearray()
    async for chunk in chunks:
        found += chunk
        if len(found) > limit:
            raise InvalidArgument(f"more than the {limit} bytes that are allowed here")
    return bytes(found)


async def _stream(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
