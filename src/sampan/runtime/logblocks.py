"""Reading a log in blocks, from either end. Bytes in, places and lines out: no files, no waiting.

A log may be larger than memory, so nobody holds more than a block of it. ``TailScan`` is fed from
the end towards the beginning and finds only *where* the last lines begin; ``LineCutter`` is then
fed from there on. Each line is looked at twice, and kept never.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sampan.runtime.contract import LogEntry, Stream
from sampan.runtime.logformat import PREFIX, parse, prefix

BLOCK = 64 * 1024
LONGEST_LINE = 1 << 20
"""The monitor cuts lines at 8 KiB. What is longer than this was not written by it, and is left
out rather than collected."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries of a log."""

    streams: frozenset[Stream] = frozenset(("stdout", "stderr"))
    since_ns: int = 0
    until_ns: int = 0
    """0: no bound."""

    def has(self, stamp: int, stream: Stream) -> bool:
        return (
            stream in self.streams
            and stamp >= self.since_ns
            and (not self.until_ns or stamp <= self.until_ns)
        )

    def of(self, lines: Sequence[bytes]) -> list[LogEntry]:
        return parse(lines, self.streams, self.since_ns, self.until_ns)


class LineCutter:
    """Complete lines of the blocks that follow one another from ``offset`` on."""

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset
        """Behind the last line that was given out: where to go on after a restart."""
        self._rest = b""
        self._left_out = 0
        """Bytes of a line so long that it is not kept."""

    def feed(self, block: bytes) -> list[bytes]:
        """Lines without their newlines; what is left over waits for the next block."""
        lines = (self._rest + block).split(b"\n")
        self._rest = lines.pop()
        if lines:
            self.offset += sum(map(len, lines)) + len(lines) + self._left_out
            if self._left_out:
                self._left_out = 0
                del lines[0]
        if len(self._rest) > LONGEST_LINE or (self._left_out and self._rest):
            self._left_out += len(self._rest)
            self._rest = b""
        return lines


class TailScan:
    """Finds where the last ``count`` wanted lines begin. A line in parts counts as one; the newest
    part of a line that is not complete counts as well.

    ``end_of`` begins a file, newest file first; ``feed`` takes its blocks from the end on.
    """

    def __init__(self, count: int, wanted: Wanted) -> None:
        self._left = count
        self._wanted = wanted
        self._nothing_yet = True
        self._file = self._found = -1
        self._newer = (0, 0)
        """(file, offset) of the oldest line that was looked at: where reading would begin."""
        self._ends: dict[int, int] = {}
        self._carry = b""

    @property
    def begin(self) -> tuple[int, int]:
        """(file, offset) to begin to read at, as known by now."""
        return self._newer

    def end(self, file: int) -> int:
        """Behind the last complete line of a file; what follows is being written."""
        return self._ends.get(file, 0)

    def start_file(self, file: int) -> None:
        """Blocks of file number ``file`` follow."""
        self._file, self._carry = file, b""

    def feed(self, block: bytes, offset: int) -> bool:
        """The block at ``offset``, which ends where the one before began. True: it is found."""
        if self._file not in self._ends:
            cut = block.rfind(b"\n")
            if cut < 0:
                return False
            self._ends[self._file] = offset + cut + 1
            if self._nothing_yet and self._newer == (0, 0):
                self._newer = (self._file, offset + cut + 1)
            block = block[:cut]
        if self._left == 0 and self._nothing_yet:
            return True
        pieces = block.split(b"\n")
        starts = offset
        own = len(pieces[0])
        # Of the last line only its head is known for certain, which says all there is to count.
        pieces[-1] = (pieces[-1] + self._carry)[:PREFIX]
        if offset:
            # Its beginning is in the block before this one.
            self._carry = pieces.pop(0)[:PREFIX]
            starts += own + 1
        else:
            self._carry = b""
        at = self._count(pieces)
        if at >= 0:
            if at + 1 < len(pieces):
                before = sum(len(piece) + 1 for piece in pieces[: at + 1])
                self._newer = (self._file, starts + before)
            return True
        if pieces:
            self._newer = (self._file, starts)
        return False

    def _count(self, lines: list[bytes]) -> int:
        """Take what is wanted of ``lines``, newest first; the number of the first that is one too
        many, or -1. One loop, for it sees every line of a log."""
        head = b""
        wanted = partial = False
        for at in range(len(lines) - 1, -1, -1):
            line = lines[at]
            if line[:PREFIX] != head:
                head = line[:PREFIX]
                meaning = prefix(line)
                wanted = meaning is not None and self._wanted.has(meaning[0], meaning[1])
                partial = meaning is not None and meaning[2]
            if not wanted or (partial and not self._nothing_yet):
                continue
            self._nothing_yet = False
            if self._left == 0:
                return at
            self._left -= 1
        return -1
