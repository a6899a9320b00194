"""What waits for the disk, and what does not."""

from __future__ import annotations

from sampan.errors import SampanError
from sampan.store.contract import StoreFailed
from sampan.store.records import Phase
from sampan.testing.world import World


async def test_no_process_runs_before_the_disk_knows_of_it(world: World) -> None:
    await world.boot()
    container = await world.create("forever")
    world.store.disk.clear()
    start = world.spawn(world.engine.start(container.id))
    await world.until(lambda: world.store.waiting)
    run = world.engine.get(container.id).run
    assert run is not None
    assert run.phase is Phase.STARTING
    assert not world.runs.runs[container.id].started
    world.store.disk.set()
    await start
    assert world.runs.runs[container.id].started
    await world.stop()


async def test_nothing_of_a_container_goes_before_the_disk_knows_that_it_goes(
    world: World,
) -> None:
    await world.boot()
    container = await world.create("true")
    directory = world.config.paths.container(container.id)
    directory.mkdir(parents=True, exist_ok=True)
    world.store.disk.clear()
    removal = world.spawn(world.engine.remove(container.id))
    await world.until(lambda: world.store.waiting)
    assert world.engine.get(container.id).removing
    assert container.id in world.snapshots.parents
    assert directory.exists()
    world.store.disk.set()
    await removal
    assert container.id not in world.snapshots.parents
    assert not directory.exists()
    await world.stop()


async def test_on_a_broken_disk_nothing_starts(world: World) -> None:
    await world.boot()
    container = await world.create("forever")
    world.store.disk.clear()
    start = world.spawn(_outcome(world, container.id))
    await world.until(lambda: world.store.waiting)
    world.store.failed = True
    world.store.disk.set()
    assert isinstance(await start, StoreFailed)
    assert container.id not in world.runs.runs  # undone
    world.store.failed = False


async def _outcome(world: World, container_id: str) -> SampanError | None:
    try:
        await world.engine.start(container_id)
    except SampanError as error:
        return error
    return None
