from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sampan.errors import Conflict, Exhausted, Internal, Unsupported
from sampan.kernel import mount as kernel_mount
from sampan.store.contract import Store
from sampan.store.database import open_store
from sampan.store.records import (
    Container,
    ContainerSpec,
    EndpointSettings,
    Health,
    HealthResult,
    HostConfig,
    Image,
    Mount,
    Phase,
    PortBinding,
    Run,
)
from sampan.store.redo import RESERVE_BYTES
from sampan.testing.contracts.store import StoreContract, volume

FULL_CONTAINER = Container(
    id="c" * 64,
    name="boat",
    created_at=12.5,
    image_id="sha256:1",
    spec=ContainerSpec(
        image="busybox",
        args=("true",),
        mounts=(Mount(type="volume", target="/data"),),
        host=HostConfig(port_bindings={"80/tcp": (PortBinding(host_port="8080"),)}),
    ),
    run=Run(
        number=3,
        phase=Phase.STOPPED,
        exit_code=7,
        health=Health(log=(HealthResult(start=1.0, end=2.0, exit_code=0, output="fine"),)),
    ),
    networks={"web": EndpointSettings(network_id="n", network_name="web")},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "sampan.db"


class TestDatabaseStore(StoreContract):
    @pytest.fixture
    def store(self, path: Path) -> Iterator[Store]:
        store = open_store(path)
        yield store
        store.close()


def test_everything_is_back_after_reopening(path: Path) -> None:
    image = Image(id="sha256:1", config=b'{"a": 1}\x00', layers=("x",), size=1, created_at=0.0)
    store = open_store(path)
    store.transact(lambda tx: tx.containers.put(FULL_CONTAINER))
    store.transact(lambda tx: tx.images.put(image))
    store.transact(lambda tx: tx.volumes.put(volume("gone")))
    store.transact(lambda tx: tx.volumes.delete("gone"))
    store.close()
    store = open_store(path)
    assert dict(store.containers) == {FULL_CONTAINER.id: FULL_CONTAINER}
    assert dict(store.images) == {image.id: image}
    assert not store.volumes
    store.close()


def test_what_was_acknowledged_survives_sigkill(path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from sampan.store.database import open_store
from sampan.store.redo import RESERVE_BYTES
from sampan.testing.contracts.store import volume
store = open_store(Path({str(path)!r}))
for n in range(20):
    store.transact(lambda tx: tx.volumes.put(volume(str(n))))
    print(n, flush=True)
def half(tx):
    tx.volumes.put(volume("half"))
    os.kill(os.getpid(), signal.SIGKILL)
store.transact(half)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    store = open_store(path)
    assert set(store.volumes) == {str(n) for n in range(20)}
    store.close()


def test_two_daemons_cannot_share_a_root(path: Path) -> None:
    store = open_store(path)
    with pytest.raises(Conflict, match="in use by another sampand"):
        open_store(path)
    store.close()


def test_a_newer_schema_is_refused_with_what_to_do(path: Path) -> None:
    open_store(path).close()
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version=99")
    raw.close()
    with pytest.raises(Unsupported, match="newer sampan"):
        open_store(path)


def test_a_row_that_cannot_be_read_names_itself(path: Path) -> None:
    open_store(path).close()
    raw = sqlite3.connect(path)
    raw.execute("INSERT INTO volumes VALUES ('broken', '{')")
    raw.commit()
    raw.close()
    with pytest.raises(Internal, match="volumes broken"):
        open_store(path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    where = tmp_path / "small"
    where.mkdir()
    kernel_mount.mount("tmpfs", where, "tmpfs", data="size=1m")
    yield where
    kernel_mount.unmount(where)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small tmpfs")


def fill(directory: Path) -> Path:
    """Leave not one byte to anybody else."""
    filler = directory / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    return filler


def fill_log(store: Store) -> set[str]:
    """Put volumes until one is refused; the names of those that were taken."""
    for n in range(1000):
        try:
            store.transact(lambda tx, n=n: tx.volumes.put(volume(str(n), "x" * 4000)))  # type: ignore[misc]
        except Exhausted:
            return {str(i) for i in range(n)}
    raise AssertionError("the disk is not full")


@needs_root
def test_a_full_disk_changes_nothing_and_is_survived(small_disk: Path) -> None:
    store = open_store(small_disk / "sampan.db")
    names = fill_log(store)
    assert set(store.volumes) == names
    with pytest.raises(Exhausted):
        store.transact(lambda tx: tx.volumes.put(volume("again", "x" * 9000)))
    before = dict(store.volumes)
    store.close()
    store = open_store(small_disk / "sampan.db")
    assert dict(store.volumes) == before
    store.close()


@needs_root
def test_removals_go_on_when_the_disk_is_full_to_everything_else(small_disk: Path) -> None:
    path = small_disk / "sampan.db"
    store = open_store(path)
    for n in range(20):
        store.transact(lambda tx, n=n: tx.volumes.put(volume(f"old{n}")))
    filler = fill(small_disk)
    kept = fill_log(store)
    assert os.statvfs(small_disk).f_bfree == 0
    marked = volume("old0", "x" * 6000)
    with pytest.raises(Exhausted):
        store.transact(lambda tx: tx.volumes.put(marked))
    store.transact(lambda tx: tx.volumes.put(marked), frees=True)
    for n in range(20):
        store.transact(lambda tx, n=n: tx.volumes.delete(f"old{n}"))
    assert set(store.volumes) == kept
    # ... and it survives a kill, on the same full disk: as files are after one
    found = {one.name: one.read_bytes() for one in small_disk.iterdir() if one != filler}
    store.close()
    for one in small_disk.iterdir():
        if one != filler:
            one.unlink()
    for name, content in found.items():
        (small_disk / name).write_bytes(content)
    assert os.statvfs(small_disk).f_bfree == 0
    store = open_store(path)
    assert set(store.volumes) == kept
    for name in kept:
        store.transact(lambda tx, name=name: tx.volumes.delete(name))
    assert not store.volumes
    store.close()


@needs_root
def test_the_reserve_comes_back_with_the_space(small_disk: Path) -> None:
    store = open_store(small_disk / "sampan.db")
    filler = fill(small_disk)
    kept = fill_log(store)
    for _ in range(3):
        filler.unlink()
        store.transact(lambda tx: tx.volumes.put(volume("there is room")))
        store.transact(lambda tx: tx.volumes.delete("there is room"))
        filler = fill(small_disk)
        # more than one reserve, if it were not filled up again
        big = volume("big", "x" * (RESERVE_BYTES // 2))
        store.transact(lambda tx, big=big: tx.volumes.put(big), frees=True)
        store.transact(lambda tx: tx.volumes.delete("big"))
    assert set(store.volumes) >= kept
    store.close()


def torn_apart(path: Path, count: int) -> tuple[Path, bytes]:
    """A database whose daemon was killed, and its log of ``count`` transactions."""
    store = open_store(path)
    for number in range(count):
        store.transact(lambda tx, n=number: tx.volumes.put(volume(f"v{n}")))  # type: ignore[misc]
    copy = path.with_name("killed")
    copy.mkdir()
    for file in path.parent.iterdir():
        if file.is_file():
            shutil.copy(file, copy / file.name)
    store.close()
    (log,) = copy.glob("*.redo-*")
    return copy / path.name, log.read_bytes()


@pytest.mark.parametrize("part", [0.0, 0.002, 0.1, 0.4, 0.8])
def test_a_damaged_log_is_not_taken_for_one_that_ends(path: Path, part: float) -> None:
    database, log = torn_apart(path, 20)
    used = len(log.rstrip(b"\0"))
    at = 12 if part == 0.0 else int(used * part)
    damaged = log[:at] + bytes([log[at] ^ 1]) + log[at + 1 :]
    (file,) = database.parent.glob("*.redo-*")
    file.write_bytes(damaged)
    for _ in range(2):
        with pytest.raises(Internal, match="is damaged: transactions from"):
            open_store(database)
        assert file.read_bytes() == damaged, "nothing is changed"
    file.unlink()
    open_store(database).close()


def test_a_log_that_was_cut_off_ends_there(path: Path) -> None:
    database, log = torn_apart(path, 20)
    used = len(log.rstrip(b"\0"))
    (file,) = database.parent.glob("*.redo-*")
    file.write_bytes(log[: used - 3] + bytes(4096))
    store = open_store(database)
    assert len(store.volumes) == 19
    store.close()
