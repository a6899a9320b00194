"""The executor on the real store and real overlay snapshots; only the processes are played."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from build_fakes import PlainImages, Shell

from sampan.aio import SystemClock, in_thread
from sampan.build.builder import LocalBuilder, open_builder
from sampan.build.contract import BuildOutput, BuildRequest
from sampan.config import DaemonConfig, Paths
from sampan.image.config import chain_id
from sampan.image.deferred_delete import DeferredDelete
from sampan.image.layers import LayerStore
from sampan.image.overlay import OverlaySnapshots
from sampan.image.workers import WorkerPool
from sampan.store.database import open_store
from sampan.store.records import Network
from sampan.testing.networks import FakeNetworks
from sampan.testing.runs import FakeRuns

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


class Overlay:
    """A builder over overlayfs, and a look into what it made."""

    def __init__(self, builder: LocalBuilder, snapshots: OverlaySnapshots, images: PlainImages):
        self.builder, self.snapshots, self.images = builder, snapshots, images
        self.said: list[str] = []

    async def build(self, context: Path, dockerfile: str) -> str:
        await in_thread((context / "Dockerfile").write_text, dockerfile)

        def emit(output: BuildOutput) -> None:
            self.said.append(output.text)

        return await self.builder.build(BuildRequest(context=context), emit)

    async def look(self, image_id: str, see: Callable[[Path], object]) -> object:
        """``see`` the image's root file system."""
        layers = self.images.get(image_id).layers
        await self.snapshots.prepare("look", chain_id(layers))
        try:
            return see(await self.snapshots.mount("look"))
        finally:
            await self.snapshots.remove("look")


@pytest.fixture
async def overlay(tmp_path: Path) -> AsyncIterator[Overlay]:
    config = DaemonConfig(paths=Paths(tmp_path / "root", tmp_path / "state"))
    for path in (config.paths.layers, config.paths.snapshots, config.paths.tmp):
        path.mkdir(parents=True)
    store, pool, trash = open_store(config.paths.database), WorkerPool(), DeferredDelete()
    snapshots = OverlaySnapshots(
        config.paths, LayerStore(config.paths, store, pool, trash), pool, trash
    )
    await snapshots.open()
    images, runs, networks = PlainImages(store, snapshots), FakeRuns(), FakeNetworks()  # type: ignore[arg-type]
    Shell(runs)
    bridge = await networks.create(
        Network(id="b" * 64, name="bridge", driver="bridge", created_at=0, predefined=True)
    )
    store.transact(lambda tx: tx.networks.put(bridge))
    async with open_builder(
        config,
        store=store,
        images=images,  # type: ignore[arg-type]
        snapshots=snapshots,
        runs=runs,
        networks=networks,
        clock=SystemClock(),
    ) as builder:
        yield Overlay(builder, snapshots, images)
    assert await snapshots.keys() == []
    assert str(tmp_path) not in Path("/proc/mounts").read_text()  # noqa: ASYNC240
    await trash.close()
    await pool.close()
    await runs.close()
    store.close()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    path = tmp_path / "context"
    (path / "tree/lib").mkdir(parents=True)
    (path / "tree/lib/new").write_text("new")
    (path / "tree/a").write_text("over")
    (path / "f").write_text("f")
    return path


async def test_copy_over_what_lower_layers_hold(overlay: Overlay, context: Path) -> None:
    (context / "base/usr/lib").mkdir(parents=True)
    (context / "base/usr/lib/old").write_text("old")
    (context / "base/lib").symlink_to("usr/lib")
    (context / "base/a").write_text("under")
    os.link(context / "base/a", context / "base/b")
    (context / "base/link").symlink_to("/a")
    image_id = await overlay.build(
        context, "FROM scratch\nCOPY base /\nCOPY tree /\nCOPY f /link\nCOPY f /deep/er/\n"
    )

    def see(root: Path) -> dict[str, str]:
        return {
            str(path.relative_to(root)): (
                str(path.readlink()) if path.is_symlink() else path.read_text()
            )
            for path in sorted(root.rglob("*"))
            if path.is_symlink() or path.is_file()
        }

    assert await overlay.look(image_id, see) == {
        "a": "f",
        "b": "under",
        "deep/er/f": "f",
        "lib": "usr/lib",
        "link": "/a",
        "usr/lib/new": "new",
        "usr/lib/old": "old",
    }


async def test_stages_and_cache(overlay: Overlay, context: Path) -> None:
    text = (
        "FROM scratch AS one\nCOPY f /f\nRUN write /made x\nFROM one\nRUN cat /made\n"
        "FROM scratch\nCOPY --from=one / /\n"
    )
    first = await overlay.build(context, text)
    names = await overlay.look(first, lambda root: sorted(os.listdir(root)))
    assert names == ["f", "made"]
    overlay.said.clear()
    assert await overlay.build(context, text) == first
    assert "".join(overlay.said).count("Using cache") == 3


async def test_owners_and_modes_survive_the_layer(overlay: Overlay, context: Path) -> None:
    image_id = await overlay.build(
        context, "FROM scratch\nCOPY --chown=7:8 --chmod=4750 f /x/f\nCOPY tree /tree\n"
    )

    def see(root: Path) -> list[tuple[int, int, int]]:
        found = [(root / name).stat() for name in ("x/f", "tree/a", "tree")]
        return [(st.st_uid, st.st_gid, st.st_mode & 0o7777) for st in found]

    modes = [(context / name).stat().st_mode & 0o7777 for name in ("tree/a", "tree")]
    assert await overlay.look(image_id, see) == [
        (7, 8, 0o4750),
        (0, 0, modes[0]),
        (0, 0, modes[1]),
    ]
