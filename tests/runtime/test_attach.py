"""Many clients share one connection to a run's monitor; here the monitor's end is the test's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sampan.aio import SystemClock, Tasks
from sampan.errors import Unavailable
from sampan.runtime.attach import MonitorAttachment, MonitorConnections
from sampan.runtime.contract import NoSuchRun
from sampan.runtime.streams import HIGH_WATER
from sampan.testing.clock import FakeClock, settle

OUT, ERR = b"\x02", b"\x03"


class Monitor:
    """Listens as conmon does."""

    def __init__(self, directory: Path, backlog: int = 1) -> None:
        self.directory = directory
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.setblocking(False)
        self.socket.bind(str(directory / "attach"))
        self.socket.listen(backlog)
        self.clients: list[socket.socket] = []

    def accept(self) -> socket.socket:
        client, _ = self.socket.accept()
        client.settimeout(5)
        self.clients.append(client)
        return client

    def close(self) -> None:
        for client in (*self.clients, self.socket):
            client.close()


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Monitor]:
    made = Monitor(tmp_path)
    yield made
    made.close()


async def everything(client: MonitorAttachment) -> bytes:
    return b"".join([data async for _, data in client.output()])


async def one(client: MonitorAttachment) -> bytes:
    async for _, data in client.output():
        return data
    return b""


async def test_one_connection_serves_all(monitor: Monitor) -> None:
    connections = MonitorConnections(SystemClock())
    clients = [
        await connections.attach("run", monitor.directory, half_close=False) for _ in range(20)
    ]
    end = monitor.accept()
    with pytest.raises(BlockingIOError):
        monitor.accept()
    end.send(OUT + b"a")
    for client in clients[:19]:
        await client.close()
    end.send(ERR + b"b")
    late = await connections.attach("run", monitor.directory, half_close=False)
    await asyncio.sleep(0)
    end.send(OUT + b"c")
    end.close()
    assert await everything(clients[19]) == b"abc"
    assert (await everything(late)).endswith(b"c")
    assert await everything(clients[0]) == b""


async def test_the_last_who_leaves_closes_the_door(monitor: Monitor) -> None:
    connections = MonitorConnections(SystemClock())
    for _ in range(3):
        client = await connections.attach("run", monitor.directory, half_close=False)
        end = monitor.accept()
        await client.close()
        await client.close()
        assert end.recv(10) == b""


async def test_leaving_does_not_end_a_stdin_that_others_have(monitor: Monitor) -> None:
    connections = MonitorConnections(SystemClock())
    first = await connections.attach("run", monitor.directory, half_close=True)
    end = monitor.accept()
    await first.write(b"1")
    await first.close()
    second = await connections.attach("run", monitor.directory, half_close=True)
    await second.write(b"2")
    await second.close_stdin()
    assert [end.recv(10) for _ in range(3)] == [b"1", b"2", b""]
    with pytest.raises(BrokenPipeError):
        await second.write(b"3")
    end.send(OUT + b"and still it says something")
    end.close()
    assert await everything(second) == b"and still it says something"
    connections.close()


async def test_a_long_text_goes_in_in_packets(monitor: Monitor) -> None:
    connections = MonitorConnections(SystemClock())
    client = await connections.attach("run", monitor.directory, half_close=False)
    end = monitor.accept()
    tasks = Tasks()
    writing = tasks.spawn(client.write(bytes(100_000)), name="write")
    size = 0
    while size < 100_000:
        size += len(await asyncio.to_thread(end.recv, 1 << 20))
    await writing
    await client.close()


async def send(end: socket.socket, data: bytes) -> None:
    """As much as is taken at once."""
    await asyncio.to_thread(end.send, OUT + data)


async def test_alone_a_reader_may_take_its_time(monitor: Monitor) -> None:
    connections = MonitorConnections(SystemClock())
    client = await connections.attach("run", monitor.directory, half_close=False)
    end = monitor.accept()
    sent = 0
    end.settimeout(0.2)
    with suppress(TimeoutError):
        while True:
            await send(end, bytes(32_768))
            sent += 32_768
    assert sent >= HIGH_WATER
    end.close()
    assert len(await everything(client)) == sent, "nothing is dropped"


async def test_nobody_waits_for_one_that_has_stalled(monitor: Monitor) -> None:
    connections = MonitorConnections(SystemClock(), stalled_s=0.05)
    stalled, reads = [
        await connections.attach("run", monitor.directory, half_close=False) for _ in range(2)
    ]
    end = monitor.accept()
    tasks = Tasks()
    reading = tasks.spawn(everything(reads), name="read")
    for _ in range(200):
        await send(end, bytes(32_768))
    end.close()
    assert len(await reading) == 200 * 32_768
    assert await everything(stalled) == b""


async def test_a_full_backlog_is_tried_again(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path, backlog=0)
    other = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    other.connect(str(tmp_path / "attach"))
    clock = FakeClock()
    connections, tasks = MonitorConnections(clock), Tasks()
    joining = [
        tasks.spawn(connections.attach("run", tmp_path, half_close=True), name="join")
        for _ in range(3)
    ]
    await settle()
    assert len(clock.pauses) == 3, "all of them wait"
    monitor.accept()
    await clock.advance(1)
    clients = [await one for one in joining]
    end = monitor.accept()
    with pytest.raises(BlockingIOError):
        monitor.accept()  # nobody has made a second one, whose end would be that of stdin
    await clients[2].write(b"in")
    assert end.recv(10) == b"in"
    connections.close()
    other.close()
    monitor.close()


async def test_a_backlog_that_stays_full_is_told(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path, backlog=0)
    other = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    other.connect(str(tmp_path / "attach"))
    clock = FakeClock()
    tasks = Tasks()
    joining = tasks.attempt(
        MonitorConnections(clock).attach("run", tmp_path, half_close=False), name="join"
    )
    while not joining.done():
        await clock.advance(1)
    with pytest.raises(Unavailable, match="too many"):
        (await joining).value()
    other.close()
    monitor.close()


async def test_who_is_gone_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NoSuchRun):
        await MonitorConnections(SystemClock()).attach("run", tmp_path, half_close=False)


async def test_the_next_run_has_a_connection_of_its_own(monitor: Monitor, tmp_path: Path) -> None:
    connections = MonitorConnections(SystemClock())
    before = await connections.attach("run", monitor.directory, half_close=False)
    end = monitor.accept()
    connections.forget("run")
    (tmp_path / "next").mkdir()
    following = Monitor(tmp_path / "next")
    after = await connections.attach("run", following.directory, half_close=False)
    new = following.accept()
    end.send(OUT + b"last words")
    end.close()
    new.send(OUT + b"first words")
    new.close()
    assert await everything(before) == b"last words"
    assert await everything(after) == b"first words"
    following.close()


async def test_a_killed_run_waits_for_no_reader(monitor: Monitor) -> None:
    connections = MonitorConnections(SystemClock())
    stalled = await connections.attach("run", monitor.directory, half_close=False)
    end = monitor.accept()
    end.settimeout(0.2)
    with suppress(TimeoutError):
        while True:
            await send(end, bytes(32_768))
    connections.hurry("run")
    end.settimeout(5)
    with pytest.raises(ConnectionError):  # it is let go, and was the last: nobody is written to
        await send(end, bytes(32_768))
    assert await everything(stalled) == b""
