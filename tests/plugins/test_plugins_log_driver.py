"""Logs that go to a plugin's process, by the driver's contract."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from sampan.aio import SystemClock
from sampan.plugins.errors import BadAnswer, NoAnswer, PluginRefused
from sampan.plugins.fifo import FifoWriter
from sampan.plugins.log_driver import PIPE_BYTES, PluginLogDriver
from sampan.plugins.log_entry import Partial
from sampan.plugins.plugins import Plugins
from sampan.runtime.contract import LogEntry
from sampan.runtime.log_drivers.contract import LogDriver, LoggedContainer, LogQuery
from sampan.testing.contracts.log_driver import CONTAINER as SUITES
from sampan.testing.contracts.log_driver import LogSinkContract
from sampan.testing.place import wait_until
from sampan.testing.plugins.kinds import logged
from sampan.testing.plugins.process import PluginProcess, Start

CONTAINER = LoggedContainer(
    id="c1",
    name="web",
    image_id="sha256:1",
    image_name="nginx",
    entrypoint="/bin/sh",
    args=("-c", "true"),
    created_at=1767323045.5,
    env=("A=1",),
    labels={"l": "1"},
    options={"tag": "x"},
)


@pytest.fixture
def plugin(start: Start) -> PluginProcess:
    return start("log")


@pytest.fixture
async def driver(plugin: PluginProcess, plugins: Plugins, base: Path) -> PluginLogDriver:
    client = await plugins.client("plug", "LogDriver")
    return await PluginLogDriver.of(client, base / "fifos", SystemClock())


class TestPlugin(LogSinkContract):
    refuses_unknown = False

    @pytest.fixture
    def driver(self, driver: PluginLogDriver) -> LogDriver:
        return driver

    async def received(self, driver: LogDriver) -> Sequence[LogEntry]:
        return [entry async for batch in driver.read(SUITES, LogQuery()) for entry in batch]


def lines(first: int, last: int) -> list[LogEntry]:
    return [LogEntry(n, "stdout", b"%d\n" % n) for n in range(first, last + 1)]


async def numbers(plugin: PluginProcess, count: int) -> list[int]:
    """What the plugin has, once it has ``count`` entries: it writes them when it comes to it."""
    await asyncio.to_thread(wait_until, lambda: len(logged(plugin.directory, "c1")) >= count)
    return [int(entry.line) for entry in logged(plugin.directory, "c1")]


async def read(driver: PluginLogDriver, query: LogQuery) -> list[LogEntry]:
    return [entry async for batch in driver.read(CONTAINER, query) for entry in batch]


async def test_every_entry_arrives_and_is_read_back(
    plugin: PluginProcess, driver: PluginLogDriver, base: Path
) -> None:
    assert driver.capabilities.reads
    sink = await driver.open(CONTAINER)
    sent = lines(1, 10_000)
    for at in range(0, len(sent), 700):
        await sink.write(sent[at : at + 700])
    await sink.close()
    assert await numbers(plugin, 10_000) == list(range(1, 10_001))
    assert await read(driver, LogQuery()) == sent
    assert await read(driver, LogQuery(tail=2)) == sent[-2:]
    assert await read(driver, LogQuery(tail=0)) == []
    assert await read(driver, LogQuery(since_ns=9_999)) == sent[-2:]
    assert await read(driver, LogQuery(until_ns=3)) == sent[:3]
    assert await read(driver, LogQuery(streams=frozenset(("stderr",)))) == []
    assert os.listdir(base / "fifos") == []
    started, stopped = plugin.calls("LogDriver.StartLogging", "LogDriver.StopLogging")
    assert started.request["File"] == stopped.request["File"]
    info = started.request["Info"]
    assert info["ContainerID"] == "c1"
    assert info["ContainerName"] == "/web"
    assert info["ContainerArgs"] == ["-c", "true"]
    assert info["ContainerCreated"] == "2026-01-02T03:04:05.500000000Z"
    assert info["ContainerLabels"] == {"l": "1"}
    assert info["Config"] == {"tag": "x"}


async def test_what_a_killed_daemon_has_left_is_swept(
    plugin: PluginProcess, plugins: Plugins, base: Path
) -> None:
    (base / "fifos").mkdir()
    os.mkfifo(base / "fifos/old")
    client = await plugins.client("plug", "LogDriver")
    sink = await (await PluginLogDriver.of(client, base / "fifos", SystemClock())).open(CONTAINER)
    assert len(os.listdir(base / "fifos")) == 1
    assert not (base / "fifos/old").exists()
    await sink.close()


async def test_a_long_line_travels_in_numbered_pieces(
    plugin: PluginProcess, driver: PluginLogDriver
) -> None:
    sink = await driver.open(CONTAINER)
    sent = [
        LogEntry(1, "stdout", b"a", True),
        LogEntry(1, "stderr", b"x\n"),
        LogEntry(1, "stdout", b"b", True),
        LogEntry(1, "stdout", b"c\n"),
        LogEntry(2, "stdout", b"d\n"),
    ]
    await sink.write(sent)
    await sink.close()
    await asyncio.to_thread(wait_until, lambda: len(logged(plugin.directory, "c1")) == 5)
    a, x, b, c, d = logged(plugin.directory, "c1")
    assert isinstance(a.piece, Partial)
    assert x.piece is d.piece is None
    assert (b.piece, c.piece) == (Partial(a.piece.id, 2, False), Partial(a.piece.id, 3, True))
    assert [entry.partial for entry in (a, x, b, c, d)] == [True, False, True, True, False]
    assert [entry.line for entry in (a, b, c)] == [b"a", b"b", b"c"]
    assert await read(driver, LogQuery()) == sent


async def test_what_a_plugin_refuses_is_the_error(
    plugin: PluginProcess, driver: PluginLogDriver, base: Path
) -> None:
    refused = LoggedContainer(
        id="c1",
        name="",
        image_id="",
        image_name="",
        entrypoint="",
        args=(),
        created_at=0,
        options={"refuse": "1"},
    )
    with pytest.raises(PluginRefused, match="this container is not logged"):
        await driver.open(refused)
    plugin.behave(LogDriver_StartLogging="hang")
    with pytest.raises(NoAnswer):
        await driver.open(CONTAINER)
    assert os.listdir(base / "fifos") == []
    plugin.behave(LogDriver_ReadLogs="error")
    with pytest.raises(BadAnswer):
        await read(driver, LogQuery())
    plugin.behave(LogDriver_ReadLogs="refuse")
    with pytest.raises(PluginRefused, match="the disk is on fire"):
        await read(driver, LogQuery())


async def test_what_a_plugin_had_not_read_when_it_died_comes_again(
    plugin: PluginProcess, driver: PluginLogDriver
) -> None:
    sink = await driver.open(CONTAINER)
    await sink.write(lines(1, 500))
    assert await numbers(plugin, 500) == list(range(1, 501))
    plugin.freeze()
    await sink.write(lines(501, 1000))
    plugin.stop(signal.SIGKILL)
    with pytest.raises(BrokenPipeError):
        await sink.write(lines(1001, 1100))
    await sink.close()
    plugin.start()
    again = await driver.open(CONTAINER)
    await again.write(lines(1001, 1100))
    await again.close()
    assert await numbers(plugin, 1100) == list(range(1, 1101)), "none is lost, and none comes twice"


async def test_a_plugin_that_does_not_read_holds_up_its_own_log_only(
    plugin: PluginProcess, driver: PluginLogDriver, start: Start, plugins: Plugins, base: Path
) -> None:
    other = start("log", "other")
    client = await plugins.client("other", "LogDriver")
    quick = await PluginLogDriver.of(client, base / "fifos", SystemClock())
    sink = await driver.open(CONTAINER)
    plugin.freeze()
    entries = [LogEntry(1, "stdout", b"x" * 1000 + b"\n")] * (3 * PIPE_BYTES // 1000)
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(sink.write(entries))
        beside = await quick.open(CONTAINER)
        await beside.write(lines(1, 100))
        await beside.close()
        assert await numbers(other, 100) == list(range(1, 101))
        assert not writing.done()
        plugin.thaw()
    await sink.close()
    await asyncio.to_thread(wait_until, lambda: len(logged(plugin.directory, "c1")) == len(entries))
    assert logged(plugin.directory, "c1")[-1].line == b"x" * 1000


async def test_a_fifo_waits_for_its_reader_without_a_thread(base: Path) -> None:
    fifo = FifoWriter(base / "fifo", SystemClock())
    async with asyncio.TaskGroup() as group:
        connecting = group.create_task(fifo.connect())
        reader = await asyncio.to_thread(os.open, base / "fifo", os.O_RDONLY)
        await connecting
    await fifo.write(b"abc")
    assert fifo.unread() == 3
    assert not await fifo.drained(0.01)
    assert os.read(reader, 10) == b"abc"
    assert await fifo.drained(0.01)
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        await fifo.write(b"d")
    fifo.close()
    fifo.close()
    assert not (base / "fifo").exists()
