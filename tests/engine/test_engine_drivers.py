"""Drivers from outside, added by a file and a line each, and what they may do to containers."""

from __future__ import annotations

import asyncio
from dataclasses import replace as with_changes
from pathlib import Path

import pytest
from msgspec.structs import replace

from sampan.engine.contract import LogRequest
from sampan.errors import InvalidArgument, NotFound
from sampan.runtime import files
from sampan.store.records import LogConfig, Mount, Phase
from sampan.testing.clock import settle
from sampan.testing.toys.log import ToyLog
from sampan.testing.toys.runtime import ToyRuntime
from sampan.testing.toys.volume import ToyVolumes
from sampan.testing.world import World

TOY_LOG = LogConfig(type="toy")


@pytest.fixture
async def toy_log(world: World) -> ToyLog:
    toy = ToyLog()
    await restart(world, lambda drivers: drivers.log.register("toy", toy))
    return toy


@pytest.fixture
async def toy_volumes(world: World, tmp_path: Path) -> ToyVolumes:
    toy = ToyVolumes(tmp_path / "toy")
    await restart(world, lambda drivers: drivers.volume.register("toy", toy))
    return toy


async def restart(world: World, *lines: object) -> None:
    await world.crash()
    world.add_drivers += lines  # type: ignore[arg-type]
    await world.boot()


def volume(name: str) -> tuple[Mount, ...]:
    return (Mount(type="volume", target="/data", source=name, volume_driver="toy"),)


async def logs(world: World, ref: str, **query: object) -> list[bytes]:
    request = LogRequest(**query)  # type: ignore[arg-type]
    return [e.line async for batch in world.engine.logs(ref, request) for e in batch]


# -- log drivers


async def test_lines_go_to_a_log_driver_and_come_back_from_it(
    world: World, toy_log: ToyLog
) -> None:
    boat = await world.run("sh", "-c", "echo one;echo two >&2", log_config=TOY_LOG)
    taken = await toy_log.have(boat.id, 2)
    assert [(e.stream, e.line) for e in taken] == [("stdout", b"one\n"), ("stderr", b"two\n")]
    assert toy_log.opened[0].name == "boat"
    assert await logs(world, "boat") == [b"one\n", b"two\n"]
    assert await logs(world, "boat", tail=1) == [b"two\n"]


async def test_lines_are_read_from_the_cache_of_a_driver_that_does_not_read(world: World) -> None:
    toy = ToyLog(reads=False)
    await restart(world, lambda drivers: drivers.log.register("toy", toy))
    boat = await world.run("sh", "-c", "echo one", log_config=TOY_LOG)
    await toy.have(boat.id, 1)
    assert await logs(world, "boat") == [b"one\n"]


async def test_a_log_driver_that_waits_holds_up_no_start(world: World, toy_log: ToyLog) -> None:
    toy_log.gate.clear()
    slow = await world.run("sh", "-c", "echo late;cat", log_config=TOY_LOG, open_stdin=True)
    other = await world.run("forever", name="other")
    assert slow.running
    assert other.running
    assert not toy_log.taken
    toy_log.gate.set()
    assert [e.line for e in await toy_log.have(slow.id, 1)] == [b"late\n"]


async def test_a_sink_that_fails_gets_the_same_lines_again(world: World, toy_log: ToyLog) -> None:
    toy_log.failures = 3
    boat = await world.run("sh", "-c", "echo one;cat", log_config=TOY_LOG, open_stdin=True)
    for pause_s in (0.5, 1.0, 2.0):
        await world.until(lambda pause_s=pause_s: world.clock.pauses == [pause_s])
        await world.clock.advance(pause_s)
    assert [e.line for e in await toy_log.have(boat.id, 1)] == [b"one\n"]
    assert len(toy_log.opened) == 4


async def test_no_line_is_lost_or_comes_twice_over_daemons(world: World, toy_log: ToyLog) -> None:
    boat = await world.run("forever", log_config=TOY_LOG)
    io = world.runs.runs[boat.id].process.io
    expected = []
    for daemon in range(3):
        for n in range(100):
            expected.append(b"%d.%d\n" % (daemon, n))
            io.print(expected[-1])
            if n == 50:
                await toy_log.have(boat.id, len(expected))
                await settle()
                await remembered(world, boat.id)
                await world.crash()
        await world.boot()
    taken = await toy_log.have(boat.id, len(expected))
    assert [entry.line for entry in taken] == expected
    assert len(toy_log.opened) == 4


async def remembered(world: World, container_id: str) -> None:
    """Wait until what was taken is written down."""
    path = world.config.paths.container(container_id) / "container.log"
    place = path.with_name("container.log.forwarded")

    def there() -> bool:
        return place.exists() and f'"offset":{path.stat().st_size},' in place.read_text()

    await world.until(there)


