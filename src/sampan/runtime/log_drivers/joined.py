"""Lines as a container wrote them, from the pieces that its monitor wrote down.

The monitor writes what it has read so far, whether or not that is a whole line: where a line is cut
depends on its buffer and on the moment. A log driver gets whole lines, and longer ones than Docker
joins in pieces of that size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sampan.runtime.contract import LogEntry, Stream

PIECE_BYTES = 16 << 10
"""Docker's size of a piece."""


class Joiner:
    """The entries of one container, in their order."""

    def __init__(self) -> None:
        self._held: dict[Stream, tuple[int, bytes]] = {}
        """Time and bytes of lines that have not ended."""

    @property
    def holds(self) -> bool:
        """Whether something that was fed is still held."""
        return bool(self._held)

    def feed(self, entries: Sequence[LogEntry]) -> list[LogEntry]:
        """What has become whole with ``entries``."""
        if not self._held and all(
            not entry.partial and len(entry.line) <= PIECE_BYTES for entry in entries
        ):
            return list(entries)
        return [joined for entry in entries for joined in self._join(entry)]

    def _join(self, entry: LogEntry) -> Iterator[LogEntry]:
        time_ns, line = self._held.pop(entry.stream, (entry.time_ns, b""))
        line += entry.line
        while len(line) > PIECE_BYTES:
            yield LogEntry(time_ns, entry.stream, line[:PIECE_BYTES], True)
            time_ns, line = entry.time_ns, line[PIECE_BYTES:]
        if not entry.partial:
            yield LogEntry(time_ns, entry.stream, line)
        elif line:
            self._held[entry.stream] = (time_ns, line)

    def finish(self) -> list[LogEntry]:
        """The log has ended: lines that had no newline are whole now."""
        held, self._held = self._held, {}
        return [LogEntry(time_ns, stream, line + b"\n") for stream, (time_ns, line) in held.items()]
