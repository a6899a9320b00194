"""The process of a plugin: ``python -m sampan.testing.plugins.server KINDS SOCKET DIRECTORY``."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from sampan.testing.http_unix import Exchange, UnixHttpServer
from sampan.testing.plugins.kinds import KINDS, Handler, Refusal

TYPE = {"Content-Type": "application/vnd.docker.plugins.v1.2+json"}


class Plugin:
    """Answers calls, after it has written them into ``DIRECTORY/calls``."""

    def __init__(self, kinds: list[str], directory: Path) -> None:
        self._directory = directory
        self._handlers: dict[str, Handler] = {"Plugin.Activate": lambda _: self._manifest}
        self._manifest: dict[str, Any] = {"Implements": []}
        self._lock = threading.Lock()
        for kind in kinds:
            name, make = KINDS[kind]
            self._manifest["Implements"].append(name)
            self._handlers.update(make(directory))

    def answer(self, exchange: Exchange) -> None:
        method = exchange.path.lstrip("/")
        request = json.loads(exchange.body) if exchange.body else None
        self._note(method, request, exchange)
        how = self._behaviour().get(method)
        if isinstance(how, dict):
            exchange.reply(200, json.dumps(how).encode(), TYPE)
        elif how == "hang":
            threading.Event().wait()
        elif how == "die":
            exchange.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            os._exit(3)
        elif how == "garbage":
            exchange.reply(200, b"<html>It works!</html>", {"Content-Type": "text/html"})
        elif how == "error":
            exchange.reply(200, b'{"Err": "the disk is on fire"}', TYPE)
        elif how == "refuse":
            exchange.reply(500, b'{"Err": "the disk is on fire"}', TYPE)
        elif how == "missing" or method not in self._handlers:
            exchange.reply(404, b"404 page not found\n", {"Content-Type": "text/plain"})
        else:
            self._well(exchange, method, request)

    def _well(self, exchange: Exchange, method: str, request: Any) -> None:
        try:
            answer = self._handlers[method](request)
        except Refusal as refusal:
            answer = {"Err": str(refusal)}
        if isinstance(answer, dict):
            exchange.reply(200, json.dumps(answer).encode(), TYPE)
            return
        exchange.send_response(200)
        exchange.send_header("Content-Type", "application/x-json-stream")
        exchange.send_header("Connection", "close")
        exchange.end_headers()
        for chunk in answer:
            exchange.wfile.write(chunk)
            exchange.wfile.flush()
        exchange.close_connection = True

    def _note(self, method: str, request: Any, exchange: Exchange) -> None:
        headers = {name.lower(): value for name, value in exchange.headers.items()}
        line = json.dumps({"method": method, "request": request, "headers": headers})
        with self._lock, (self._directory / "calls").open("a") as file:
            file.write(line + "\n")

    def _behaviour(self) -> dict[str, Any]:
        try:
            said: dict[str, Any] = json.loads((self._directory / "behaviour").read_text())
        except FileNotFoundError:
            return {}
        return said


def main(kinds: str, socket: str, directory: str) -> None:
    Path(socket).unlink(missing_ok=True)
    plugin = Plugin(kinds.split(","), Path(directory))
    UnixHttpServer(Path(socket), plugin.answer).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
