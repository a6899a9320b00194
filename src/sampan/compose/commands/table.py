"""Aligned columns, as the docker command prints them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence

from sampan.units import span_words


def render(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns separated by at least three spaces; the last one is not padded."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "".join(
        "   ".join([*(c.ljust(w) for c, w in zip(line[:-1], widths, strict=False)), line[-1]])
        + "\n"
        for line in lines
    )


def ago(seconds: float, now: float | None = None) -> str:
    """``3 minutes ago`` for a time in seconds since the epoch."""
    passed = (time.time() if now is None else now) - seconds
    return f"{span_words(max(0.0, passed))} ago"


def print_lines(items: Iterable[object]) -> None:
    """One item a line on the standard output."""
    sys.stdout.write("".join(f"{item}\n" for item in items))
