"""The child process: one at a time, gone with its daemon, its files safe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sampan.aio import SystemClock
from sampan.cluster.contract import NoQuorum
from sampan.cluster.etcd.client import EtcdClient, snapshot_is_whole
from sampan.cluster.etcd.failures import Unreachable
from sampan.cluster.etcd.process import EtcdProcess
from sampan.cluster.etcd.restore import restore
from sampan.cluster.etcd.settings import EtcdSettings
from sampan.cluster.etcd.upkeep import Schedule, Upkeep
from sampan.errors import Internal, InvalidArgument
from sampan.kernel import process
from sampan.testing.clock import FakeClock
from sampan.testing.contracts.cluster_store import put, service

DAEMON = """
import asyncio, sys
from pathlib import Path
from sampan.aio import SystemClock
from sampan.cluster.etcd.process import EtcdProcess
from sampan.cluster.etcd.settings import EtcdSettings

async def main():
    etcd = EtcdProcess(
        EtcdSettings(directory=Path(sys.argv[1]), name="m0", peer_url=sys.argv[2]), SystemClock()
    )
    await etcd.start()
    print(etcd.pid, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


def settings_of(directory: Path, url: str) -> EtcdSettings:
    return EtcdSettings(directory=directory, name="m0", peer_url=url)


async def test_it_dies_with_a_daemon_that_is_killed(tmp_path: Path, urls: Any) -> None:
    url = urls()
    daemon = subprocess.Popen(  # noqa: ASYNC220 - half a millisecond
        [sys.executable, "-c", DAEMON, str(tmp_path / "m0"), url], stdout=subprocess.PIPE
    )
    try:
        assert daemon.stdout is not None
        pid = int(daemon.stdout.readline())
        started = process.start_time(pid)
        assert started
    finally:
        daemon.kill()
        daemon.wait()
        daemon.stdout.close()  # type: ignore[union-attr]
    await process.wait_gone(pid, started)
    etcd = EtcdProcess(settings_of(tmp_path / "m0", url), SystemClock())
    await etcd.start()
    await etcd.stop()


async def test_an_old_one_is_ended_before_another_starts(tmp_path: Path, urls: Any) -> None:
    settings = settings_of(tmp_path / "m0", urls())
    first = EtcdProcess(settings, SystemClock())
    await first.start()
    pid = first.pid
    assert pid
    first.removed.set()  # not to be started again by its own supervision
    second = EtcdProcess(settings, SystemClock())
    try:
        await second.start()
        assert second.pid not in (None, pid)
        assert process.start_time(pid) is None
    finally:
        await second.stop()
        await first.stop()


async def test_only_root_reaches_it(alone: Any) -> None:
    assert os.stat(alone.settings.directory).st_mode & 0o777 == 0o700
    assert alone.settings.socket.is_socket()


async def test_stopping_leaves_the_data_and_no_process(alone: Any) -> None:
    pid = alone.process.pid
    await alone.process.stop()
    assert process.start_time(pid) is None
    assert not alone.settings.socket.exists()
    assert not alone.settings.pid_file.exists()
    assert alone.settings.data.is_dir()


async def test_a_start_that_cannot_work_says_why_and_leaves_nothing(
    tmp_path: Path, alone: Any
) -> None:
    taken = settings_of(tmp_path / "other", alone.settings.peer_url)
    etcd = EtcdProcess(taken, SystemClock())
    with pytest.raises(Internal, match="address already in use"):
        await etcd.start()
    assert (etcd.pid, etcd.starts) == (None, 0)


async def test_a_deep_directory_is_no_obstacle(tmp_path: Path, urls: Any) -> None:
    etcd = EtcdProcess(settings_of(tmp_path / ("d" * 150) / "m0", urls()), SystemClock())
    await etcd.start()
    client = EtcdClient(etcd.settings.socket)
    try:
        assert (await client.status()).leader
    finally:
        await client.close()
        await etcd.stop()


async def test_a_snapshot_is_whole_and_brings_everything_back(
    tmp_path: Path, fleet: Any, alone: Any
) -> None:
    record = service("web")
    await alone.store.update(put(record))
    revision = alone.store.state.revision
    upkeep = Upkeep(alone.client, tmp_path / "snapshots", FakeClock(), Schedule(keep=2))
    file = await upkeep.snapshot()
    assert file is not None
    assert snapshot_is_whole(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert await upkeep.snapshot() is None  # nothing is new
    await alone.store.update(put(service("later")))
    await fleet.halt(alone)
    fresh = settings_of(tmp_path / "fresh", alone.settings.peer_url)
    fresh.directory.mkdir()
    await restore(file, fresh)
    host = await fleet.run(fresh)
    assert set(host.store.state.services) == {record.id}
    assert host.store.state.services[record.id].version == revision
    await host.store.update(put(service("new")))
    assert host.store.state.revision > revision


async def test_a_damaged_snapshot_is_refused(tmp_path: Path, alone: Any) -> None:
    file = tmp_path / "snapshot.db"
    await alone.client.snapshot(file)
    data = bytearray(file.read_bytes())
    data[5000] ^= 1
    file.write_bytes(data)
    settings = settings_of(tmp_path / "fresh", alone.settings.peer_url)
    with pytest.raises(InvalidArgument):
        await restore(file, settings)
    assert not settings.data.exists()


async def test_the_schedule_keeps_the_newest(tmp_path: Path, alone: Any) -> None:
    clock = FakeClock()
    upkeep = Upkeep(alone.client, tmp_path / "s", clock, Schedule(every_s=100, keep=2, spread=0))
    taken = []
    for n in range(4):
        await alone.store.update(put(service(f"s{n}")))
        taken.append(await upkeep.snapshot())
        await clock.advance(100)
    assert upkeep.snapshots() == taken[-2:]
    (tmp_path / "s" / "mine.db").touch()
    assert (tmp_path / "s" / "mine.db").exists()


async def test_a_closed_client_says_so(alone: Any) -> None:
    await alone.client.close()
    with pytest.raises(Unreachable):
        await alone.client.status()
    with pytest.raises(NoQuorum):
        await alone.store.barrier()
