from __future__ import annotations

import asyncio
import signal

import pytest

from sampan.engine.contract import (
    AlreadyStarted,
    AlreadyStopped,
    LogRequest,
    NoSuchContainer,
    NotRunning,
)
from sampan.errors import Conflict, Exhausted, InvalidArgument, Unsupported
from sampan.runtime.contract import CommandNotFound
from sampan.store.records import LogConfig, Phase, RestartPolicy
from sampan.testing.clock import settle
from sampan.testing.world import World


async def test_a_run_from_create_to_exit(world: World) -> None:
    boat = await world.create("sh", "-c", "echo hello;exit 3")
    waiting = world.spawn(world.engine.wait(boat.id, "next-exit"))
    stream = await world.engine.attach(boat.id)
    await world.engine.start("boat")
    assert b"".join([chunk async for _, chunk in stream.output()]) == b"hello\n"
    assert (await waiting).exit_code == 3
    await world.still()
    row = world.engine.get("boat")
    assert row.run is not None
    assert (row.run.phase, row.run.exit_code, row.run.number) == (Phase.STOPPED, 3, 1)
    assert world.actions() == ["create", "start", "die"]
    assert not world.networks.sandboxes
    assert not world.runs.runs
    assert not world.snapshots.mounted
    assert row.networks["bridge"].endpoint_id == ""


async def test_a_second_run_is_numbered_and_attachable(world: World) -> None:
    boat = await world.run("echo", "hi")
    await world.engine.wait(boat.id)
    await world.still()
    stream = await world.engine.attach("boat")
    await world.engine.start("boat")
    assert [chunk async for chunk in stream.output()] == [("stdout", b"hi\n")]
    run = world.engine.get("boat").run
    assert run is not None
    assert run.number == 2


async def test_events_carry_dockers_attributes(world: World) -> None:
    boat = await world.run("true", labels={"who": "me"})
    await world.engine.wait(boat.id)
    await world.still()
    die = next(e for e in world.seen() if e.action == "die")
    assert die.actor_id == boat.id
    assert die.attributes == {
        "who": "me",
        "image": "busybox",
        "name": "boat",
        "exitCode": "0",
        "execDuration": "0",
    }


async def test_network_events_frame_the_run(world: World) -> None:
    boat = await world.run("true")
    await world.engine.wait(boat.id)
    await world.still()
    events = [
        (e.type, e.action)
        for e in world.seen()
        if e.type != "network" or e.attributes.get("container")
    ]
    assert events == [
        ("container", "create"),
        ("network", "connect"),
        ("container", "start"),
        ("container", "die"),
        ("network", "disconnect"),
    ]


async def test_a_command_that_is_not_there(world: World) -> None:
    boat = await world.create("nonsense")
    stream = await world.engine.attach("boat")
    with pytest.raises(CommandNotFound):
        await world.engine.start("boat")
    row = world.engine.get("boat")
    assert row.run is not None
    assert (row.run.phase, row.run.exit_code) == (Phase.STOPPED, 127)
    assert "nonsense" in row.run.error
    assert [chunk async for chunk in stream.output()] == []
    assert not world.networks.sandboxes
    assert not world.snapshots.mounted
    assert (await world.engine.wait(boat.id)).exit_code == 127


async def test_a_failed_start_removes_what_is_auto_removed(world: World) -> None:
    boat = await world.create("nonsense", auto_remove=True)
    removed = world.spawn(world.engine.wait(boat.id, "removed"))
    await settle()
    with pytest.raises(CommandNotFound):
        await world.engine.start("boat")
    assert (await removed).exit_code == 127
    with pytest.raises(NoSuchContainer):
        world.engine.get("boat")


async def test_auto_remove(world: World) -> None:
    boat = await world.create("sh", "-c", "exit 4", auto_remove=True, volumes=("/data",))
    removed = world.spawn(world.engine.wait(boat.id, "removed"))
    await settle()
    await world.engine.start("boat")
    assert (await removed).exit_code == 4
    assert not world.store.containers
    assert not world.store.volumes
    assert not world.snapshots.parents
    assert not world.config.paths.container(boat.id).exists()
    assert world.actions() == ["create", "start", "die", "destroy"]


async def test_start_twice(world: World) -> None:
    await world.run("forever")
    with pytest.raises(AlreadyStarted):
        await world.engine.start("boat")


