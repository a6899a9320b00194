"""Volumes of a plugin's process, by the driver's contract."""

from __future__ import annotations

import pytest

from sampan.plugins.errors import BadAnswer, NoAnswer, PluginRefused
from sampan.plugins.plugins import Plugins
from sampan.plugins.volume_driver import PluginVolumeDriver
from sampan.testing.contracts.volume_driver import VolumeDriverContract
from sampan.testing.plugins.process import PluginProcess, Start
from sampan.volume.contract import NoSuchVolume, VolumeCapabilities, VolumeDriver


@pytest.fixture
def plugin(start: Start) -> PluginProcess:
    return start("volume")


@pytest.fixture
async def driver(plugin: PluginProcess, plugins: Plugins) -> VolumeDriver:
    return await PluginVolumeDriver.open(await plugins.client("plug", "VolumeDriver"))


class TestPlugin(VolumeDriverContract):
    @pytest.fixture
    def driver(self, driver: VolumeDriver) -> VolumeDriver:
        return driver


async def test_what_it_can_is_asked_and_a_plugin_that_does_not_know_is_local(
    plugin: PluginProcess, driver: VolumeDriver, plugins: Plugins
) -> None:
    assert driver.capabilities == VolumeCapabilities(scope="global")
    plugin.behave(VolumeDriver_Capabilities="missing")
    client = await plugins.client("plug", "VolumeDriver")
    assert (await PluginVolumeDriver.open(client)).capabilities.scope == "local"
    plugin.behave(VolumeDriver_Capabilities="hang")
    with pytest.raises(NoAnswer):
        await PluginVolumeDriver.open(client)


async def test_a_volume_from_its_making_to_its_end(
    plugin: PluginProcess, driver: VolumeDriver
) -> None:
    assert await driver.list() == []
    await driver.create("v", {"size": "1G"}, {"label": "x"})
    assert plugin.calls("VolumeDriver.Create")[0].request == {"Name": "v", "Opts": {"size": "1G"}}
    assert await driver.path("v") == ""
    path = await driver.mount("v", "one")
    assert await driver.mount("v", "two") == path == plugin.directory / "data/v"
    told = await driver.get("v")
    assert told.name == "v"
    assert told.mountpoint == await driver.path("v") == str(path)
    assert told.created_at == 1767323045.5
    assert told.status == {"options": {"size": "1G"}, "users": 2}
    assert [v.name for v in await driver.list()] == ["v"]
    with pytest.raises(PluginRefused, match="volume v is mounted"):
        await driver.remove("v")
    await driver.unmount("v", "one")
    await driver.unmount("v", "two")
    await driver.unmount("v", "two")
    await driver.remove("v")
    await driver.remove("v")
    await driver.unmount("v", "one")
    with pytest.raises(NoSuchVolume):
        await driver.get("v")


async def test_a_plugin_that_fails_has_not_lost_its_volumes(
    plugin: PluginProcess, driver: VolumeDriver
) -> None:
    await driver.create("v", {}, {})
    plugin.behave(VolumeDriver_Get="error", VolumeDriver_Remove="error")
    with pytest.raises(PluginRefused, match="the disk is on fire"):
        await driver.get("v")
    with pytest.raises(PluginRefused, match="the disk is on fire"):
        await driver.remove("v")
    plugin.behave(VolumeDriver_Get="error", VolumeDriver_List="error")
    with pytest.raises(PluginRefused, match=r"VolumeDriver.List: the disk is on fire"):
        await driver.get("v")


async def test_an_unmount_that_fails_is_told_while_the_volume_is_mounted(
    plugin: PluginProcess, driver: VolumeDriver
) -> None:
    await driver.create("v", {}, {})
    await driver.mount("v", "one")
    plugin.behave(VolumeDriver_Unmount="error")
    with pytest.raises(PluginRefused, match="the disk is on fire"):
        await driver.unmount("v", "one")


async def test_a_mount_point_is_a_path(plugin: PluginProcess, driver: VolumeDriver) -> None:
    await driver.create("v", {}, {})
    plugin.behave(VolumeDriver_Mount="garbage")
    with pytest.raises(BadAnswer, match=r"VolumeDriver.Mount"):
        await driver.mount("v", "one")


async def test_volumes_outlive_the_plugins_process(
    plugin: PluginProcess, driver: VolumeDriver
) -> None:
    await driver.create("v", {}, {})
    await driver.mount("v", "one")
    plugin.behave(VolumeDriver_Path="die")
    with pytest.raises(NoAnswer):
        await driver.path("v")
    plugin.wait()
    plugin.start()
    plugin.behave()
    assert (await driver.get("v")).mountpoint
    await driver.unmount("v", "one")
