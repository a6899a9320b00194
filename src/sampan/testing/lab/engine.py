"""The Engine API of a host's daemon, for callers who count milliseconds."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote


class Refused(Exception):
    """The daemon said no: ``status`` and its sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Api:
    """One daemon's API; every call is a connection of its own, so it may be used by threads."""

    def __init__(self, path: Path, timeout_s: float = 60.0) -> None:
        self._path, self._timeout_s = path, timeout_s

    def call(self, method: str, path: str, body: object = None, **query: object) -> Any:
        """The answer, decoded; filters and the like are given as objects.

        Raises:
            Refused: with the daemon's sentence.
            OSError: nobody answers.
        """
        if query:
            words = (
                f"{name}={quote(v if isinstance(v, str) else json.dumps(v))}"
                for name, v in query.items()
            )
            path += "?" + "&".join(words)
        link = _Connection(self._path, self._timeout_s)
        try:
            sent = None if body is None else json.dumps(body).encode()
            link.request(method, f"/v1.41{path}", sent, {"Content-Type": "application/json"})
            answer = link.getresponse()
            text = answer.read()
        finally:
            link.close()
        found = json.loads(text) if text.strip() else None
        if answer.status >= 400:
            raise Refused(answer.status, str((found or {}).get("message", "")))
        return found
