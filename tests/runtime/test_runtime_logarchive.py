"""Logs whose complete files are compressed: the same lines, whoever reads them and when."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from sampan.aio import Tasks, in_thread
from sampan.runtime import rotate
from sampan.runtime.contract import LogPlace
from sampan.runtime.log_drivers.contract import FileRule
from sampan.runtime.logarchive import LogFile, compress, rotated
from sampan.runtime.logs import LogFiles
from sampan.testing.clock import FakeClock, settle
from sampan.testing.place import wait_until

COUNT, FILES = 40, 4


def line(n: int) -> bytes:
    return f"2026-11-21T04:{40 + n // 60:02d}:{n % 60:02d}.000000007+00:00 stdout F {n}\n".encode()


def written(path: Path) -> list[Path]:
    """A log in FILES files, oldest first; none is compressed."""
    files = [path.with_name(f"{path.name}.{n}") for n in range(FILES - 1, 0, -1)] + [path]
    for at, file in enumerate(files):
        each = COUNT // FILES
        file.write_bytes(b"".join(line(n) for n in range(at * each, at * each + each)))
        os.utime(file, (1_795_236_000 + at * each + each,) * 2)
    return files


async def numbers(path: Path, **options: object) -> list[int]:
    batches = LogFiles(block=100).read(path, **options)  # type: ignore[arg-type]
    return [int(entry.line) async for batch in batches for entry in batch]


@pytest.mark.parametrize("which", range(1 << (FILES - 1)))
async def test_the_lines_are_the_same_whichever_files_are_compressed(
    tmp_path: Path, which: int
) -> None:
    path = tmp_path / "log"
    for at, file in enumerate(written(path)[:-1]):
        if which >> at & 1:
            compress(file)
    assert len(rotated(path)) == FILES
    assert await numbers(path) == list(range(COUNT))
    for tail in (0, 1, 10, 11, 25, COUNT, 1000):
        assert await numbers(path, tail=tail) == list(range(COUNT))[max(0, COUNT - tail) :]
    since = (1_795_236_000 + 15) * 10**9
    assert await numbers(path, since_ns=since) == list(range(15, COUNT))
    assert await numbers(path, since_ns=since, tail=1000) == list(range(15, COUNT))
    assert set(os.listdir(tmp_path)) == {one.name for one in rotated(path)}


class Follower:
    """Reads as ``logs -f`` does, a step at a time."""

    def __init__(self, path: Path) -> None:
        self._ended, self._grew = asyncio.Event(), asyncio.Event()
        self.seen: list[int] = []
        self._path = path

    async def _end(self) -> AsyncIterator[None]:
        await self._ended.wait()
        return
        yield

    async def run(self) -> None:
        async with aclosing(LogFiles(block=100).read(self._path, follow=self._end())) as batches:
            async for batch in batches:  # type: ignore[attr-defined]
                self.seen += [int(entry.line) for entry in batch]
                self._grew.set()

    async def have(self, count: int) -> None:
        while len(self.seen) < count:
            self._grew.clear()
            await self._grew.wait()

    def end(self) -> None:
        self._ended.set()


async def test_a_follower_goes_on_where_its_file_was_compressed(tmp_path: Path) -> None:
    path, tasks = tmp_path / "log", Tasks()
    path.write_bytes(line(0) + line(1))
    follower = Follower(path)
    reading = tasks.spawn(follower.run(), name="follower")
    await follower.have(2)
    path.rename(tmp_path / "log.1")
    with (tmp_path / "log.1").open("ab") as file:
        file.write(line(2))
    path.write_bytes(line(3))
    compress(tmp_path / "log.1")
    (tmp_path / "log.1.gz").rename(tmp_path / "log.2.gz")
    path.rename(tmp_path / "log.1")
    path.write_bytes(line(4))
    compress(tmp_path / "log.1")
    await follower.have(5)
    follower.end()
    await reading
    assert follower.seen == [0, 1, 2, 3, 4]


async def test_what_was_forwarded_goes_on_behind_its_place_in_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "log"
    files = written(path)

    async def over() -> AsyncIterator[None]:
        return
        yield

    seen: list[int] = []
    places: list[LogPlace] = []
    async for entries, place in LogFiles(block=100).forward(path, None, over()):
        seen.append(int(entries[-1].line))
        places.append(place)
    for file in files[:-1]:
        compress(file)
    for last, place in zip(seen, places, strict=True):
        rest = [
            int(entry.line)
            async for entries, _ in LogFiles(block=100).forward(path, place, over())
            for entry in entries
        ]
        assert rest == list(range(last + 1, COUNT))


def test_rotation_moves_archives_too_and_of_two_the_archive_counts(tmp_path: Path) -> None:
    path, ctl, rule = tmp_path / "log", tmp_path / "ctl", FileRule(3, 4, True)
    os.mkfifo(ctl)
    reader = os.open(ctl, os.O_RDONLY | os.O_NONBLOCK)

    def contents() -> dict[str, bytes]:
        files = [one for one in tmp_path.iterdir() if one != ctl]
        return {
            one.name: gzip.decompress(one.read_bytes()) if one.suffix == ".gz" else one.read_bytes()
            for one in files
        }

    path.write_bytes(b"one")
    assert rotate.rotate(path, ctl, rule)
    compress(tmp_path / "log.1")
    path.write_bytes(b"two")
    assert rotate.rotate(path, ctl, rule)
    assert contents() == {"log.2.gz": b"one", "log.1": b"two"}
    compress(tmp_path / "log.1")
    (tmp_path / "log.1").write_bytes(b"two")  # as if killed before it was removed
    path.write_bytes(b"three")
    assert [one.name for one in rotated(path)] == ["log", "log.1.gz", "log.2.gz"]
    assert rotate.rotate(path, ctl, rule)
    assert contents() == {"log.3.gz": b"one", "log.2.gz": b"two", "log.1": b"three"}
    path.write_bytes(b"four")  # and the oldest goes
    assert rotate.rotate(path, ctl, rule)
    assert contents() == {"log.3.gz": b"two", "log.2": b"three", "log.1": b"four"}
    os.close(reader)


async def a_look(clock: FakeClock) -> None:
    """The next one, until it is over."""
    await clock.advance(rotate.PERIOD_S)
    async with asyncio.timeout(10):
        while not clock.pauses:  # noqa: ASYNC110 - it looks in a thread
            await asyncio.sleep(0)


async def test_a_file_is_compressed_once_the_monitor_has_left_it(tmp_path: Path) -> None:
    path, ctl, clock, tasks = tmp_path / "log", tmp_path / "ctl", FakeClock(), Tasks()
    os.mkfifo(ctl)
    reader = os.open(ctl, os.O_RDONLY | os.O_NONBLOCK)
    logs = {"a": rotate.Rotated(path, ctl, FileRule(10, 3, True))}
    tasks.spawn(rotate.watch(logs, clock), name="watch")
    await settle()
    path.write_bytes(line(0))
    await a_look(clock)
    assert (tmp_path / "log.1").exists()
    for _ in range(3):  # the monitor has not opened the next one: this one may still grow
        await a_look(clock)
        assert not (tmp_path / "log.1.gz").exists()
    path.write_bytes(b"")
    await a_look(clock)
    assert await in_thread(wait_until, lambda: not (tmp_path / "log.1").exists())
    assert gzip.decompress((tmp_path / "log.1.gz").read_bytes()) == line(0)
    assert await numbers(path) == [0]
    await tasks.close()
    os.close(reader)


@pytest.mark.parametrize("cut", [3, 12, 40, -4])
async def test_an_archive_that_is_damaged_is_an_error_that_names_it(
    tmp_path: Path, cut: int
) -> None:
    path = tmp_path / "log"
    oldest = written(path)[0]
    compress(oldest)
    archive = oldest.with_name(f"{oldest.name}.gz")
    archive.write_bytes(archive.read_bytes()[:cut])
    with pytest.raises(OSError, match=r"log\.3\.gz|gzip"):
        await numbers(path)


def test_an_archive_that_cannot_be_made_leaves_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "log")[0]
    before = path.read_bytes()
    (tmp_path / f"{path.name}.gz.new").mkdir()
    with pytest.raises(OSError):  # noqa: PT011 - whatever the file system says
        compress(path)
    assert path.read_bytes() == before


def test_an_archive_made_by_somebody_else_has_no_identity(tmp_path: Path) -> None:
    (tmp_path / "log.1.gz").write_bytes(gzip.compress(line(0)))
    file = LogFile(tmp_path / "log.1")
    assert (file.inode, file.head, file.size()) == (0, line(0)[:64], len(line(0)))
    file.close()
