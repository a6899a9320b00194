"""The client: paths, queries and JSON over a pool of connections."""

from __future__ import annotations

import os
from json import dumps, loads

from sampan import __version__
from sampan.client.address import Tls, choose_host, dial, parse, tls_from
from sampan.client.connection import Connection, Hijacked, Response
from sampan.client.errors import ProtocolError, Unreachable, api_error
from sampan.client.http import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    Query = Mapping[str, object]

API_VERSION = (1, 51)
"""The newest version of the Engine API that this client knows."""
MINIMUM_VERSION = (1, 41)
"""The oldest: Docker 20.10's."""
_IDLE_MAX = 16


class Client:
    """Talks to one daemon; may be shared by threads.

    Idle connections are a plain list: ``append`` and ``pop`` are atomic, so there is no lock, and
    a connection belongs to exactly one thread between the two.
    """

    def __init__(
        self,
        host: str | None = None,
        *,
        tls: Tls | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Connects on first use. Raises Unreachable when ``host`` is no address."""
        environ = os.environ if environ is None else environ
        self.host = choose_host(host, environ)
        self.address = parse(self.host, tls or tls_from(environ))
        self._idle: list[Connection] = []
        self._version = _parse_version(environ.get("DOCKER_API_VERSION", ""))
        self._ping: dict[str, str] | None = None

    # -- version ------------------------------------------------------------------------------

    def ping(self) -> dict[str, str]:
        """The headers of ``GET /_ping`` (lower case), asked once. Raises Unreachable."""
        if self._ping is None:
            with self._send("GET", "/_ping", None, None) as response:
                response.read()
                self._ping = response.headers
        return self._ping

    @property
    def version(self) -> tuple[int, int]:
        """The API version in use: the newest that both sides know. Raises Unreachable."""
        if self._version is None:
            theirs = _parse_version(self.ping().get("api-version", "")) or API_VERSION
            if theirs < MINIMUM_VERSION:
                raise Unreachable(
                    f"the daemon at {self.host} speaks API version {theirs[0]}.{theirs[1]}; "
                    f"at least {MINIMUM_VERSION[0]}.{MINIMUM_VERSION[1]} is needed: upgrade it"
                )
            self._version = min(theirs, API_VERSION)
        return self._version

    # -- requests -----------------------------------------------------------------------------

    def get(self, path: str, query: Query | None = None) -> Any:
        """GET, and the answer's JSON. Raises ApiError, Unreachable, ProtocolError."""
        return self.stream("GET", path, query).json()

    def post(
        self,
        path: str,
        query: Query | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """POST, and the answer's JSON (None when it has none). Raises as ``get``."""
        return self.stream("POST", path, query, body, headers).json()

    def put(self, path: str, query: Query | None = None, body: object = None) -> Any:
        """PUT, and the answer's JSON. Raises as ``get``."""
        return self.stream("PUT", path, query, body).json()

    def delete(self, path: str, query: Query | None = None) -> Any:
        """DELETE, and the answer's JSON. Raises as ``get``."""
        return self.stream("DELETE", path, query).json()

    def head(self, path: str, query: Query | None = None) -> dict[str, str]:
        """HEAD, and the answer's headers. Raises as ``get``."""
        response = self.stream("HEAD", path, query)
        response.read()
        return response.headers

    def stream(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Any request; the answer's body is read by the caller, as it comes.

        ``body``: None, bytes, an iterator of bytes (sent in chunks), or anything that JSON can say.
        Raises ApiError when the status is 300 or more, Unreachable, ProtocolError.
        """
        major, minor = self.version
        response = self._send(method, f"/v{major}.{minor}{path}", query, body, headers)
        if response.status >= 300:
            raise _refusal(response)
        return response

    def hijack(
        self,
        path: str,
        query: Query | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Hijacked:
        """POST that turns the connection into a stream in both directions (attach, exec).

        Raises ApiError, Unreachable, ProtocolError.
        """
        major, minor = self.version
        extra = {**(headers or {}), "Connection": "Upgrade", "Upgrade": "tcp"}
        head, content = self._compose("POST", f"/v{major}.{minor}{path}", query, body, extra)
        connection = Connection(dial(self.address))
        try:
            answer = connection.exchange(head, content)
            if answer.status not in (101, 200):
                raise _refusal(Response(connection, answer, "POST", Connection.close))
        except BaseException:
            connection.close()
            raise
        return Hijacked(connection, answer)

    def close(self) -> None:
        """Close the idle connections. The client stays usable."""
        while self._idle:
            self._idle.pop().close()

    # -- below --------------------------------------------------------------------------------

    def _send(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: object,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        head, content = self._compose(method, path, query, body, headers)
        connection, reused = self._take()
        try:
            try:
                answer = connection.exchange(head, content)
            except (ProtocolError, OSError):
                # The daemon may close an idle connection in the very moment of its reuse. Asking
                # again is harmless only where asking changes nothing.
                if not reused or method not in ("GET", "HEAD"):
                    raise
                connection.close()
                connection = Connection(dial(self.address))
                answer = connection.exchange(head, content)
            return Response(connection, answer, method, self._give_back)
        except OSError as error:
            connection.close()
            raise ProtocolError(
                f"lost the daemon at {self.host}: {error.strerror or error}"
            ) from error
        except BaseException:
            connection.close()
            raise

    def _take(self) -> tuple[Connection, bool]:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:
                break  # another thread took the last one
            if connection.fresh():
                return connection, True
            connection.close()
        return Connection(dial(self.address)), False

    def _give_back(self, connection: Connection) -> None:
        if len(self._idle) < _IDLE_MAX:
            self._idle.append(connection)
        else:
            connection.close()

    def _compose(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: object,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[bytes, bytes | Iterable[bytes] | None]:
        """The bytes of a request's head, and its content."""
        lines = [
            f"{method} {path}{encode_query(query)} HTTP/1.1",
            f"Host: {self.address.http_host}",
            f"User-Agent: sampan/{__version__}",
        ]
        content: bytes | Iterable[bytes] | None
        kind = "application/json"
        if body is None:
            content = None
            if method in ("POST", "PUT"):
                lines.append("Content-Length: 0")
        elif isinstance(body, bytes):
            content, kind = body, "application/x-tar"
            lines.append(f"Content-Length: {len(body)}")
        elif isinstance(body, (dict, list, str, int, float)):
            content = dumps(body).encode()
            lines.append(f"Content-Length: {len(content)}")
        else:
            content, kind = body, "application/x-tar"  # type: ignore[assignment]
            lines.append("Transfer-Encoding: chunked")
        extra = dict(headers or {})
        if body is not None:
            extra.setdefault("Content-Type", kind)
        lines += [f"{name}: {value}" for name, value in extra.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode(), content


def encode_query(query: Query | None) -> str:
    """``?a=b&c=d``: None is left out, True is 1, mappings are JSON, lists repeat the name."""
    if not query:
        return ""
    pairs = [
        f"{quote(name)}={quote(_scalar(item))}"
        for name, value in query.items()
        for item in (value if isinstance(value, (list, tuple)) else (value,))
        if item is not None
    ]
    return "?" + "&".join(pairs) if pairs else ""


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return dumps(value) if isinstance(value, dict) else str(value)


def _refusal(response: Response) -> Exception:
    text = response.read().decode("utf-8", "replace").strip()
    message = text
    if text.startswith("{"):
        try:
            message = str(loads(text).get("message", "")) or text
        except ValueError:
            message = text
    return api_error(
        response.status, message or f"the daemon answered with status {response.status}"
    )


def _parse_version(text: str) -> tuple[int, int] | None:
    major, _, minor = text.partition(".")
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None
