"""What the disk has: simulated power cuts, a disk that is slow, and one that fails."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from sampan.errors import Internal
from sampan.store import redo
from sampan.store.contract import StoreFailed, Transaction
from sampan.store.database import DatabaseStore, open_store
from sampan.store.records import Volume
from sampan.store.syncing import GroupCommit
from sampan.store.tables import declared
from sampan.testing.contracts.store import volume

State = dict[str, Volume]


class Disk:
    """What of the log would be there after a power cut: each file as of its last sync."""

    def __init__(self) -> None:
        self.synced: dict[str, bytes] = {}
        self.syncs = 0

    def sync(self, descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        content = Path(path).read_bytes()
        os.fdatasync(descriptor)
        self.synced[path] = content
        self.syncs += 1

    def cut(self, database: Path, target: Path, dice: random.Random) -> None:
        """Leave in ``target`` what a power cut might: of what was never synced any part, in front
        of what was there before (the zeros of blocks that nothing was written to), or of nothing
        or anything."""
        for thread in threading.enumerate():
            if thread.name == "store-checkpoint":
                thread.join()  # SQLite's own power cuts are SQLite's tests'
        shutil.copytree(database.parent, target)
        for path in redo.segments(target / database.name):
            whole = path.read_bytes()
            synced = self.synced.get(str(database.parent / path.name), b"")
            kept = len(synced.rstrip(b"\0"))
            end = dice.randint(kept, len(whole.rstrip(b"\0")))
            behind = dice.choice((b"", synced[end:], dice.randbytes(7), dice.randbytes(40)))
            path.write_bytes(whole[:end] + behind)


def identity_of(database: Path) -> bytes:
    """As the head of a log's first segment has it."""
    return redo.segments(database)[0].read_bytes()[8:24]


def put(store: DatabaseStore, name: str, mountpoint: str = "/data") -> None:
    store.transact(lambda tx: tx.volumes.put(volume(name, mountpoint)))


