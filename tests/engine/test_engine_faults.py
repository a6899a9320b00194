from __future__ import annotations

from pathlib import Path

import pytest

from sampan.errors import SampanError
from sampan.store.records import Mount, Network, Phase, PortBinding
from sampan.testing.faults import Faults, Injected
from sampan.testing.world import World

NET = Network(id="", name="web", driver="bridge", created_at=0.0)


def wishes(world: World) -> dict[str, object]:
    source = world.config.paths.root.parent / "made" / "for" / "it"
    return {
        "network_mode": "web",
        "port_bindings": {"80/tcp": (PortBinding(host_port="8080"),)},
        "volumes": ("/anonymous",),
        "mounts": (
            Mount(type="volume", target="/named", source="named"),
            Mount(type="bind", target="/bind", source=str(source), create_source=True),
        ),
    }


def nothing_left(world: World) -> None:
    assert not world.snapshots.mounted
    assert not world.networks.sandboxes
    assert not world.networks.endpoints
    assert not world.networks.ports
    assert not world.runs.runs


async def faulty(tmp_path: Path, fail_at: int) -> tuple[World, Faults]:
    world = World(tmp_path)
    faults = Faults(fail_at)
    world.wrap = faults.wrap
    await world.boot()
    await world.engine.network_create(NET)
    return world, faults


async def test_create_leaves_nothing_whichever_call_fails(tmp_path: Path) -> None:
    hits = []
    for fail_at in range(1, 100):
        world, faults = await faulty(tmp_path / str(fail_at), fail_at)
        faults.armed = True
        try:
            await world.create("forever", **wishes(world))
        except Injected:
            hits.append(faults.hit)
            nothing_left(world)
            assert not world.store.containers
            assert not world.store.volumes
            assert not world.snapshots.parents
            for directory in (world.config.paths.volumes, world.config.paths.container("x").parent):
                assert not directory.exists() or not list(directory.iterdir())
            assert not (world.config.paths.root.parent / "made").exists()
            await world.create("forever", **wishes(world))
        finally:
            faults.armed = False
            await world.stop()
        if not faults.hit:
            break
    assert {"snapshots.prepare", "store.transact", "volumes.create", "volumes.seed"} <= set(hits)


async def test_start_leaves_nothing_whichever_call_fails(tmp_path: Path) -> None:
    hits = []
    for fail_at in range(1, 100):
        world, faults = await faulty(tmp_path / str(fail_at), fail_at)
        boat = await world.create("forever", **wishes(world))
        stream = await world.engine.attach(boat.id)
        faults.armed = True
        try:
            await world.engine.start(boat.id)
        except (Injected, SampanError):
            hits.append(faults.hit)
            nothing_left(world)
            row = world.engine.get(boat.id)
            if row.run is not None:
                assert row.run.phase is Phase.STOPPED
                assert row.run.exit_code == 128
                assert faults.hit in row.run.error
                assert [c async for c in stream.output()] == []
            assert row.ports == ()
            assert row.networks["web"].endpoint_id == ""
            await world.engine.start(boat.id)
            assert world.engine.get(boat.id).ports
        finally:
            faults.armed = False
            if faults.hit == "runs.wait":  # the start was good, its supervisor tries again
                await world.clock.advance(1)
            await world.engine.remove(boat.id, force=True)
            await world.stop()
            await world.runs.close()
        if not faults.hit:
            break
    expected = {
        "snapshots.mount",
        "networks.open_sandbox",
        "networks.attach",
        "networks.name",
        "networks.publish",
        "networks.etc_files",
        "runs.create",
        "runs.attach",
        "runs.start",
        "store.transact",
    }
    assert expected <= set(hits)


@pytest.mark.parametrize("driver", ["bridge"])
async def test_a_network_that_cannot_be_stored_is_unmade(tmp_path: Path, driver: str) -> None:
    world, faults = await faulty(tmp_path, 2)
    faults.armed = True
    before = set(world.networks.networks)
    with pytest.raises(Injected, match=r"store\.transact"):
        await world.engine.network_create(
            Network(id="", name="other", driver=driver, created_at=0.0)
        )
    assert set(world.networks.networks) == before
    await world.stop()
