"""Merged logs of several containers: a prefix and a colour each, lines never torn apart."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import IO

from sampan.client import Client, Response, containers, frames
from sampan.errors import SampanError

_COLORS = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")


class Merger:
    """Writes lines of many sources to one stream. Thread-safe."""

    def __init__(
        self,
        out: IO[str],
        *,
        prefix: bool = True,
        color: bool = False,
        timestamps: bool = False,
    ) -> None:
        """``timestamps``: each line begins with the time when it came."""
        self._out = out
        self._prefix = prefix
        self._color = color
        self._timestamps = timestamps
        self._lock = threading.Lock()
        self._width = 0
        self._names: dict[str, str] = {}

    def introduce(self, names: Iterable[str]) -> None:
        """Known before the first line, so that the prefixes align."""
        with self._lock:
            for name in names:
                if name not in self._names:
                    self._names[name] = _COLORS[len(self._names) % len(_COLORS)]
                self._width = max(self._width, len(name))

    def line(self, name: str, text: str) -> None:
        """One line of ``name``."""
        self.introduce([name])
        with self._lock:
            lead = f"{name.ljust(self._width)} | " if self._prefix else ""
            if self._color and lead:
                lead = f"\x1b[{self._names[name]}m{lead}\x1b[0m"
            if self._timestamps:
                lead += f"{datetime.now(UTC).isoformat().replace('+00:00', 'Z')} "
            self._out.write(f"{lead}{text}\n")
            self._out.flush()

    def pump(self, name: str, response: Response, tty: bool) -> None:
        """Copy a whole log stream; ends when it ends or is closed from elsewhere."""
        rest: dict[int, bytes] = {}
        try:
            for stream, data in frames.split(response.iter_raw(), tty):
                *lines, rest[stream] = (rest.get(stream, b"") + data).split(b"\n")
                for line in lines:
                    self.line(name, _decoded(line))
        except (SampanError, OSError, ValueError) as error:
            self.line(name, f"(log ended: {error})")
        for line in rest.values():
            if line:
                self.line(name, _decoded(line))


def _decoded(line: bytes) -> str:
    return line.rstrip(b"\r").decode("utf-8", "replace")


def is_tty(client: Client, container: str) -> bool:
    """Whether its output comes without frames."""
    return bool(containers.inspect(client, container)["Config"].get("Tty"))
