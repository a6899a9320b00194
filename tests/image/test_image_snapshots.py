"""One suite for every snapshot driver, and what only overlay can get wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from sampan.aio import SystemClock
from sampan.config import DaemonConfig, Paths
from sampan.image import open_images
from sampan.image.contract import Snapshots
from sampan.testing.contracts.snapshots import SnapshotsContract
from sampan.testing.images import FakeSnapshots
from sampan.testing.store import MemoryStore


def config(tmp_path: Path, driver: str = "overlay2") -> DaemonConfig:
    paths = Paths(tmp_path / "root", tmp_path / "state")
    return replace(DaemonConfig(), paths=paths, storage_driver=driver)


async def _opened(tmp_path: Path, driver: str) -> AsyncIterator[Snapshots]:
    async with open_images(config(tmp_path, driver), MemoryStore(), SystemClock()) as service:
        yield service.snapshots
        for key in await service.snapshots.keys():
            await service.snapshots.remove(key)


class TestOverlay(SnapshotsContract):
    @pytest.fixture
    async def snapshots(self, tmp_path: Path) -> AsyncIterator[Snapshots]:
        async for opened in _opened(tmp_path, "overlay2"):
            yield opened

    @pytest.mark.parametrize("depth", [1, 60])
    async def test_a_stack_of_125_layers(self, tmp_path: Path, depth: int) -> None:
        deep = tmp_path / ("x" * depth)
        async for snapshots in _opened(deep, "overlay2"):
            chain = ""
            for n in range(125):
                await snapshots.prepare("maker", chain)
                (tmp := snapshots.home("maker") / "diff" / f"f{n}").write_text(str(n))  # type: ignore[attr-defined]
                assert tmp.exists()
                chain, _ = await snapshots.commit("maker")
            await snapshots.prepare("k", chain)
            root = await snapshots.mount("k")
            assert sorted(p.read_text() for p in root.iterdir()) == sorted(map(str, range(125)))

    async def test_a_root_directory_with_colons_and_commas(self, tmp_path: Path) -> None:
        async for snapshots in _opened(tmp_path / "a:b,c", "overlay2"):
            await snapshots.prepare("k", "")
            (await snapshots.mount("k") / "x").write_text("1")

    async def test_the_same_layer_twice_in_a_stack(self, snapshots: Snapshots) -> None:
        chain = ""
        for _ in range(2):
            await snapshots.prepare("k", chain)
            chain, _ = await snapshots.commit("k")
        await snapshots.prepare("k", chain)
        assert list((await snapshots.mount("k")).iterdir()) == []

    async def test_snapshots_and_mounts_outlive_the_daemon(self, tmp_path: Path) -> None:
        store = MemoryStore()
        async with open_images(config(tmp_path), store, SystemClock()) as one:
            await one.snapshots.prepare("k", "")
            (await one.snapshots.mount("k") / "a").write_text("1")
        debris = tmp_path / "root" / "snapshots" / ".half"
        debris.mkdir()
        async with open_images(config(tmp_path), store, SystemClock()) as two:
            assert await two.snapshots.keys() == ["k"]
            assert not debris.exists()
            assert (await two.snapshots.mount("k") / "a").read_text() == "1"
            await two.snapshots.remove("k")


class TestVfs(SnapshotsContract):
    @pytest.fixture
    async def snapshots(self, tmp_path: Path) -> AsyncIterator[Snapshots]:
        async for opened in _opened(tmp_path, "vfs"):
            yield opened


class TestFake(SnapshotsContract):
    @pytest.fixture
    def snapshots(self, tmp_path: Path) -> FakeSnapshots:
        return FakeSnapshots(tmp_path)
