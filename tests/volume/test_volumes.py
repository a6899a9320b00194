# ruff: noqa: ASYNC240
from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.aio import SystemClock
from sampan.config import DaemonConfig, Paths
from sampan.drivers import Registry
from sampan.errors import Conflict, InvalidArgument, NotFound, Unsupported
from sampan.kernel import mount as kernel
from sampan.testing.store import MemoryStore
from sampan.volume.contract import NoSuchDriver, NoSuchVolume, VolumeDriver
from sampan.volume.local import LocalVolumes, check_name
from sampan.volume.volumes import DriverVolumes


@pytest.fixture
def config(tmp_path: Path) -> Iterator[DaemonConfig]:
    yield DaemonConfig(paths=Paths(tmp_path / "root", tmp_path / "state"))
    for entry in kernel.mounts():
        if entry.target.startswith(str(tmp_path)):
            kernel.unmount(Path(entry.target), lazy=True)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def on_drivers(config: DaemonConfig, store: MemoryStore) -> DriverVolumes:
    drivers: Registry[VolumeDriver] = Registry("volume driver", NoSuchDriver)
    drivers.register("local", LocalVolumes(config, store))
    return DriverVolumes(drivers, store, SystemClock())


@pytest.fixture
def volumes(config: DaemonConfig, store: MemoryStore) -> DriverVolumes:
    return on_drivers(config, store)


async def test_create_makes_a_directory_and_a_row(volumes: DriverVolumes) -> None:
    volume = await volumes.create("data", labels={"a": "b"})
    assert Path(volume.mountpoint).is_dir()
    assert volumes.get("data") == volume
    assert volumes.all() == [volume]
    assert await volumes.mount("data", "me") == Path(volume.mountpoint)


async def test_create_again_gives_the_same(volumes: DriverVolumes) -> None:
    first = await volumes.create("data")
    assert await volumes.create("data", labels={"x": "y"}) == first
    with pytest.raises(Conflict):
        await volumes.create("data", driver="other")


async def test_an_anonymous_one_gets_64_hex_digits(volumes: DriverVolumes) -> None:
    volume = await volumes.create("", anonymous=True)
    assert len(volume.name) == 64
    assert volume.anonymous


