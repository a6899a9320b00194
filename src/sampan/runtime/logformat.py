"""The monitor's log format: bytes in, entries out. No files, no waiting.

    2026-11-21T04:52:15.720813487+00:00 stdout F a whole line
    2026-11-21T04:52:15.720813487+00:00 stdout P the beginning of one that goes on

The monitor stamps what it reads in one go with one time, so that the first 45 bytes of many
successive lines are the same: what they mean is worked out once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache

from sampan.runtime.contract import LogEntry, Stream

_STREAMS: dict[bytes, Stream] = {b"stdout": "stdout", b"stderr": "stderr"}
PREFIX = 45
_NANOSECONDS = 1_000_000_000


def parse(
    lines: Iterable[bytes],
    streams: frozenset[Stream],
    since_ns: int = 0,
    until_ns: int = 0,
) -> list[LogEntry]:
    """Entries of complete ``lines`` (without their newlines) that were asked for.

    A line that is not in the format (a file cut off by a full disk) is left out.
    """
    found: list[LogEntry] = []
    append = found.append
    last = b""
    stamp = 0
    stream: Stream = "stdout"
    partial = wanted = False
    for raw in lines:
        if raw[:PREFIX] != last:
            meaning = prefix(raw)
            if meaning is None:
                continue
            stamp, stream, partial = meaning
            last = raw[:PREFIX]
            wanted = stream in streams and stamp >= since_ns and (not until_ns or stamp <= until_ns)
        if wanted:
            append(
                LogEntry(stamp, stream, raw[PREFIX:] if partial else raw[PREFIX:] + b"\n", partial)
            )
    return found


def prefix(raw: bytes) -> tuple[int, Stream, bool] | None:
    """(nanoseconds since the epoch, stream, partial) of a line; None: not in the format."""
    if len(raw) < PREFIX or raw[35:36] != b" " or raw[42:43] != b" " or raw[44:45] != b" ":
        return None
    stream = _STREAMS.get(raw[36:42])
    flag = raw[43:44]
    if stream is None or flag not in (b"F", b"P"):
        return None
    try:
        seconds = _seconds(raw[:19] + raw[29:35])
        nanoseconds = int(raw[20:29])
    except ValueError:
        return None
    return seconds * _NANOSECONDS + nanoseconds, stream, flag == b"P"


@lru_cache(maxsize=64)
def _seconds(moment: bytes) -> int:
    """Lines come in runs of the same second."""
    return int(datetime.fromisoformat(moment.decode("ascii")).timestamp())