async def test_stop_asks_then_insists(world: World) -> None:
    boat = await world.run("forever")
    world.runs.runs[boat.id].process.ignores = frozenset((signal.SIGTERM,))
    stopping = world.spawn(world.engine.stop("boat", timeout_s=5))
    await settle()
    assert world.engine.get("boat").running
    await world.clock.advance(5)
    await stopping
    run = world.engine.get("boat").run
    assert run is not None
    assert run.exit_code == 137
    assert run.stop_requested
    assert world.actions()[2:] == ["kill", "kill", "die", "stop"]
    with pytest.raises(AlreadyStopped):
        await world.engine.stop("boat")


async def test_kill_reaches_a_container_that_is_being_stopped(world: World) -> None:
    boat = await world.run("forever")
    world.runs.runs[boat.id].process.ignores = frozenset((signal.SIGTERM,))
    stopping = world.spawn(world.engine.stop("boat", timeout_s=-1))
    await settle()
    await world.engine.kill("boat")
    await stopping
    assert not world.engine.get("boat").running


async def test_kill_with_a_signal_that_does_not_exist(world: World) -> None:
    await world.run("forever")
    with pytest.raises(InvalidArgument, match="Invalid signal: SIGFOO"):
        await world.engine.kill("boat", "SIGFOO")
    with pytest.raises(InvalidArgument, match="Invalid signal"):
        await world.engine.stop("boat", signal="99")


async def test_kill_of_what_does_not_run(world: World) -> None:
    await world.create("true")
    with pytest.raises(Conflict, match="is not running"):
        await world.engine.kill("boat")


async def test_a_paused_container_can_be_stopped(world: World) -> None:
    boat = await world.run("forever")
    await world.engine.pause("boat")
    run = world.engine.get("boat").run
    assert run is not None
    assert run.paused
    with pytest.raises(Conflict, match="already paused"):
        await world.engine.pause("boat")
    await world.engine.stop("boat")
    assert boat.id not in world.runs.runs
    with pytest.raises(NotRunning):
        await world.engine.unpause("boat")


async def test_restart_keeps_an_auto_removed_container(world: World) -> None:
    await world.run("forever", auto_remove=True)
    await world.engine.restart("boat")
    row = world.engine.get("boat")
    assert row.running
    assert row.run is not None
    assert row.run.number == 2
    assert world.actions() == ["create", "start", "kill", "die", "stop", "start", "restart"]


async def test_restart_policy_backs_off_and_resets(world: World) -> None:
    await world.run("false", restart_policy=RestartPolicy(name="always"))
    pauses = []
    for count in range(5):
        await world.until(lambda: world.clock.pauses)
        row = world.engine.get("boat")
        assert row.run is not None
        assert row.run.restarting
        assert row.restart_count == count
        pauses.append(round(world.clock.pauses[0], 3))
        if count < 4:
            await world.clock.advance(world.clock.pauses[0])
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6]
    with pytest.raises(AlreadyStopped):
        await world.engine.stop("boat")
    await world.clock.advance(100)
    row = world.engine.get("boat")
    assert row.run is not None
    assert not row.run.restarting
    assert not row.running


async def test_on_failure_gives_up(world: World) -> None:
    boat = await world.create(
        "false", restart_policy=RestartPolicy(name="on-failure", maximum_retry_count=2)
    )
    waiting = world.spawn(world.engine.wait(boat.id, "next-exit"))
    await settle()
    await world.engine.start("boat")
    assert (await waiting).exit_code == 1
    for _ in range(2):
        await world.until(lambda: world.clock.pauses)
        # each end is one, also when another run is to come
        stopped = world.spawn(world.engine.wait(boat.id))
        await settle()
        assert not stopped.done()
        await world.clock.advance(world.clock.pauses[0])
        assert (await stopped).exit_code == 1
    assert world.engine.get("boat").restart_count == 2


async def test_a_stopped_container_stays_stopped(world: World) -> None:
    await world.run("forever", restart_policy=RestartPolicy(name="always"))
    await world.engine.stop("boat")
    await world.clock.advance(100)
    assert not world.engine.get("boat").running


async def test_what_is_restarted_is_not_removed_without_force(world: World) -> None:
    await world.run("false", restart_policy=RestartPolicy(name="always"))
    await world.until(lambda: world.clock.pauses)
    with pytest.raises(Conflict, match="container is restarting"):
        await world.engine.remove("boat")
    await world.engine.remove("boat", force=True)
    assert not world.store.containers