@pytest.mark.parametrize("name", ["a", "../x", "-a", "a/b", "a b"])
async def test_bad_names(volumes: DriverVolumes, name: str) -> None:
    with pytest.raises(InvalidArgument):
        await volumes.create(name)
    assert not volumes.all()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"foo": "1"}, InvalidArgument),
        ({"type": "nfs"}, InvalidArgument),
        ({"o": "ro"}, InvalidArgument),
        ({"device": "/x"}, InvalidArgument),
        ({"size": "1g"}, Unsupported),
    ],
)
async def test_bad_options(
    volumes: DriverVolumes, options: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await volumes.create("data", options=options)
    assert not volumes.all()


async def test_an_unknown_driver(volumes: DriverVolumes) -> None:
    with pytest.raises(NotFound, match='plugin "rexray" not found'):
        await volumes.create("data", driver="rexray")


async def test_a_full_disk_leaves_no_directory(
    config: DaemonConfig, store: MemoryStore, volumes: DriverVolumes
) -> None:
    store.full = True
    with pytest.raises(Exception, match="no space"):
        await volumes.create("data")
    assert list(config.paths.volumes.iterdir()) == []


async def test_remove_takes_row_and_directory(config: DaemonConfig, volumes: DriverVolumes) -> None:
    volume = await volumes.create("data")
    (Path(volume.mountpoint) / "file").write_text("x")
    await volumes.remove("data")
    assert list(config.paths.volumes.iterdir()) == []
    with pytest.raises(NoSuchVolume):
        await volumes.remove("data")


async def test_a_removal_that_the_disk_never_had_is_undone(
    config: DaemonConfig, store: MemoryStore, volumes: DriverVolumes
) -> None:
    kept, gone = [await volumes.create(name) for name in ("kept", "gone")]
    for volume in (kept, gone):
        (Path(volume.mountpoint) / "file").write_text(volume.name)
    store.disk.clear()
    removals = [
        asyncio.ensure_future(volumes.remove(name))  # noqa: TID251 - a test's own
        for name in ("kept", "gone")
    ]
    async with asyncio.timeout(10):
        while store.waiting < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
    for removal in removals:
        removal.cancel()
    await asyncio.wait(removals)
    assert all(removal.cancelled() for removal in removals)
    # The power goes: the disk has one of the two transactions.
    store.transact(lambda tx: tx.volumes.put(kept))
    store.disk.set()
    await on_drivers(config, store).recover()
    assert (Path(kept.mountpoint) / "file").read_text() == "kept"
    assert [one.name for one in config.paths.volumes.iterdir()] == ["kept"]


async def test_a_bind_volume(volumes: DriverVolumes, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("x")
    await volumes.create("bb", options={"type": "none", "o": "bind,ro", "device": str(source)})
    data = await volumes.mount("bb", "me")
    assert await volumes.mount("bb", "me") == data
    assert (data / "file").read_text() == "x"
    with pytest.raises(OSError, match="Read-only"):
        (data / "other").write_text("y")
    await volumes.unmount("bb", "me")
    assert not kernel.is_mounted(data)
    await volumes.mount("bb", "me")
    await volumes.remove("bb")
    assert (source / "file").read_text() == "x"


async def test_a_tmpfs_volume(volumes: DriverVolumes) -> None:
    await volumes.create(
        "tt", options={"type": "tmpfs", "o": "size=1m,mode=0700", "device": "tmpfs"}
    )
    data = await volumes.mount("tt", "me")
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    await volumes.unmount("tt", "me")


async def test_a_mount_that_fails_says_what(volumes: DriverVolumes) -> None:
    await volumes.create("bb", options={"type": "none", "o": "bind", "device": "/does/not/exist"})
    with pytest.raises(InvalidArgument, match="failed to mount local volume"):
        await volumes.mount("bb", "me")


@pytest.fixture
def image_dir(tmp_path: Path) -> Path:
    source = tmp_path / "image"
    (source / "sub").mkdir(parents=True)
    (source / "file").write_text("content")
    os.link(source / "file", source / "sub" / "hard")
    os.symlink("nowhere", source / "link")
    os.mkfifo(source / "fifo")
    os.chown(source / "file", 12, 34)
    os.chmod(source / "file", 0o4750)
    os.chown(source / "link", 5, 6, follow_symlinks=False)
    os.chmod(source / "sub", 0o500)
    os.chown(source, 99, 98)
    os.chmod(source, 0o1777)
    return source


async def test_seeding_copies_everything_of_every_kind(
    volumes: DriverVolumes, image_dir: Path
) -> None:
    data = Path((await volumes.create("data")).mountpoint)
    await volumes.seed("data", image_dir)
    file = (data / "file").stat()
    assert (file.st_uid, file.st_gid, stat.S_IMODE(file.st_mode)) == (12, 34, 0o4750)
    assert file.st_nlink == 2
    assert file.st_mtime_ns == (image_dir / "file").stat().st_mtime_ns
    assert os.readlink(data / "link") == "nowhere"
    assert (data / "link").lstat().st_uid == 5
    assert stat.S_ISFIFO((data / "fifo").stat().st_mode)
    assert stat.S_IMODE((data / "sub").stat().st_mode) == 0o500
    assert (data.stat().st_uid, stat.S_IMODE(data.stat().st_mode)) == (99, 0o1777)
    assert [p.name for p in data.parent.iterdir()] == ["_data"]
    assert volumes.get("data").seeded


async def test_a_volume_with_content_is_not_seeded(volumes: DriverVolumes, image_dir: Path) -> None:
    data = Path((await volumes.create("data")).mountpoint)
    (data / "mine").write_text("x")
    await volumes.seed("data", image_dir)
    assert [p.name for p in data.iterdir()] == ["mine"]


async def test_seeding_from_nothing_is_nothing(volumes: DriverVolumes, tmp_path: Path) -> None:
    await volumes.create("data")
    await volumes.seed("data", tmp_path / "missing")
    assert not volumes.get("data").seeded


async def test_recovery_finishes_a_seed_and_sweeps_strangers(
    config: DaemonConfig, volumes: DriverVolumes, image_dir: Path
) -> None:
    data = Path((await volumes.create("data")).mountpoint)
    whole = data.parent / "_seed"
    whole.mkdir(mode=0o711)
    (whole / "late").write_text("x")
    (data / "early").write_text("y")
    other = Path((await volumes.create("other")).mountpoint)
    (other.parent / "_seed.part").mkdir()
    (config.paths.volumes / "stranger" / "_data").mkdir(parents=True)
    await volumes.recover()
    assert {p.name for p in data.iterdir()} == {"early", "late"}
    assert volumes.get("data").seeded
    assert not volumes.get("other").seeded
    assert {str(p.relative_to(config.paths.volumes)) for p in config.paths.volumes.glob("*/*")} == {
        "data/_data",
        "other/_data",
    }


async def test_a_volume_whose_container_never_came_is_swept(volumes: DriverVolumes) -> None:
    half = await volumes.create("", anonymous=True, provisional=True)
    await volumes.create("wanted", provisional=True)
    await volumes.create("wanted")  # the user asked for it meanwhile
    await volumes.recover()
    assert [v.name for v in volumes.all()] == ["wanted"]
    assert not Path(half.mountpoint).exists()


def test_a_name_longer_than_a_files_is_refused() -> None:
    check_name("v" * 255)
    with pytest.raises(InvalidArgument, match=r"too long \(5000 characters\)"):
        check_name("v" * 5000)
