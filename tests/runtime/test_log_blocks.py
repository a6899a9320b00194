"""Reading a log by blocks: the tail is the end of all, whatever the blocks, and holds no more than
one of them."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.runtime import logs
from sampan.runtime.contract import LogEntry, Stream
from sampan.runtime.logblocks import BLOCK, LONGEST_LINE, LineCutter
from sampan.runtime.logs import LogFiles

BOTH: frozenset[Stream] = frozenset(("stdout", "stderr"))
LINE = st.tuples(
    st.integers(0, 59), st.sampled_from(["stdout", "stderr"]), st.sampled_from("FFFP"), st.text()
)


def encode(lines: list[tuple[int, str, str, str]]) -> list[bytes]:
    return [
        f"2026-11-21T04:40:{second:02d}.000000007+00:00 {stream} {flag} ".encode()
        + text.replace("\n", "").encode()
        + b"\n"
        for second, stream, flag, text in lines
    ]


def last(entries: list[LogEntry], count: int) -> list[LogEntry]:
    """What the tail is by its meaning: the newest lines, each with all its parts."""
    taken: list[LogEntry] = []
    for at, entry in enumerate(reversed(entries)):
        if not entry.partial or at == 0:
            count -= 1
            if count < 0:
                break
        taken.append(entry)
    return taken[::-1]


@given(
    files=st.lists(st.lists(LINE, max_size=12), min_size=1, max_size=4),
    torn=st.binary(max_size=80).filter(lambda data: b"\n" not in data),
    count=st.integers(0, 50),
    block=st.integers(1, 300),
    streams=st.sampled_from([BOTH, frozenset(["stdout"]), frozenset(["stderr"])]),
    since=st.integers(0, 59),
)
def test_the_tail_is_the_end_of_all(
    files: list[list[tuple[int, str, str, str]]],
    torn: bytes,
    count: int,
    block: int,
    streams: frozenset[Stream],
    since: int,
) -> None:
    async def check() -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "log"
            for number, lines in enumerate(files):
                name = f"log.{number}" if number else "log"
                rest = torn if not number else b""
                path.with_name(name).write_bytes(b"".join(encode(lines)) + rest)
            since_ns = (1_795_236_000 + since) * 10**9

            async def read(tail: int | None, size: int) -> list[LogEntry]:
                batches = LogFiles(block=size).read(
                    path, tail=tail, streams=streams, since_ns=since_ns
                )
                return [entry async for batch in batches for entry in batch]

            everything = await read(None, BLOCK)
            assert await read(None, block) == everything
            assert await read(count, block) == last(everything, count)

    asyncio.run(check())


@given(st.binary(), st.integers(1, 40))
def test_lines_are_cut_whatever_the_blocks(data: bytes, block: int) -> None:
    cutter, found = LineCutter(7), []
    for at in range(0, len(data), block):
        found += cutter.feed(data[at : at + block])
        assert cutter.offset == 7 + (data[: at + block].rfind(b"\n") + 1)
    assert found == data.split(b"\n")[:-1]


def test_a_line_without_an_end_is_not_collected() -> None:
    cutter = LineCutter()
    for _ in range(40):
        assert cutter.feed(b"x" * (LONGEST_LINE // 8)) == []
        assert len(cutter._rest) <= LONGEST_LINE
    assert cutter.feed(b"y\nshort\nnext") == [b"short"]
    assert cutter.offset == 40 * (LONGEST_LINE // 8) + len(b"y\nshort\n")


@contextmanager
def on_other_threads_only() -> Iterator[list[str]]:
    """Notes who reads: nothing of a log may be read by the thread of the loop."""
    loop, wrong = threading.current_thread(), []
    original = logs._Cursor._next

    def watched(self: logs._Cursor) -> list[bytes] | None:
        if threading.current_thread() is loop:
            wrong.append("read on the loop")
        return original(self)

    logs._Cursor._next = watched  # type: ignore[method-assign]
    try:
        yield wrong
    finally:
        logs._Cursor._next = original  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """7 MB in two files, a line in ten of stderr."""
    path = tmp_path_factory.mktemp("large") / "log"
    for name in ("log.1", "log"):
        with path.with_name(name).open("wb") as out:
            for n in range(30_000):
                stream = "stderr" if n % 10 == 0 else "stdout"
                second = n % 60
                out.write(
                    b"2026-11-21T04:40:%02d.000000007+00:00 %s F %s\n"
                    % (second, stream.encode(), b"x" * 70)
                )
    return path


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"tail": 100_000_000}, 60_000),
        ({"tail": 100, "since_ns": 1 << 62}, 0),
        ({"tail": 5_000, "streams": frozenset(["stderr"])}, 5_000),
        ({}, 60_000),
    ],
)
async def test_a_large_log_is_held_a_block_at_a_time(
    large: Path, options: dict[str, object], count: int
) -> None:
    with on_other_threads_only() as wrong:
        tracemalloc.start()
        try:
            seen = 0
            async for batch in LogFiles().read(large, **options):  # type: ignore[arg-type]
                assert len(batch) * 100 < 2 * BLOCK
                seen += len(batch)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert seen == count
    assert peak < 24 * BLOCK, "a few blocks, and what they are made into"
    assert not wrong


async def test_a_reader_that_is_given_up_comes_back_soon(large: Path) -> None:
    """The files are closed, and no thread goes on with them."""
    reader = LogFiles().read(large, tail=100, since_ns=1 << 62)

    async def first() -> None:
        async for _ in reader:
            pass

    before = threading.active_count()
    task = asyncio.ensure_future(first())  # noqa: TID251 - a test's own
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert threading.active_count() <= before + 1


async def test_reading_ends_although_the_container_writes_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    line = encode([(1, "stdout", "F", "x" * 200)])[0]
    path.write_bytes(line * 2000)
    seen = 0
    for tail in (None, 1500):
        async for batch in LogFiles(block=4096).read(path, tail=tail):
            seen += len(batch)
            with path.open("ab") as writer:
                writer.write(line * 40)
            assert seen < 20_000, "it reads what is written after it has begun"


async def test_forwarding_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "log"
    numbered = encode([(n % 60, "stdout", "F", str(n)) for n in range(3000)])

    async def over() -> object:
        nothing: tuple[None, ...] = ()
        for item in nothing:
            yield item

    async def take(place: object, at_most: int) -> tuple[list[bytes], object]:
        found: list[bytes] = []
        batches = LogFiles(block=1000).forward(path, place, over())  # type: ignore[arg-type]
        async for entries, behind in batches:
            found += [entry.line for entry in entries]
            place = behind
            if len(found) >= at_most:
                break
        return found, place

    path.write_bytes(b"".join(numbered[:1000]))
    found, place = await take(None, 300)
    assert 300 <= len(found) < 1000
    # Rotated, and rotated again, before anybody goes on.
    path.rename(tmp_path / "log.2")
    (tmp_path / "log.1").write_bytes(b"".join(numbered[1000:2000]))
    path.write_bytes(b"".join(numbered[2000:]))
    more, place = await take(place, 10_000)
    assert found + more == [b"%d\n" % n for n in range(3000)]
    assert not await LogFiles().behind(path, place)  # type: ignore[arg-type]
    with path.open("ab") as writer:
        writer.write(numbered[0])
    assert await LogFiles().behind(path, place)  # type: ignore[arg-type]
    assert (await take(place, 10))[0] == [b"0\n"]
    # What was there is gone, and its inode may be another file's: from the oldest there is.
    path.unlink()
    (tmp_path / "log.1").unlink()
    (tmp_path / "log.2").unlink()
    path.write_bytes(b"".join(numbered[5:8]))
    assert (await take(place, 10))[0] == [b"5\n", b"6\n", b"7\n"]
