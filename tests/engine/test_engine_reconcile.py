from __future__ import annotations

from msgspec.structs import replace

from sampan.store.records import Network, Phase, PortBinding, RestartPolicy
from sampan.testing.clock import settle
from sampan.testing.world import World

ALWAYS = RestartPolicy(name="always")
UNLESS = RestartPolicy(name="unless-stopped")


async def test_containers_run_on_through_a_restart(world: World) -> None:
    await world.engine.network_create(Network(id="", name="web", driver="bridge", created_at=0.0))
    boat = await world.run(
        "forever", network_mode="web", port_bindings={"80/tcp": (PortBinding(host_port="80"),)}
    )
    await world.stop()
    await world.boot()
    row = world.engine.get("boat")
    assert row == boat
    assert world.networks.endpoints[boat.id, boat.networks["web"].network_id].ipv4
    assert world.networks.ports[boat.id] == boat.ports
    world.runs.finish(boat.id, 5)
    assert (await world.engine.wait("boat")).exit_code == 5


async def test_an_exit_that_nobody_saw_is_told_truly(world: World) -> None:
    boat = await world.run("forever")
    await world.crash()
    world.runs.finish(boat.id, 7)
    at = world.clock.now()
    await world.clock.advance(100)
    await world.boot()
    run = world.engine.get("boat").run
    assert run is not None
    assert (run.phase, run.exit_code, run.finished_at) == (Phase.STOPPED, 7, at)
    assert not world.runs.runs
    assert not world.snapshots.mounted
    assert "die" in world.actions()


async def test_after_a_reboot_nobody_knows(world: World) -> None:
    await world.run("forever")
    await world.crash()
    world.runs.runs.clear()
    await world.boot()
    run = world.engine.get("boat").run
    assert run is not None
    assert (run.phase, run.exit_code) == (Phase.STOPPED, 255)


async def test_restart_policies_at_a_daemons_start(world: World) -> None:
    for name, policy, stopped in (
        ("always-ran", ALWAYS, False),
        ("always-stopped", ALWAYS, True),
        ("unless-ran", UNLESS, False),
        ("unless-stopped", UNLESS, True),
        ("plain", RestartPolicy(), False),
    ):
        await world.run("forever", name=name, restart_policy=policy)
        if stopped:
            await world.engine.stop(name)
    await world.create("forever", name="never-ran", restart_policy=ALWAYS)
    await world.crash()
    world.runs.runs.clear()
    await world.boot()
    await world.until(
        lambda: len(world.engine.in_flight.runs) == 3 and world.engine.in_flight.locks.idle
    )
    running = {c.name for c in world.engine.all() if c.running}
    assert running == {"always-ran", "always-stopped", "unless-ran"}


async def test_a_start_that_nobody_was_told_of_is_undone(world: World) -> None:
    boat = await world.run("forever")
    assert boat.run is not None
    starting = replace(boat, run=replace(boat.run, phase=Phase.STARTING))
    await world.crash()
    world.store.transact(lambda tx: tx.containers.put(starting))
    await world.boot()
    row = world.engine.get("boat")
    assert row.run is not None
    assert (row.run.phase, row.run.exit_code) == (Phase.STOPPED, 128)
    assert "while the container was being started" in row.run.error
    assert not world.runs.runs
    await world.engine.start("boat")


async def test_a_removal_is_finished(world: World) -> None:
    boat = await world.create("true")
    await world.crash()
    world.store.transact(lambda tx: tx.containers.put(replace(boat, removing=True)))
    await world.boot()
    assert not world.store.containers
    assert not world.snapshots.parents


async def test_auto_remove_is_caught_up_with(world: World) -> None:
    boat = await world.run("forever", auto_remove=True, volumes=("/data",))
    await world.crash()
    world.runs.finish(boat.id)
    await world.boot()
    assert not world.store.containers
    assert not world.store.volumes


async def test_debris_is_swept(world: World) -> None:
    boat = await world.run("forever")
    stray = "f" * 64
    await world.crash()
    await world.snapshots.prepare(stray, "")
    world.config.paths.container(stray).mkdir()
    (world.config.paths.volumes / "stray" / "_data").mkdir(parents=True)
    world.store.transact(lambda tx: tx.containers.delete(boat.id))
    await world.boot()
    assert not world.runs.runs
    assert not world.snapshots.parents
    assert not list(world.config.paths.container("x").parent.iterdir())
    assert not list(world.config.paths.volumes.iterdir())
    assert not world.networks.sandboxes


async def test_a_paused_container_is_adopted_paused(world: World) -> None:
    boat = await world.run("forever")
    await world.engine.pause("boat")
    await world.crash()
    await world.boot()
    run = world.engine.get("boat").run
    assert run is not None
    assert run.paused
    assert (await world.runs.inspect(boat.id)).paused


async def test_a_freeze_that_no_user_asked_for_is_undone(world: World) -> None:
    boat = await world.run("forever")
    await world.crash()
    await world.runs.pause(boat.id)  # it was being committed
    await world.boot()
    run = world.engine.get("boat").run
    assert run is not None
    assert not run.paused
    assert not (await world.runs.inspect(boat.id)).paused


async def test_predefined_networks_keep_their_ids(world: World) -> None:
    first = {n.name: n.id for n in world.engine.networks()}
    assert set(first) == {"bridge", "host", "none"}
    await world.stop()
    await world.boot()
    assert {n.name: n.id for n in world.engine.networks()} == first


async def test_a_pending_restart_survives_the_daemon(world: World) -> None:
    await world.run("false", restart_policy=RestartPolicy(name="on-failure"))
    await world.until(lambda: world.clock.pauses)
    await world.crash()
    await world.boot()
    await world.until(lambda: world.engine.get("boat").run.number == 2)  # type: ignore[union-attr]


async def test_a_crash_at_any_moment_of_a_start(world: World) -> None:
    """Whatever step the daemon dies at, the next one has a container that can be started."""
    for turns in range(0, 60, 3):
        boat = await world.create("forever", name=f"boat{turns}")
        task = world.spawn(world.engine.start(boat.id))
        await settle(turns)
        await world.crash()
        task.cancel()
        await world.boot()
        row = world.engine.get(boat.id)
        if row.running:
            assert world.runs.runs[boat.id].started
        else:
            assert boat.id not in world.runs.runs
            await world.engine.start(boat.id)
        await world.engine.remove(boat.id, force=True)
        assert boat.id not in world.snapshots.parents
