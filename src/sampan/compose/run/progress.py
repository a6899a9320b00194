"""What the user sees while a plan runs: a line per change, or a block that changes in place."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from sampan.compose.plan.steps import Step

_DOING = {
    "create": ("Creating", "Created"),
    "recreate": ("Recreating", "Recreated"),
    "start": ("Starting", "Started"),
    "stop": ("Stopping", "Stopped"),
    "remove": ("Removing", "Removed"),
    "build": ("Building", "Built"),
    "pull": ("Pulling", "Pulled"),
    "wait": ("Waiting", "Ready"),
    "restart": ("Restarting", "Restarted"),
    "kill": ("Killing", "Killed"),
    "pause": ("Pausing", "Paused"),
    "unpause": ("Unpausing", "Unpaused"),
}


class Progress:
    """Thread-safe. Without a terminal every change is a line of its own."""

    def __init__(
        self, out: IO[str] | None = None, *, mode: str = "auto", color: bool | None = None
    ) -> None:
        """``mode``: ``auto``, ``plain``, ``tty`` or ``quiet``."""
        self._out = out or sys.stderr
        self._live = mode == "tty" or (mode == "auto" and self._out.isatty())
        self._quiet = mode == "quiet"
        self.quiet_images = False
        """Whether what builds and pulls say on their way is left out."""
        self._color = self._live if color is None else color
        self._lock = threading.Lock()
        self._lines: dict[str, str] = {}
        self._drawn = 0
        self._since: dict[int, float] = {}

    def begins(self, step: Step) -> None:
        self._since[step.n] = time.monotonic()
        self._show(step, _DOING[step.verb][0], "36")

    def ends(self, step: Step, note: str = "") -> None:
        took = time.monotonic() - self._since.get(step.n, time.monotonic())
        word = note.capitalize() or _DOING[step.verb][1]
        self._show(step, f"{word:<10} {took:.1f}s", "32")

    def fails(self, step: Step, error: BaseException) -> None:
        self._show(step, f"Error: {error}", "31")

    def skipped(self, step: Step, because: int) -> None:
        self._show(step, f"Not {_DOING[step.verb][1].lower()}: step {because} failed", "33")

    def note(self, text: str) -> None:
        """A line of a build or pull; it scrolls past above the block."""
        if self._quiet or self.quiet_images:
            return
        with self._lock:
            self._erase()
            self._write(text.rstrip("\n") + "\n")
            self._draw()

    def warn(self, text: str) -> None:
        """Shown even when quiet."""
        with self._lock:
            self._erase()
            self._write(self._paint("33", "warning:") + f" {text}\n")
            self._draw()

    def _show(self, step: Step, status: str, color: str) -> None:
        if self._quiet and color != "31":
            return
        kind, _, name = step.target.partition(" ")
        text = f" {kind.capitalize()} {name}  {self._paint(color, status)}"
        with self._lock:
            if not self._live:
                self._write(text + "\n")
                self._flush()
                return
            self._erase()
            self._lines[step.target] = text
            self._draw()

    def _paint(self, color: str, text: str) -> str:
        return f"\x1b[{color}m{text}\x1b[0m" if self._color else text

    def _erase(self) -> None:
        if self._drawn:
            self._write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0

    def _draw(self) -> None:
        if self._live and self._lines:
            import shutil

            columns, rows = shutil.get_terminal_size()
            lines = list(self._lines.values())[-(rows - 2) :]
            # Long lines would wrap and break the count of lines to go back up.
            self._write("".join(f"{line[: columns + 8]}\n" for line in lines))
            self._drawn = len(lines)
        self._flush()

    def _write(self, text: str) -> None:
        with self._reader():
            self._out.write(text)

    def _flush(self) -> None:
        with self._reader():
            self._out.flush()

    @contextmanager
    def _reader(self) -> Iterator[None]:
        """Whoever has read this may go (``| head``): what is under way is carried out all the
        same, and said to nobody."""
        try:
            yield
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._out.fileno())
            os.close(nowhere)
