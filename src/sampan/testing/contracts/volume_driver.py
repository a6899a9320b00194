"""What every volume driver does. Subclass, and provide the fixture ``driver``; one whose volumes
exist as long as the engine's records do overrides ``create`` and ``remove``."""

from __future__ import annotations

import pytest

from sampan.volume.contract import NoSuchVolume, VolumeDriver


class VolumeDriverContract:
    """The suite."""

    async def create(self, driver: VolumeDriver, name: str) -> None:
        await driver.create(name, {}, {})

    async def remove(self, driver: VolumeDriver, name: str) -> None:
        await driver.remove(name)

    async def test_a_volume_is_there_from_its_making_to_its_removal(
        self, driver: VolumeDriver
    ) -> None:
        with pytest.raises(NoSuchVolume):
            await driver.get("data")
        await self.create(driver, "data")
        assert (await driver.get("data")).name == "data"
        assert [volume.name for volume in await driver.list()] == ["data"]
        await self.remove(driver, "data")
        with pytest.raises(NoSuchVolume):
            await driver.get("data")
        assert list(await driver.list()) == []

    async def test_making_and_removing_can_be_said_twice(self, driver: VolumeDriver) -> None:
        await self.create(driver, "data")
        path = await driver.mount("data", "one")
        (path / "file").write_text("kept")
        await self.create(driver, "data")
        assert (path / "file").read_text() == "kept"
        await driver.unmount("data", "one")
        await self.remove(driver, "data")
        await driver.remove("data")

    async def test_two_users_see_one_volume_and_leave_it_one_by_one(
        self, driver: VolumeDriver
    ) -> None:
        await self.create(driver, "data")
        first = await driver.mount("data", "one")
        (first / "file").write_text("x")
        second = await driver.mount("data", "two")
        assert (second / "file").read_text() == "x"
        assert await driver.path("data")
        await driver.unmount("data", "one")
        assert (second / "file").read_text() == "x"
        await driver.unmount("data", "two")
        third = await driver.mount("data", "three")
        assert (third / "file").read_text() == "x", "a volume outlives its users"
        await driver.unmount("data", "three")

    async def test_unmounting_what_is_not_mounted_is_nothing(self, driver: VolumeDriver) -> None:
        await self.create(driver, "data")
        await driver.unmount("data", "nobody")
        path = await driver.mount("data", "one")
        await driver.unmount("data", "nobody")
        assert path.is_dir()
        await driver.unmount("data", "one")
        await driver.unmount("data", "one")

    async def test_volumes_do_not_see_each_other(self, driver: VolumeDriver) -> None:
        for name in ("one", "two"):
            await self.create(driver, name)
        one, two = await driver.mount("one", "me"), await driver.mount("two", "me")
        (one / "file").write_text("x")
        assert list(two.iterdir()) == []
        for name in ("one", "two"):
            await driver.unmount(name, "me")