async def test_what_was_left_of_a_stopped_containers_log_is_forwarded_by_the_next_daemon(
    world: World, toy_log: ToyLog
) -> None:
    toy_log.gate.clear()
    boat = await world.run("sh", "-c", "echo one;exit 3", log_config=TOY_LOG)
    await world.engine.wait(boat.id)
    await world.still()
    await world.crash()
    await world.boot()
    assert not toy_log.taken
    toy_log.gate.set()
    assert [e.line for e in await toy_log.have(boat.id, 1)] == [b"one\n"]
    await remembered(world, boat.id)
    opened = len(toy_log.opened)
    await world.crash()
    await world.boot()
    await settle()
    assert len(toy_log.opened) == opened, "nothing is left: nobody is asked"


async def test_a_removal_waits_for_the_last_lines_but_not_for_ever(
    world: World, toy_log: ToyLog
) -> None:
    boat = await world.run("sh", "-c", "echo last", log_config=TOY_LOG, auto_remove=True)
    await world.until(lambda: boat.id not in world.store.containers)
    assert [e.line for e in toy_log.taken[boat.id]] == [b"last\n"]
    toy_log.gate.clear()
    hung = await world.run("sh", "-c", "echo lost", log_config=TOY_LOG, auto_remove=True)
    await world.until(lambda: world.clock.pauses)
    assert hung.id in world.store.containers
    await world.clock.advance(60)
    await world.until(lambda: hung.id not in world.store.containers)
    assert hung.id not in toy_log.taken


async def test_one_container_again_and_again(world: World, toy_log: ToyLog) -> None:
    boat = await world.create("sh", "-c", "echo run", log_config=TOY_LOG)
    for _ in range(5):
        await world.engine.start(boat.id)
        await world.engine.wait(boat.id)
    assert [e.line for e in await toy_log.have(boat.id, 5)] == [b"run\n"] * 5


async def test_a_run_that_begins_and_ends_while_the_last_ones_sink_is_closed(
    world: World, toy_log: ToyLog
) -> None:
    toy_log.closing.clear()
    boat = await world.create("sh", "-c", "echo run", log_config=TOY_LOG)
    for _ in range(2):
        await world.engine.start(boat.id)
        await world.engine.wait(boat.id)
        await world.until(lambda: toy_log.closed == 1)
    toy_log.closing.set()
    assert [e.line for e in await toy_log.have(boat.id, 2)] == [b"run\n"] * 2


async def test_the_daemons_log_driver_is_that_of_containers_that_name_none(
    world: World, toy_log: ToyLog
) -> None:
    world.config = with_changes(
        world.config, log_driver="toy", log_options={"colour": "red", "mode": "blocking"}
    )
    await restart(world)
    nameless = await world.create("true", name="nameless", log_config=LogConfig(type=""))
    assert nameless.spec.host.log_config == LogConfig(
        type="toy", options={"colour": "red", "mode": "blocking"}
    )
    blue = LogConfig(type="toy", options={"colour": "blue"})
    named = await world.create("true", name="named", log_config=blue)
    assert named.spec.host.log_config.options == {"colour": "blue", "mode": "blocking"}
    other = await world.create("true", name="other", log_config=LogConfig(type="json-file"))
    assert other.spec.host.log_config.options == {}, "options belong to their driver"


