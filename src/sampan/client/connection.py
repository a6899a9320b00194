"""One connection, one request at a time: send, read the head, hand the body out."""

from __future__ import annotations

import select

from sampan.client.errors import ProtocolError
from sampan.client.http import Head, Reader, body, delimited, read_head

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Iterator


class Connection:
    """A socket to the daemon with its reader. Not for two threads at a time."""

    __slots__ = ("reader", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.reader = Reader(sock)

    def fresh(self) -> bool:
        """Whether an idle connection is still good: nothing to read means that nobody closed it."""
        return not self.reader.pending and not _readable(self.sock)

    def close(self) -> None:
        """Close the socket; a thread that waits in it wakes up and sees the end of input."""
        _shut(self.sock, 2)
        self.sock.close()

    def exchange(self, head: bytes, content: bytes | Iterable[bytes] | None) -> Head:
        """Send a request and read the head of its answer.

        ``content`` that is not bytes is sent in chunks as it is produced. A daemon may refuse in
        the middle of a long body and hang up; its answer is what counts then, so a failure to
        send is forgiven when there is an answer.

        Raises ProtocolError.
        """
        failure: OSError | None = None
        try:
            if content is None or isinstance(content, bytes):
                self.sock.sendall(head + (content or b""))
            else:
                self.sock.sendall(head)
                self._send_chunks(content)
        except (BrokenPipeError, ConnectionResetError) as error:
            failure = error
        try:
            return read_head(self.reader)
        except ConnectionResetError as error:
            raise ProtocolError("the daemon closed the connection") from (failure or error)

    def _send_chunks(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            if not piece:
                continue
            # A daemon that reports progress while it reads would stop reading when nobody takes
            # its words; so they are taken in between.
            if not self.reader.ended and _readable(self.sock):
                self.reader.fill()
            self.sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.sock.sendall(b"0\r\n\r\n")


def _shut(sock: socket.socket, how: int) -> None:
    """Shut the sending side (1), or both (2)."""
    try:  # noqa: SIM105  # contextlib would be imported for this alone: 0.4 ms of every command
        sock.shutdown(how)
    except OSError:
        pass  # the other side has been faster


def _readable(sock: socket.socket) -> bool:
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(0))


class Response:
    """An answer whose body is read as it comes. Close it, or read it to its end."""

    __slots__ = ("_connection", "_parts", "_release", "headers", "status")

    def __init__(
        self,
        connection: Connection,
        head: Head,
        method: str,
        release: Callable[[Connection], None],
    ) -> None:
        self._connection: Connection | None = connection
        self._parts = body(connection.reader, head, method)
        self._release = release if head.reusable and (delimited(head) or method == "HEAD") else None
        self.status = head.status
        self.headers = head.headers

    def iter_raw(self) -> Iterator[bytes]:
        """The body's bytes, in pieces as they arrive. Raises ProtocolError if they end early."""
        try:
            yield from self._parts
        except ConnectionResetError as error:
            raise ProtocolError("the daemon closed the connection") from error
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._release is not None:
                self._release(connection)
            else:
                connection.close()

    def read(self) -> bytes:
        """The whole body."""
        return b"".join(self.iter_raw())

    def json(self) -> object:
        """The whole body as JSON; None when it is empty. Raises ProtocolError."""
        import json

        data = self.read()
        try:
            return json.loads(data) if data.strip() else None
        except ValueError as error:
            raise ProtocolError("the daemon's answer is not JSON") from error

    def iter_lines(self) -> Iterator[bytes]:
        """The body line by line, without line ends; a last line without an end counts too."""
        rest = b""
        for piece in self.iter_raw():
            if b"\n" not in piece:
                rest += piece
                continue
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines
        if rest:
            yield rest

    def iter_json(self) -> Iterator[dict[str, object]]:
        """The objects of a stream of JSON lines, each as soon as it is complete."""
        import json

        decode = json.JSONDecoder().raw_decode
        for line in self.iter_lines():
            text = line.decode("utf-8", "replace").strip()
            while text:
                try:
                    value, end = decode(text)
                except ValueError as error:
                    raise ProtocolError("the daemon sent something that is not JSON") from error
                yield value
                text = text[end:].lstrip()

    def close(self) -> None:
        """Give up what has not been read. Safe to call twice, and from another thread."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Hijacked:
    """A connection that stopped being HTTP: a container's stdio in both directions."""

    __slots__ = ("_connection", "content_type")

    def __init__(self, connection: Connection, head: Head) -> None:
        self._connection = connection
        self.content_type = head.headers.get("content-type", "")

    def fileno(self) -> int:
        """The socket, to wait for."""
        return self._connection.sock.fileno()

    @property
    def pending(self) -> bool:
        """Whether ``recv`` has bytes without waiting, which ``fileno`` would not show."""
        connection = self._connection
        waiting = getattr(connection.sock, "pending", None)
        return connection.reader.pending or bool(waiting and waiting())

    def recv(self, size: int = 65536, /) -> bytes:
        """At least one byte; empty at the end."""
        try:
            return self._connection.reader.some(size)
        except ConnectionResetError:
            return b""

    def sendall(self, data: bytes, /) -> None:
        """Send to the container's stdin."""
        self._connection.sock.sendall(data)

    def close_write(self) -> None:
        """End the container's stdin; its output goes on."""
        _shut(self._connection.sock, 1)

    def close(self) -> None:
        """Close both directions."""
        self._connection.close()

    def __enter__(self) -> Hijacked:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
