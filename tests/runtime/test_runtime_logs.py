"""The log format and its reader, from both ends, followed, across rotation."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.runtime import rotate
from sampan.runtime.contract import LogEntry
from sampan.runtime.log_drivers.contract import FileRule
from sampan.runtime.logformat import parse, prefix
from sampan.runtime.logs import LogFiles
from sampan.runtime.runs import LinuxRuns
from sampan.testing.contracts.runs import Bundles

BOTH = frozenset(("stdout", "stderr"))
SECOND = 1_000_000_000
BASE = 1_795_236_000


def line(n: int, text: str = "", *, stream: str = "stdout", flag: str = "F") -> bytes:
    """A line stamped n seconds after 2026-11-21T04:40:00Z."""
    stamp = f"2026-11-21T04:{40 + n // 60:02d}:{n % 60:02d}.000000007+00:00"
    return f"{stamp} {stream} {flag} {text or n}\n".encode()


def stamp(n: int) -> int:
    return (BASE + n) * SECOND + 7


async def lines_of(path: Path, **options: object) -> list[bytes]:
    batches = LogFiles().read(path, **options)  # type: ignore[arg-type]
    return [entry.line async for batch in batches for entry in batch]


def test_a_line_is_understood() -> None:
    (entry,) = parse([line(3, "text").rstrip(b"\n")], BOTH)
    assert entry == LogEntry(stamp(3), "stdout", b"text\n", False)
    (entry,) = parse([line(3, "part", stream="stderr", flag="P").rstrip(b"\n")], BOTH)
    assert entry == LogEntry(stamp(3), "stderr", b"part", True)


def test_other_time_zones_count() -> None:
    east = b"2026-11-21T06:40:00.000000000+02:00 stdout F x"
    found = prefix(east)
    assert found is not None
    assert found[0] == BASE * SECOND


@given(st.binary(max_size=80))
def test_no_bytes_are_too_odd_to_read(data: bytes) -> None:
    parse(data.split(b"\n"), BOTH)


async def test_all_since_until_and_streams(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(
        b"".join(line(n, stream="stderr" if n % 2 else "stdout") for n in range(10)) + b"torn"
    )
    assert await lines_of(path) == [b"%d\n" % n for n in range(10)]
    assert await lines_of(path, since_ns=stamp(8)) == [b"8\n", b"9\n"]
    assert await lines_of(path, until_ns=stamp(1)) == [b"0\n", b"1\n"]
    assert await lines_of(path, streams=frozenset(["stderr"]), tail=2) == [b"7\n", b"9\n"]
    assert await lines_of(path, until_ns=stamp(4), tail=2) == [b"3\n", b"4\n"]
    assert await lines_of(tmp_path / "nosuch") == []
    assert await lines_of(tmp_path / "nosuch", tail=3) == []


@pytest.mark.parametrize("tail", [0, 1, 7, 2999, 3000, 3001, 9000, 100_000])
async def test_the_tail_of_a_long_rotated_log(tmp_path: Path, tail: int) -> None:
    path = tmp_path / "log"
    everything = [line(n % 600, f"{n} {'x' * 60}") for n in range(9000)]
    (tmp_path / "log.2").write_bytes(b"".join(everything[:3000]))
    (tmp_path / "log.1").write_bytes(b"".join(everything[3000:6000]))
    path.write_bytes(b"".join(everything[6000:]))
    found = await lines_of(path, tail=tail)
    assert [int(text.split()[0]) for text in found] == list(range(max(0, 9000 - tail), 9000))
    assert len(await lines_of(path)) == 9000


async def test_a_line_in_parts_is_one_of_the_tail(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(
        line(0) + line(1, "begin ", flag="P") + line(1, "middle ", flag="P") + line(1, "end")
    )
    assert await lines_of(path, tail=1) == [b"begin ", b"middle ", b"end\n"]
    path.write_bytes(line(0) + line(1, "unfinished", flag="P"))
    assert await lines_of(path, tail=1) == [b"unfinished"]
    assert await lines_of(path, tail=2) == [b"0\n", b"unfinished"]


class Following:
    """A followed log and what has been read of it."""

    def __init__(self, path: Path, **options: object) -> None:
        self.lines: list[bytes] = []
        self._end = asyncio.Event()
        self._grew = asyncio.Condition()
        self.task = asyncio.ensure_future(self._run(path, options))  # noqa: TID251

    async def _until_the_end(self) -> AsyncIterator[None]:
        await self._end.wait()
        return
        yield

    async def _run(self, path: Path, options: dict[str, object]) -> None:
        reader = LogFiles().read(path, follow=self._until_the_end(), **options)  # type: ignore[arg-type]
        async for batch in reader:
            async with self._grew:
                self.lines += [entry.line for entry in batch]
                self._grew.notify_all()

    async def have(self, count: int) -> None:
        async with self._grew:
            await self._grew.wait_for(lambda: len(self.lines) >= count)

    async def end(self) -> list[bytes]:
        self._end.set()
        await self.task
        return self.lines


def append(path: Path, *content: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(content))


async def test_following(tmp_path: Path) -> None:
    path = tmp_path / "log"
    append(path, line(0), line(1))
    follower = Following(path, tail=1)
    await follower.have(1)
    append(path, line(2)[:30])
    append(path, line(2)[30:], line(3))
    await follower.have(3)
    append(path, line(4))
    assert await follower.end() == [b"1\n", b"2\n", b"3\n", b"4\n"]


async def test_following_a_log_that_is_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "log"
    follower = Following(path)
    append(path, line(0))
    await follower.have(1)
    assert await follower.end() == [b"0\n"]


async def test_following_across_two_rotations_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    append(path, line(0))
    follower = Following(path)
    await follower.have(1)
    append(path, line(1))
    path.rename(tmp_path / "log.2")
    append(tmp_path / "log.2", line(2))
    append(tmp_path / "log.1", line(3))
    append(path, line(4))
    await follower.have(5)
    assert await follower.end() == [b"%d\n" % n for n in range(5)]


async def test_following_ends_at_until(tmp_path: Path) -> None:
    path = tmp_path / "log"
    append(path, line(0))
    follower = Following(path, until_ns=SECOND * 2_000_000_000)
    await follower.have(1)
    await follower.end()
    past = Following(path, until_ns=1)
    await past.task
    assert past.lines == []


def test_rotation_moves_everything_one_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    ctl = tmp_path / "ctl"
    os.mkfifo(ctl)
    reader = os.open(ctl, os.O_RDONLY | os.O_NONBLOCK)
    for content in (b"first", b"second", b"third"):
        path.write_bytes(content)
        assert rotate.rotate(path, ctl, FileRule(3, 3))
    assert (tmp_path / "log.1").read_bytes() == b"third"
    assert (tmp_path / "log.2").read_bytes() == b"second"
    assert not (tmp_path / "log.3").exists()
    # The daemon died before the order was given: it is given again.
    assert rotate.rotate(path, ctl, FileRule(3, 3))
    assert os.read(reader, 100) == b"2 0 0\n" * 4
    path.write_bytes(b"")
    assert not rotate.rotate(path, ctl, FileRule(3, 3))
    os.close(reader)
    path.write_bytes(b"last")
    assert not rotate.rotate(path, ctl, FileRule(3, 3))


async def test_the_monitor_loses_nothing_over_a_rotation(
    runs: LinuxRuns, bundle: Bundles, tmp_path: Path
) -> None:
    spec = bundle("rot", "cat", open_stdin=True, log_max_bytes=2048, log_max_files=100)
    path = spec.log_path
    assert path is not None
    await runs.create(spec, runtime="crun")
    stream = await runs.attach("rot")
    await runs.start("rot")
    follower = Following(path)
    ctl = tmp_path / "state/runs/rot/ctl"
    for n in range(10):
        text = b"".join(b"%d\n" % i for i in range(n * 200, n * 200 + 200))
        await stream.write(text)
        await follower.have(n * 200 + 200)
        rotate.rotate(path, ctl, FileRule(2048, 100))
    await stream.close_stdin()
    await runs.wait("rot")
    assert await follower.end() == [b"%d\n" % n for n in range(2000)]
    assert (tmp_path / "root/rot.log.2").exists()
    assert await lines_of(path) == [b"%d\n" % n for n in range(2000)]
    await runs.delete("rot")
