"""Progress: bars that redraw in place on a terminal, plain lines elsewhere.

The daemon's messages carry ``id``, ``status`` and ``progressDetail``; each id has one line of the
screen. Redrawing moves the cursor up and down by the number of lines between.
"""

from __future__ import annotations

import sys
import time

from sampan.cli.terminal.console import columns
from sampan.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

_QUIET_S = 0.05
_BAR = 50
_STEPS = ("Downloading", "Extracting", "Pushing", "Loading layer", "Waiting")


class Display:
    """Shows progress messages on a file descriptor (1 or 2)."""

    def __init__(self, fd: int, *, quiet: bool = False) -> None:
        self._out = sys.stderr if fd == 2 else sys.stdout
        self._width = columns(fd)
        self._quiet = quiet
        self._rows: dict[str, int] = {}
        self._last: dict[str, str] = {}
        self._drawn = 0.0

    def show(self, messages: Iterable[Mapping[str, Any]]) -> None:
        """Everything up to the end of the stream. Raises what reading it raises."""
        for message in messages:
            self.message(message)

    def message(self, message: Mapping[str, Any]) -> None:
        """One message."""
        if self._quiet:
            return
        status = str(message.get("status") or message.get("stream") or "")
        key = str(message.get("id") or "")
        if not status:
            return
        if not key or not self._width:
            self._plain(key, status, message)
        else:
            self._redraw(key, status, message)

    def _plain(self, key: str, status: str, message: Mapping[str, Any]) -> None:
        if not self._width and key:
            # Without a terminal only the beginnings and ends are worth a line.
            if message.get("progressDetail") and status in _STEPS:
                return
            if self._last.get(key) == status:
                return
            self._last[key] = status
            self._out.write(f"{key}: {status}\n")
        else:
            self._rows.clear()  # lines below this one are a new picture
            self._out.write(status if "stream" in message else f"{status}\n")
        self._out.flush()

    def _redraw(self, key: str, status: str, message: Mapping[str, Any]) -> None:
        detail = message.get("progressDetail") or {}
        now = time.monotonic()
        counting = bool(detail.get("total")) and detail.get("current", 0) < detail["total"]
        if counting and self._last.get(key) == status and now - self._drawn < _QUIET_S:
            return  # a terminal over a slow line must not hold the download up
        self._drawn = now
        self._last[key] = status
        if key not in self._rows:
            self._rows[key] = len(self._rows)
            self._out.write("\n")
        up = len(self._rows) - self._rows[key]
        line = f"{key}: {status} {bar(detail)}".rstrip()[: self._width - 1]
        self._out.write(f"\x1b[{up}A\r\x1b[2K{line}\r\x1b[{up}B")
        self._out.flush()


def bar(detail: Mapping[str, Any]) -> str:
    """``[====>   ]  1.2MB/4.3MB``; empty when nothing is known."""
    current, total = detail.get("current") or 0, detail.get("total") or 0
    if not current and not total:
        return ""
    if not total:
        return human_size(current)
    filled = min(_BAR, current * _BAR // total)
    arrow = ("=" * filled + ">")[:_BAR]
    return f"[{arrow:{_BAR}}]  {human_size(current)}/{human_size(total)}"


def counted(pieces: Iterable[bytes], report: Callable[[int], None]) -> Iterator[bytes]:
    """Hand pieces on and report how many bytes have gone by, at most 20 times a second."""
    total, due = 0, 0.0
    for piece in pieces:
        yield piece
        total += len(piece)
        now = time.monotonic()
        if now >= due:
            due = now + _QUIET_S
            report(total)
    report(total)


class Counter:
    """``Sending build context  12.3MB`` on one line of a terminal; silent elsewhere."""

    def __init__(self, label: str, fd: int = 2) -> None:
        self._label = label
        self._out = sys.stderr if fd == 2 else sys.stdout
        self.live = columns(fd) > 0
        self._shown = False

    def __call__(self, total: int) -> None:
        """The bytes so far."""
        if self.live:
            self._shown = True
            self._out.write(f"\r\x1b[2K{self._label}  {human_size(total)}")
            self._out.flush()

    def end(self) -> None:
        """Leave the line."""
        if self._shown:
            self._out.write("\n")
            self._out.flush()
