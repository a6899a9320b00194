"""A member whose disk is full says so, and goes on when there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.aio import SystemClock
from sampan.cluster.etcd import wire
from sampan.cluster.etcd.client import EtcdClient
from sampan.cluster.etcd.process import EtcdProcess
from sampan.cluster.etcd.settings import EtcdSettings
from sampan.errors import Unavailable
from sampan.testing.place import wait_until


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 160 MB: etcd's log takes 128 of them in advance."""
    point = tmp_path / "small"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "none", str(point)], check=True)
    yield point
    subprocess.run(["umount", str(point)], check=True)


def fill(directory: Path) -> Path:
    file = directory / "fill"
    with file.open("wb", buffering=0) as out:
        for size in (1 << 20, 4096):
            while True:
                try:
                    out.write(bytes(size))
                except OSError:
                    break
    return file


async def test_a_full_disk_is_told_and_got_over(small: Path, urls: Any) -> None:
    clock = SystemClock()
    url = urls()
    settings = EtcdSettings(directory=small / "m0", name="m0", peer_url=url)
    etcd = EtcdProcess(settings, clock)
    await etcd.start()
    client = EtcdClient(settings.socket)
    try:
        assert not etcd.disk_is_full
        filler = fill(small)
        end = clock.monotonic() + 20
        number = 0
        while not etcd.disk_is_full and clock.monotonic() < end:
            number += 1
            put = wire.Put(f"/x/{number}".encode(), bytes(200_000), 0)
            try:
                await client.txn(wire.Txn([], [wire.Op(request_put=put)], []), deadline_s=1.0)
            except Unavailable:
                await clock.sleep(0.1)
        assert etcd.disk_is_full
        filler.unlink()
        assert not etcd.disk_is_full
        while True:
            try:
                if (await client.status(deadline_s=1.0)).leader:
                    break
            except Unavailable:
                assert clock.monotonic() < end + 10
                await clock.sleep(0.1)
    finally:
        await client.close()
        await etcd.stop()
    assert wait_until(lambda: etcd.pid is None)
