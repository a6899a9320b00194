"""A small HTTP server on a unix socket, for doubles of a daemon that real clients talk to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from urllib.parse import parse_qsl, unquote, urlsplit


class Exchange(BaseHTTPRequestHandler):
    """One request and its answer."""

    protocol_version = "HTTP/1.1"
    server: UnixHttpServer

    def setup(self) -> None:
        super().setup()
        self.client_address = ("unix", 0)

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        self.path = unquote(parts.path)
        self.method = self.command
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.body = self._content()
        self.server.answer(self)

    do_GET = do_POST = do_DELETE = do_PUT = do_HEAD = _handle

    def _content(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """The whole answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.method != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: tests look at what was asked, not at a log."""


class UnixHttpServer(ThreadingMixIn, UnixStreamServer):
    """Calls ``answer`` with every exchange, each connection in a thread of its own."""

    daemon_threads = True
    request_queue_size = 64
    block_on_close = False

    def __init__(self, path: Path, answer: Callable[[Exchange], None]) -> None:
        self.answer = answer
        super().__init__(str(path), Exchange)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up in the middle is no failure of the server's."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]
