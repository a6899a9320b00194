"""Whole lines from a monitor's pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sampan.runtime.contract import LogEntry, Stream
from sampan.runtime.log_drivers.joined import PIECE_BYTES, Joiner


def entry(line: bytes, *, stream: Stream = "stdout", at: int = 1) -> LogEntry:
    return LogEntry(at, stream, line, not line.endswith(b"\n"))


def test_a_line_is_whole_however_it_was_cut_and_has_the_time_of_its_beginning() -> None:
    joiner = Joiner()
    assert joiner.feed([entry(b"55", at=1)]) == []
    assert joiner.holds
    assert joiner.feed([entry(b"err\n", stream="stderr", at=2)]) == [
        entry(b"err\n", stream="stderr", at=2)
    ]
    assert joiner.feed([entry(b"71\n", at=3), entry(b"x\n", at=4)]) == [
        entry(b"5571\n", at=1),
        entry(b"x\n", at=4),
    ]
    assert not joiner.holds


def test_the_end_of_a_log_ends_its_last_line() -> None:
    joiner = Joiner()
    assert joiner.feed([entry(b"a\n"), entry(b"no newline")]) == [entry(b"a\n")]
    assert joiner.finish() == [entry(b"no newline\n")]
    assert joiner.finish() == []


@given(st.lists(st.tuples(st.integers(0, 2 * PIECE_BYTES), st.booleans()), max_size=12))
def test_no_byte_is_lost_and_no_piece_is_too_long(sizes: list[tuple[int, bool]]) -> None:
    sent = [b"x" * size + (b"\n" if ends else b"") for size, ends in sizes]
    joiner = Joiner()
    got = [joined for line in sent for joined in joiner.feed([entry(line)])]
    assert all(len(joined.line) <= PIECE_BYTES for joined in got)
    assert all(joined.line.endswith(b"\n") is not joined.partial for joined in got)
    whole = b"".join(joined.line for joined in [*got, *joiner.finish()])
    assert whole.removesuffix(b"\n") == b"".join(sent).removesuffix(b"\n")