async def test_a_forced_removal_meets_the_end_of_the_run(world: World) -> None:
    boat = await world.run("forever")
    world.runs.finish(boat.id, 3)  # nobody has noticed yet
    await world.engine.remove("boat", force=True)
    assert not world.store.containers


async def test_remove(world: World) -> None:
    boat = await world.run("forever", volumes=("/data",))
    with pytest.raises(Conflict, match="container is running"):
        await world.engine.remove("boat")
    await world.engine.remove("boat", force=True, volumes=True)
    assert not world.store.containers
    assert not world.store.volumes
    assert not world.snapshots.parents
    assert not world.runs.runs
    assert not world.config.paths.container(boat.id).exists()
    with pytest.raises(NoSuchContainer, match="No such container: boat"):
        await world.engine.remove("boat")
    await world.create("true")


async def test_oom_is_said(world: World) -> None:
    boat = await world.run("forever")
    world.runs.finish(boat.id, 137, oom_killed=True)
    await world.engine.wait(boat.id)
    await world.still()
    assert world.actions()[-2:] == ["oom", "die"]


async def test_a_full_disk_keeps_the_exit_code(world: World) -> None:
    boat = await world.run("forever")
    world.store.full = True
    world.runs.finish(boat.id, 9)
    await settle()
    assert boat.id in world.runs.runs  # the only place that knows it
    world.store.full = False
    await world.clock.advance(1)
    assert (await world.engine.wait(boat.id)).exit_code == 9
    await settle()
    assert not world.runs.runs


async def test_a_full_disk_refuses_a_start_and_leaves_nothing(world: World) -> None:
    await world.create("forever")
    world.store.full = True
    with pytest.raises(Exhausted):
        await world.engine.start("boat")
    assert not world.runs.runs
    assert not world.networks.sandboxes
    world.store.full = False
    await world.engine.start("boat")
    assert world.engine.get("boat").running


async def test_logs(world: World) -> None:
    boat = await world.run("sh", "-c", "echo one;echo two >&2")
    await world.engine.wait(boat.id)
    await world.still()
    entries = [e async for batch in world.engine.logs("boat", LogRequest()) for e in batch]
    assert [(e.stream, e.line) for e in entries] == [("stdout", b"one\n"), ("stderr", b"two\n")]
    entries = [
        e async for batch in world.engine.logs("boat", LogRequest(stdout=False)) for e in batch
    ]
    assert [e.line for e in entries] == [b"two\n"]


async def test_following_logs_ends_with_the_run(world: World) -> None:
    boat = await world.run("sh", "-c", "echo one;cat", open_stdin=True)
    got: list[bytes] = []

    async def follow() -> None:
        async for batch in world.engine.logs("boat", LogRequest(follow=True)):
            got.extend(e.line for e in batch)

    following = world.spawn(follow())
    await settle()
    world.runs.finish(boat.id)
    await asyncio.wait_for(following, 5)
    assert got == [b"one\n"]


async def test_logs_of_a_container_that_keeps_none(world: World) -> None:
    await world.create("true", log_config=LogConfig(type="none"))
    with pytest.raises(Unsupported, match="configured logging driver does not support reading"):
        world.engine.logs("boat", LogRequest())


async def test_stdin_once(world: World) -> None:
    await world.create("cat", open_stdin=True, stdin_once=True)
    stream = await world.engine.attach("boat")
    await world.engine.start("boat")
    await stream.write(b"hello")
    await stream.close_stdin()
    assert [chunk async for chunk in stream.output()] == [("stdout", b"hello")]
    await world.engine.wait("boat")


async def test_storms_of_verbs_leave_a_whole_container(world: World) -> None:
    boat = await world.create("forever")

    async def quietly(verb: object) -> None:
        try:
            await verb  # type: ignore[misc]
        except (Conflict, AlreadyStarted, AlreadyStopped, NoSuchContainer):
            return

    engine = world.engine
    for _ in range(5):
        await asyncio.gather(
            quietly(engine.start("boat")),
            quietly(engine.stop("boat")),
            quietly(engine.restart("boat")),
            quietly(engine.kill("boat")),
            quietly(engine.start("boat")),
            quietly(engine.restart("boat")),
        )
    await quietly(engine.remove("boat", force=True))
    await settle()
    assert boat.id not in world.store.containers
    assert not world.runs.runs
    assert not world.networks.sandboxes
    assert not world.snapshots.parents