@pytest.mark.parametrize("seed", range(4))
async def test_what_was_durable_survives_and_the_rest_is_whole(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    disk = Disk()
    path = tmp_path / "live" / "sampan.db"
    store = open_store(path, sync=disk.sync, segment_bytes=1500)
    history: list[State] = [dict(store.volumes)]
    acknowledged = 0
    for n in range(60):

        def change(tx: Transaction, n: int = n) -> None:
            # Two records a transaction: half of one would show.
            tx.volumes.put(volume("counter", str(n)))
            tx.volumes.put(volume(f"v{dice.randrange(20)}", str(n)))
            tx.volumes.delete(f"v{dice.randrange(20)}")

        store.transact(change)
        history.append(dict(store.volumes))
        if dice.random() < 0.3:
            await store.durable()
            acknowledged = store.committed
        if dice.random() < 0.3:
            promised = acknowledged
            target = tmp_path / f"cut{n}"
            disk.cut(path, target, dice)
            after = open_store(target / path.name)
            assert promised <= after.committed <= store.committed
            assert dict(after.volumes) == history[after.committed]
            after.close()
    store.close()
    assert disk.syncs > 0


def test_every_end_of_the_log_is_a_whole_number_of_transactions(tmp_path: Path) -> None:
    path = tmp_path / "live" / "sampan.db"
    store = open_store(path)
    for n in range(3):
        put(store, str(n))
    (segment,) = redo.segments(path)
    whole = segment.read_bytes().rstrip(b"\0")
    identity = identity_of(path)
    seen = set()
    for end in range(len(whole) + 1):
        for garbage in (b"", b"\x00" * 30, b"\xff" * 30):
            found = tmp_path / segment.name
            found.write_bytes(whole[:end] + garbage)
            numbers = [number for number, _ in redo.replay([found], 0, identity)]
            assert numbers == list(range(1, len(numbers) + 1))
            assert end < len(whole) or len(numbers) == 3
            seen.add(len(numbers))
    assert seen == {0, 1, 2, 3}
    store.close()


def test_a_segment_whose_predecessor_lost_its_end_counts_for_nothing(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(redo.encode(1, [("volumes", "a", b"{}")]))
    two.write_bytes(redo.encode(3, [("volumes", "c", b"{}")]))
    assert [number for number, _ in redo.replay([one, two], 0)] == [1]


async def test_a_slow_disk_holds_up_those_who_wait_and_nobody_else(tmp_path: Path) -> None:
    go, syncs = threading.Event(), 0

    def slow(descriptor: int) -> None:
        nonlocal syncs
        go.wait()
        os.fdatasync(descriptor)
        syncs += 1

    store = open_store(tmp_path / "sampan.db", sync=slow)
    for n in range(50):
        put(store, str(n))
    waiting = [
        asyncio.ensure_future(store.durable(n))  # noqa: TID251 - a test's own
        for n in range(1, 51)
    ]
    await asyncio.sleep(0)
    assert len(store.volumes) == 50
    assert not any(one.done() for one in waiting)
    waiting[3].cancel()
    go.set()
    await asyncio.wait(waiting)
    assert [number for number, one in enumerate(waiting) if one.cancelled()] == [3]
    assert all(one.exception() is None for one in waiting if one is not waiting[3])
    # One was under way with the first; the next is for all the others.
    assert 1 <= syncs <= 2
    await store.durable()
    store.close()


async def test_a_disk_that_fails_ends_all_promises(tmp_path: Path) -> None:
    broken = threading.Event()

    def sync(descriptor: int) -> None:
        if broken.is_set():
            raise OSError(errno.EIO, "Input/output error")
        os.fdatasync(descriptor)

    path = tmp_path / "sampan.db"
    store = open_store(path, sync=sync)
    put(store, "kept")
    await store.durable()
    broken.set()
    put(store, "perhaps")
    with pytest.raises(StoreFailed, match="restarted"):
        await store.durable()
    broken.clear()  # a second sync would succeed, and would mean nothing
    with pytest.raises(StoreFailed):
        put(store, "refused")
    assert set(store.volumes) == {"kept", "perhaps"}
    with pytest.raises(StoreFailed):
        await store.durable()
    await store.durable(1)  # what was promised is promised
    store.close()
    store = open_store(path)
    assert "kept" in store.volumes
    assert "refused" not in store.volumes
    put(store, "again")
    await store.durable()
    store.close()


def test_the_log_is_read_after_kill_also_over_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "sampan.db"
    script = f"""
import os, signal
from pathlib import Path
from sampan.store.database import open_store
from sampan.testing.contracts.store import volume
store = open_store(Path({str(path)!r}), segment_bytes=1000)
for n in range(200):
    store.transact(lambda tx: tx.volumes.put(volume(str(n % 50), str(n))))
os.kill(os.getpid(), signal.SIGKILL)
"""
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", script], check=False)
        assert done.returncode == -9
    store = open_store(path)
    assert {name: row.mountpoint for name, row in store.volumes.items()} == {
        str(n % 50): str(n) for n in range(150, 200)
    }
    assert store.committed == 600
    store.close()
    assert redo.segments(path) == []


def test_a_closed_store_is_one_file(tmp_path: Path) -> None:
    store = open_store(tmp_path / "sampan.db", segment_bytes=300)
    for n in range(20):
        put(store, str(n))
    store.close()
    assert [one.name for one in tmp_path.iterdir()] == ["sampan.db"]


def test_what_is_appended_to_a_segment_while_it_is_synced_and_left_is_synced(
    tmp_path: Path,
) -> None:
    synced: dict[str, bytes] = {}
    began, go_on = threading.Event(), threading.Event()

    def sync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        content = Path(path).read_bytes()
        began.set()
        go_on.wait()
        synced[path] = content

    go_on.set()
    log = GroupCommit(tmp_path / "sampan.db", b"i" * 16, 0, sync, 4000)

    def append(number: int) -> None:
        log.append(number, redo.encode(number, [("volumes", "a", b"{}")]))

    append(1)
    assert log.rotate() is None
    for number in (2, 3):  # the second comes after the next segment was made
        append(number)
        assert log.wait_synced(number)
    began.clear()
    go_on.clear()
    append(4)
    began.wait()
    append(5)
    full = log.rotate()
    assert full is not None
    go_on.set()
    assert log.wait_synced(5)
    assert synced[str(full.path)] == full.path.read_bytes()
    for segment in (full, *log.close()):
        segment.close()


async def test_what_a_killed_daemon_left_unsynced_is_synced_before_anything_follows(
    tmp_path: Path,
) -> None:
    live, disk = tmp_path / "live" / "sampan.db", Disk()
    first = open_store(live, sync=lambda descriptor: None)
    put(first, "unsynced")
    # as after a kill: what was written is there, and nobody has synced it
    shutil.copytree(live.parent, tmp_path / "killed")
    first.close()
    path = tmp_path / "killed" / "sampan.db"
    second = open_store(path, sync=disk.sync)
    assert set(second.volumes) == {"unsynced"}
    put(second, "durable")
    await second.durable()
    for seed in range(8):
        target = tmp_path / f"cut{seed}"
        disk.cut(path, target, random.Random(seed))
        after = open_store(target / path.name)
        assert set(after.volumes) == {"unsynced", "durable"}
        after.close()
    second.close()


def written_for(path: Path) -> bytes:
    """The identity of the database, which nobody has open."""
    with closing(sqlite3.connect(path)) as connection:
        return bytes(connection.execute("SELECT identity FROM redo_log").fetchone()[0])


def logged(path: Path, *numbers: int, table: str = "volumes") -> Path:
    """A segment with these transactions, each of which puts a record of the number's name."""
    records = []
    for n in numbers:
        document = msgspec.json.encode(volume(str(n), "/data"))
        records.append(redo.encode(n, [(table, str(n), document)]))
    segment = path.with_name(f"{path.name}.redo-{numbers[0]:020d}")
    segment.write_bytes(redo.opening(written_for(path)) + b"".join(records))
    return segment


def test_what_follows_a_missing_segment_is_kept_aside(tmp_path: Path) -> None:
    path = tmp_path / "sampan.db"
    open_store(path).close()
    logged(path, 1, 2)
    lost = [logged(path, 5, 6).read_bytes(), logged(path, 7).read_bytes()]
    store = open_store(path)
    assert set(store.volumes) == {"1", "2"}
    put(store, "new")
    store.close()
    kept = sorted(tmp_path.glob("sampan.db.unread-*"))
    assert [one.read_bytes() for one in kept] == lost
    assert redo.segments(path) == []
    # and again, under the same name
    logged(path, 5)
    store = open_store(path)
    assert set(store.volumes) == {"1", "2", "new"}
    store.close()
    assert len(list(tmp_path.glob("sampan.db.unread-*"))) == 3


def test_a_log_without_its_file_is_refused_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "sampan.db"
    open_store(path).close()
    segment = logged(path, 1, 2)
    identity = written_for(path)
    path.unlink()
    for _ in range(2):
        with pytest.raises(Internal, match="put the file back, or move the log away"):
            open_store(path)
        assert [number for number, _ in redo.replay([segment], 0, identity)] == [1, 2]
    segment.unlink()
    open_store(path).close()


def test_a_table_of_a_newer_sampan_in_the_log_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "sampan.db"
    open_store(path).close()
    logged(path, 1, table="hammocks")
    store = open_store(path)
    put(store, "a")
    store.close()
    assert redo.segments(path) == []  # all of it is in the file
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT key FROM hammocks").fetchall() == [("1",)]
    assert set(open_store(path).volumes) == {"a"}


def test_the_log_of_another_database_is_refused_and_stays(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine" / "sampan.db", tmp_path / "other" / "sampan.db"
    for path in (mine, other):
        open_store(path).close()
    segment = logged(other, 1, 2)
    stray = segment.rename(mine.with_name(segment.name))
    content = stray.read_bytes()
    for _ in range(2):
        with pytest.raises(Internal, match="is not the log of"):
            open_store(mine)
        assert stray.read_bytes() == content
    stray.rename(segment)  # where it belongs
    assert set(open_store(other).volumes) == {"1", "2"}
    assert not open_store(mine).volumes


def test_every_end_of_a_segments_head_is_an_empty_segment(tmp_path: Path) -> None:
    path = tmp_path / "sampan.db"
    open_store(path).close()
    whole = logged(path, 1).read_bytes()
    head = redo.opening(written_for(path))
    for end in range(len(head)):
        for garbage in (b"", b"\x00" * 60, b"\xff" * 60):
            (tmp_path / "sampan.db.redo-00000000000000000001").write_bytes(whole[:end] + garbage)
            store = open_store(path)
            assert store.committed == 0
            store.close()


def test_a_log_from_before_there_were_identities_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sampan.db"
    with closing(sqlite3.connect(path)) as connection:
        for table in declared():
            connection.execute(f"CREATE TABLE {table.name} (key TEXT PRIMARY KEY, document BLOB)")
        connection.execute("CREATE TABLE redo_log (applied INTEGER NOT NULL)")
        connection.execute("INSERT INTO redo_log VALUES (0)")
        connection.execute("PRAGMA user_version=3")
        connection.commit()
    document = msgspec.json.encode(volume("old"))
    segment = path.with_name("sampan.db.redo-00000000000000000001")
    segment.write_bytes(redo.encode(1, [("volumes", "old", document)]))
    store = open_store(path)
    assert set(store.volumes) == {"old"}
    store.close()
    assert len(written_for(path)) == 16
    assert set(open_store(path).volumes) == {"old"}
