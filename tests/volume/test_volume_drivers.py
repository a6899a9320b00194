"""Every volume driver keeps the contract, and the volumes above them count mounts right."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from sampan.aio import SystemClock, Tasks
from sampan.config import DaemonConfig, Paths
from sampan.drivers import Registry
from sampan.errors import InvalidArgument
from sampan.store.records import Volume
from sampan.testing.clock import FakeClock, settle
from sampan.testing.contracts.volume_driver import VolumeDriverContract
from sampan.testing.store import MemoryStore
from sampan.testing.toys.volume import ToyVolumes
from sampan.volume.contract import LISTED_WITHIN_S, DriverVolume, NoSuchDriver, VolumeDriver
from sampan.volume.local import LocalVolumes
from sampan.volume.volumes import SILENT_S, DriverVolumes


class TestToyVolumes(VolumeDriverContract):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> VolumeDriver:
        return ToyVolumes(tmp_path)


class TestLocalVolumes(VolumeDriverContract):
    """Its volumes are those that have a record, which the engine writes and takes away."""

    options: dict[str, str] = {}

    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def driver(self, tmp_path: Path, store: MemoryStore) -> VolumeDriver:
        self._store = store
        return LocalVolumes(DaemonConfig(paths=Paths(tmp_path / "root", tmp_path / "state")), store)

    async def create(self, driver: VolumeDriver, name: str) -> None:
        await driver.create(name, self.options, {})
        volume = Volume(
            name=name,
            driver="local",
            created_at=0.0,
            mountpoint=await driver.path(name),
            options=self.options,
        )
        self._store.transact(lambda tx: tx.volumes.put(volume))

    async def remove(self, driver: VolumeDriver, name: str) -> None:
        self._store.transact(lambda tx: tx.volumes.delete(name))
        await driver.remove(name)


@pytest.fixture
def toy(tmp_path: Path) -> ToyVolumes:
    return ToyVolumes(tmp_path / "toy")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def volumes_on(toy: ToyVolumes, store: MemoryStore) -> DriverVolumes:
    drivers: Registry[VolumeDriver] = Registry("volume driver", NoSuchDriver)
    drivers.register("toy", toy)
    return DriverVolumes(drivers, store, SystemClock())


async def test_every_mount_has_its_unmount(toy: ToyVolumes, store: MemoryStore) -> None:
    volumes = volumes_on(toy, store)
    await volumes.create("data", driver="toy")
    path = await volumes.mount("data", "one")
    assert await volumes.mount("data", "one") == path, "one user, one mount"
    await volumes.mount("data", "two")
    assert toy.users["data"] == ["one", "two"]
    assert store.volumes["data"].mounted_by == ("one", "two")
    await volumes.unmount("data", "one")
    await volumes.unmount("data", "one")
    await volumes.unmount("data", "two")
    assert toy.users["data"] == []
    assert [call for call in toy.calls if call[0] == "unmount"] == [
        ("unmount", "data", "one"),
        ("unmount", "data", "two"),
    ]
    assert store.volumes["data"].mounted_by == ()


async def test_after_a_crash_those_who_are_gone_are_unmounted(
    toy: ToyVolumes, store: MemoryStore
) -> None:
    before = volumes_on(toy, store)
    await before.create("data", driver="toy")
    await before.mount("data", "lives")
    await before.mount("data", "gone")
    tasks = Tasks()
    toy.gate.clear()
    tasks.spawn(before.mount("data", "half"), name="half")
    async with asyncio.timeout(10):
        while ("mount", "data", "half") not in toy.calls:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert "half" in store.volumes["data"].mounted_by, "written down before it was asked for"
    await tasks.close()
    toy.gate.set()
    after = volumes_on(toy, store)
    await after.recover(frozenset(["lives"]))
    async with asyncio.timeout(10):
        while store.volumes["data"].mounted_by != ("lives",):  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert toy.users["data"] == ["lives"]
    assert ("unmount", "data", "half") in toy.calls
    await after.unmount("data", "lives")
    assert toy.users["data"] == []


async def test_a_volume_that_others_made_is_not_removed_with_a_container_that_failed(
    toy: ToyVolumes, store: MemoryStore
) -> None:
    await toy.create("theirs", {}, {})
    volumes = volumes_on(toy, store)
    assert not (await volumes.create("theirs", driver="toy", provisional=True)).provisional
    assert (await volumes.create("ours", driver="toy", provisional=True)).provisional
    await volumes_on(toy, store).recover()
    async with asyncio.timeout(10):
        while "ours" in toy.users:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert set(toy.users) == {"theirs"}


async def test_a_driver_that_refuses_keeps_the_record(toy: ToyVolumes, store: MemoryStore) -> None:
    volumes = volumes_on(toy, store)
    await volumes.create("data", driver="toy")
    await toy.mount("data", "somebody else")
    with pytest.raises(Exception, match="volume data is mounted by somebody else"):
        await volumes.remove("data")
    assert not volumes.get("data").provisional
    await toy.unmount("data", "somebody else")
    await volumes.remove("data")
    assert volumes.all() == []
    with pytest.raises(InvalidArgument, match='invalid option: "size"'):
        await volumes.create("more", driver="toy", options={"size": "1"})
    assert volumes.all() == []


async def test_a_driver_that_waits_for_one_volume_holds_up_no_other(
    toy: ToyVolumes, store: MemoryStore
) -> None:
    volumes = volumes_on(toy, store)
    for name in ("slow", "quick"):
        await volumes.create(name, driver="toy")
    toy.gate.clear()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(volumes.mount("slow", "one"))
        await volumes.create("another", driver="toy")
        await volumes.remove("quick")
        assert not waiting.done()
        toy.gate.set()
    assert toy.users["slow"] == ["one"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
class TestLocalVolumesThatAreMounted(TestLocalVolumes):
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}

    async def test_two_users_see_one_volume_and_leave_it_one_by_one(
        self, driver: VolumeDriver
    ) -> None:
        """As the engine does it: who mounts is in the record. A tmpfs is empty when it was gone."""
        store = self._store
        await self.create(driver, "data")

        def users(*names: str) -> None:
            row = store.volumes["data"]
            changed = Volume(
                name="data",
                driver="local",
                created_at=0.0,
                mountpoint=row.mountpoint,
                options=self.options,
                mounted_by=names,
            )
            store.transact(lambda tx: tx.volumes.put(changed))

        users("one", "two")
        path = await driver.mount("data", "one")
        (path / "file").write_text("x")
        await driver.mount("data", "two")
        await driver.unmount("data", "one")
        assert (path / "file").read_text() == "x"
        users("two")
        await driver.unmount("data", "two")
        assert list(path.iterdir()) == []

    async def test_unmounting_what_is_not_mounted_is_nothing(self, driver: VolumeDriver) -> None:
        await self.create(driver, "data")
        await driver.unmount("data", "nobody")
        await driver.mount("data", "one")
        await driver.unmount("data", "one")
        await driver.unmount("data", "one")

    async def test_making_and_removing_can_be_said_twice(self, driver: VolumeDriver) -> None:
        await self.create(driver, "data")
        await self.create(driver, "data")
        await driver.mount("data", "one")
        await self.remove(driver, "data")
        await driver.remove("data")

    async def test_volumes_do_not_see_each_other(self, driver: VolumeDriver) -> None:
        await super().test_volumes_do_not_see_each_other(driver)
        for name in ("one", "two"):
            await self.remove(driver, name)


class Hanging(ToyVolumes):
    """A driver that never tells what it has."""

    asked = 0

    async def list(self) -> Sequence[DriverVolume]:
        self.asked += 1
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")


async def test_a_driver_that_hangs_is_waited_for_once_in_a_while(tmp_path: Path) -> None:
    registry: Registry[VolumeDriver] = Registry("volume driver", NoSuchDriver)
    hanging, clock = Hanging(tmp_path), FakeClock()
    registry.register("hangs", hanging)
    volumes = DriverVolumes(registry, MemoryStore(), clock)
    tasks = Tasks()
    for round_, asked in enumerate((1, 1, 1, 2)):
        if round_ == 3:
            await clock.advance(SILENT_S)
        listing = tasks.spawn(volumes.listing(), name="list")
        await settle()
        if not listing.done():
            await clock.advance(LISTED_WITHIN_S)
        assert "it has not answered" in (await listing).warnings[0]
        assert hanging.asked == asked