@pytest.mark.parametrize(
    ("host", "error", "sentence"),
    [
        (
            {"log_config": LogConfig(type="syslog")},
            InvalidArgument,
            "logger: no log driver named 'syslog' is registered",
        ),
        (
            {"log_config": LogConfig(type="json-file", options={"nosuch": "1"})},
            InvalidArgument,
            "unknown log opt 'nosuch' for json-file log driver",
        ),
        (
            {"log_config": LogConfig(type="json-file", options={"compress": "true"})},
            InvalidArgument,
            "compress cannot be true when max-file is less than 2",
        ),
        ({"runtime": "kata"}, InvalidArgument, "unknown or invalid runtime name: kata"),
        (
            {"mounts": (Mount(type="volume", target="/d", source="dd", volume_driver="flocker"),)},
            InvalidArgument,
            'error looking up volume plugin flocker: plugin "flocker" not found',
        ),
    ],
)
async def test_a_driver_that_is_not_there_is_told_at_creation(
    world: World, host: dict[str, object], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        await world.create("true", **host)
    assert not world.store.containers


async def test_an_unknown_volume_driver(world: World) -> None:
    with pytest.raises(NotFound, match='plugin "flocker" not found'):
        await world.engine.volume_create("dd", "flocker", {}, {})


# -- volume drivers


async def test_a_volume_is_mounted_for_a_run_and_unmounted_after_it(
    world: World, toy_volumes: ToyVolumes
) -> None:
    boat = await world.run("forever", mounts=volume("data"))
    assert toy_volumes.users["data"] == [boat.id]
    (point,) = boat.mount_points
    assert point.driver == "toy"
    second = await world.run("forever", name="second", mounts=volume("data"))
    assert toy_volumes.users["data"] == [boat.id, second.id]
    world.runs.finish(boat.id)
    await world.until(lambda: toy_volumes.users["data"] == [second.id])
    await world.engine.stop("second")
    await world.still()
    assert toy_volumes.users["data"] == []
    mounts = [user for what, _, user in toy_volumes.calls if what == "mount"]
    assert sorted(mounts) == sorted(user for what, _, user in toy_volumes.calls if what != "mount")


async def test_a_volume_driver_that_waits_holds_up_no_other_start(
    world: World, toy_volumes: ToyVolumes
) -> None:
    slow = await world.create("forever", name="slow", mounts=volume("data"))
    toy_volumes.gate.clear()
    starting = world.spawn(world.engine.start(slow.id))
    await world.until(lambda: ("mount", "data", slow.id) in toy_volumes.calls)
    other = await world.run("forever", name="other")
    assert other.running
    assert not starting.done()
    toy_volumes.gate.set()
    await starting
    assert world.engine.get("slow").running


async def test_a_run_that_ended_without_a_daemon_is_unmounted_by_the_next(
    world: World, toy_volumes: ToyVolumes
) -> None:
    boat = await world.run("forever", mounts=volume("data"))
    lives = await world.run("forever", name="lives", mounts=volume("data"))
    await world.crash()
    world.runs.finish(boat.id)
    await world.boot()
    await world.until(lambda: toy_volumes.users["data"] == [lives.id])


async def test_a_start_that_was_cut_short_is_unmounted(
    world: World, toy_volumes: ToyVolumes
) -> None:
    boat = await world.run("forever", mounts=volume("data"))
    run = boat.run
    assert run is not None
    await world.crash()
    # As the store was in the middle of the start: nobody was told of it.
    starting = replace(boat, run=replace(run, phase=Phase.STARTING))
    world.store.transact(lambda tx: tx.containers.put(starting))
    await world.boot()
    await world.until(lambda: toy_volumes.users["data"] == [])


async def test_a_start_that_fails_unmounts(world: World, toy_volumes: ToyVolumes) -> None:
    await world.create("no-such-program", mounts=volume("data"))
    with pytest.raises(InvalidArgument):
        await world.engine.start("boat")
    assert toy_volumes.users["data"] == []


async def test_a_daemons_start_waits_for_no_driver(world: World, toy_volumes: ToyVolumes) -> None:
    """A volume that cannot be unmounted now keeps nobody from asking the new daemon."""
    await world.run("forever", mounts=volume("data"))
    await world.crash()
    answer = asyncio.Event()
    unmount = toy_volumes.unmount

    async def hanging(name: str, user: str) -> None:
        await answer.wait()
        await unmount(name, user)

    toy_volumes.unmount = hanging  # type: ignore[method-assign]
    world.runs.runs.clear()
    starting = world.spawn(world.boot())
    await world.until(starting.done)
    assert not world.engine.get("boat").running
    answer.set()
    await world.until(lambda: toy_volumes.users["data"] == [])


# -- runtimes


async def test_a_runtime_is_named_by_a_container(world: World, tmp_path: Path) -> None:
    toy = ToyRuntime(tmp_path, files.oci_root(world.config.paths))
    await restart(world, lambda drivers: drivers.runtime.register("toy", toy))
    boat = await world.run("forever", runtime="toy")
    assert boat.spec.host.runtime == "toy"
    assert "toy" in world.drivers.runtime.names()


def test_one_list_tells_all_drivers(world: World) -> None:
    assert ("Log", "json-file") in world.drivers.plugins()
    assert ("Volume", "local") in world.drivers.plugins()
    assert {kind for kind, _ in world.drivers.plugins()} <= {"Log", "Network", "Volume"}


async def test_a_volume_that_two_creations_ask_for_outlives_the_one_that_fails(
    world: World, toy_volumes: ToyVolumes
) -> None:
    making, answer = asyncio.Event(), asyncio.Event()
    create = toy_volumes.create

    async def slow(name: str, options: dict[str, str], labels: dict[str, str]) -> None:
        making.set()
        await answer.wait()
        await create(name, options, labels)

    toy_volumes.create = slow  # type: ignore[assignment, method-assign]
    mounts = (*volume("data"), Mount(type="volume", target="/d", source="no", volume_driver="x"))
    fails = world.spawn(world.create("true", name="fails", mounts=mounts))
    await making.wait()
    stays = world.spawn(world.create("true", name="stays", mounts=volume("data")))
    await settle()
    answer.set()
    await stays
    with pytest.raises(InvalidArgument, match='plugin "x" not found'):
        await fails
    assert set(toy_volumes.users) == {"data"}
    await world.engine.start("stays")
