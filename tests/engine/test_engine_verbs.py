from __future__ import annotations

import asyncio

import pytest

from sampan.engine.contract import ExecRequest, NameTaken, NoSuchExec, NotRunning
from sampan.engine.lifecycle.health import judged
from sampan.engine.lifecycle.policy import next_delay, restarts_after_exit
from sampan.engine.observe.top import select
from sampan.errors import Conflict, Forbidden, InvalidArgument
from sampan.image.contract import ImageUser
from sampan.network.contract import NoSuchNetwork
from sampan.runtime.contract import CommandNotFound
from sampan.store.records import (
    EndpointSettings,
    Health,
    Healthcheck,
    HealthResult,
    Mount,
    Network,
    Resources,
    RestartPolicy,
)
from sampan.testing.runs import FakeProcess
from sampan.testing.world import World
from sampan.volume.contract import NoSuchVolume, VolumeInUse

S = 1_000_000_000


def net(name: str) -> Network:
    return Network(id="", name=name, driver="bridge", created_at=0.0)


def wants(**fields: str) -> EndpointSettings:
    return EndpointSettings(network_id="", network_name="", **fields)


# ---------------------------------------------------------------- exec


async def test_exec(world: World) -> None:
    boat = await world.run("forever", env=("A=container",))
    request = ExecRequest(args=("env",), env=("B=exec",), attach_stdout=True)
    exec_id = await world.engine.exec_create("boat", request)
    stream = await world.engine.exec_start(exec_id)
    output = b"".join([chunk async for _, chunk in stream.output()])
    assert b"A=container" in output
    assert b"B=exec" in output
    assert f"HOSTNAME={boat.id[:12]}".encode() in output
    state = world.engine.exec_inspect(exec_id)
    assert (state.running, state.exit_code, state.pid) == (False, 0, 0)
    with pytest.raises(Conflict, match="already run"):
        await world.engine.exec_start(exec_id)
    assert world.actions()[2:] == ["exec_create: env", "exec_start: env", "exec_die"]


async def test_exec_of_no_command(world: World) -> None:
    await world.run("forever")
    exec_id = await world.engine.exec_create("boat", ExecRequest(args=("nonsense",)))
    with pytest.raises(CommandNotFound):
        await world.engine.exec_start(exec_id)
    state = world.engine.exec_inspect(exec_id)
    assert (state.running, state.exit_code) == (False, 127)
    with pytest.raises(InvalidArgument, match="No exec command"):
        await world.engine.exec_create("boat", ExecRequest(args=()))


async def test_exec_needs_a_running_container(world: World) -> None:
    await world.create("forever")
    with pytest.raises(NotRunning):
        await world.engine.exec_create("boat", ExecRequest(args=("true",)))
    await world.engine.start("boat")
    await world.engine.pause("boat")
    with pytest.raises(Conflict, match="paused"):
        await world.engine.exec_create("boat", ExecRequest(args=("true",)))


async def test_old_execs_are_forgotten(world: World) -> None:
    await world.run("forever")
    exec_id = await world.engine.exec_create("boat", ExecRequest(args=("true",)))
    stream = await world.engine.exec_start(exec_id)
    assert [c async for c in stream.output()] == []
    await world.clock.advance(299)
    world.engine.exec_inspect(exec_id)
    await world.clock.advance(1)
    with pytest.raises(NoSuchExec):
        world.engine.exec_inspect(exec_id)
    other = await world.engine.exec_create("boat", ExecRequest(args=("true",)))
    await world.engine.remove("boat", force=True)
    with pytest.raises(NoSuchExec):
        world.engine.exec_inspect(other)


# ---------------------------------------------------------------- health


async def test_health_from_starting_to_healthy_to_unhealthy(world: World) -> None:
    codes = iter([0, 1, 1])

    async def check(process: FakeProcess) -> int:
        process.io.print(b"x" * 5000)
        return next(codes)

    world.runs.programs["check"] = check
    asked = Healthcheck(test=("CMD", "check"), interval_ns=10 * S, retries=2)
    boat = await world.run("forever", healthcheck=asked)
    assert boat.run is not None
    assert boat.run.health == Health(status="starting")

    async def next_result(count: int) -> Health:
        await world.until(lambda: world.clock.pauses == [10.0])
        await world.clock.advance(10)

        def health() -> Health:
            run = world.engine.get("boat").run
            assert run is not None
            assert run.health is not None
            return run.health

        await world.until(lambda: len(health().log) == count)
        return health()

    first = await next_result(1)
    assert first.status == "healthy"
    assert len(first.log[0].output) == 4096
    assert (await next_result(2)).status == "healthy"
    assert (await next_result(3)).status == "unhealthy"
    said = [a for a in world.actions() if a.startswith("health")]
    assert said == ["health_status: healthy", "health_status: unhealthy"]


async def test_a_check_that_hangs_is_killed(world: World) -> None:
    check = Healthcheck(test=("CMD", "forever"), interval_ns=S, timeout_ns=3 * S, retries=1)
    boat = await world.run("forever", healthcheck=check)
    await world.until(lambda: world.clock.pauses)
    await world.clock.advance(1)
    await world.until(lambda: world.runs.runs[boat.id].execs and world.clock.pauses == [3.0])
    await world.clock.advance(3)

    def health() -> Health | None:
        run = world.engine.get("boat").run
        return run.health if run else None

    await world.until(lambda: health() and health().log)  # type: ignore[union-attr]
    found = health()
    assert found is not None
    assert found.status == "unhealthy"
    assert found.log[0].output == "Health check exceeded timeout (3s)"
    assert world.runs.runs[boat.id].execs[0].exit is not None


def test_failures_of_the_start_period_do_not_count() -> None:
    bad = HealthResult(start=0, end=0, exit_code=1, output="")
    good = HealthResult(start=0, end=0, exit_code=0, output="")
    check = Healthcheck(test=("CMD", "x"), retries=1)
    health = judged(Health(status="starting"), bad, check, in_start_period=True)
    assert (health.status, health.failing_streak) == ("starting", 0)
    health = judged(health, good, check, in_start_period=True)
    assert health.status == "healthy"
    assert judged(health, bad, check, in_start_period=True).status == "unhealthy"
    for _ in range(9):
        health = judged(health, bad, check, in_start_period=False)
    assert len(health.log) == 5


# ---------------------------------------------------------------- networks


async def test_connect_and_disconnect_while_running(world: World) -> None:
    await world.engine.network_create(net("web"))
    boat = await world.run("forever", network_mode="web")
    other = await world.engine.network_create(net("other"))
    await world.engine.network_connect("other", "boat", wants())
    row = world.engine.get("boat")
    assert list(row.networks) == ["web", "other"]
    assert row.networks["other"].ipv4
    assert world.engine.network_users(other) == {boat.id: row.networks["other"]}
    hosts = (world.config.paths.container(boat.id) / "hosts").read_text()
    assert row.networks["other"].ipv4 in hosts
    with pytest.raises(Forbidden, match="already exists in network"):
        await world.engine.network_connect("other", "boat", wants())
    with pytest.raises(Forbidden, match="active endpoints"):
        await world.engine.network_remove("other")
    await world.engine.network_disconnect("other", "boat")
    with pytest.raises(Forbidden, match="is not connected"):
        await world.engine.network_disconnect("other", "boat")
    await world.engine.network_remove("other")
    with pytest.raises(NoSuchNetwork):
        world.engine.network("other")
    actions = world.actions("network")
    assert actions[-4:] == ["create", "connect", "disconnect", "destroy"]


async def test_connect_of_a_stopped_container_counts_at_its_start(world: World) -> None:
    await world.engine.network_create(net("web"))
    await world.create("forever")
    await world.engine.network_connect("web", "boat", wants())
    assert world.engine.get("boat").networks["web"].ipv4 == ""
    await world.engine.start("boat")
    assert world.engine.get("boat").networks["web"].ipv4


async def test_names_are_given_on_user_networks(world: World) -> None:
    web = await world.engine.network_create(net("web"))
    settings = EndpointSettings(network_id="", network_name="", aliases=("www",))
    boat = await world.run("forever", network_mode="web", networks={"web": settings})
    assert world.networks.names[boat.id, web.id] == ("boat", "www", boat.id[:12])
    await world.engine.rename("boat", "ship")
    assert world.networks.names[boat.id, web.id][0] == "ship"
    rename = next(e for e in world.seen() if e.action == "rename")
    assert rename.attributes["oldName"] == "/boat"
    assert rename.attributes["name"] == "ship"


async def test_another_containers_namespace(world: World) -> None:
    boat = await world.run("forever")
    guest = await world.run("forever", name="guest", network_mode="container:boat")
    assert guest.spec.host.network_mode == f"container:{boat.id}"
    assert guest.networks == {}
    assert world.runs.runs[guest.id].spec.netns == world.networks.sandboxes[boat.id].path
    assert guest.id not in world.networks.sandboxes
    await world.engine.stop("boat")
    await world.engine.stop("guest")
    with pytest.raises(Conflict, match="is not running"):
        await world.engine.start("guest")


async def test_links_of_the_default_bridge(world: World) -> None:
    db = await world.run("forever", name="database")
    boat = await world.run("forever", links=("database:db",))
    address = db.networks["bridge"].ipv4
    assert address
    assert boat.spec.host.links == ("database:db",)


async def test_network_names(world: World) -> None:
    await world.engine.network_create(net("web"))
    with pytest.raises(Conflict, match="network with name web already exists"):
        await world.engine.network_create(net("web"))
    with pytest.raises(Forbidden, match="predefined"):
        await world.engine.network_create(net("host"))
    with pytest.raises(Forbidden, match="pre-defined network and cannot be removed"):
        await world.engine.network_remove("bridge")
    results = await asyncio.gather(
        *(world.engine.network_create(net("twin")) for _ in range(3)), return_exceptions=True
    )
    assert sum(isinstance(r, Network) for r in results) == 1


# ---------------------------------------------------------------- the rest


async def test_volumes_in_use_stay(world: World) -> None:
    await world.engine.volume_create("data", "local", {}, {"a": "b"})
    await world.create("true", mounts=(Mount(type="volume", target="/x", source="data"),))
    with pytest.raises(VolumeInUse, match="volume is in use"):
        await world.engine.volume_remove("data")
    await world.engine.remove("boat", volumes=True)
    await world.engine.volume_remove("data")
    with pytest.raises(NoSuchVolume):
        await world.engine.volume_remove("data")
    await world.engine.volume_remove("data", force=True)
    assert world.actions("volume") == ["create", "destroy"]


async def test_update(world: World) -> None:
    boat = await world.run("forever", resources=Resources(memory=64 << 20))
    await world.engine.update("boat", Resources(pids_limit=5), RestartPolicy(name="always"))
    row = world.engine.get("boat")
    assert row.spec.host.resources == Resources(memory=64 << 20, pids_limit=5)
    assert world.runs.runs[boat.id].resources == row.spec.host.resources
    assert row.spec.host.restart_policy.name == "always"
    with pytest.raises(InvalidArgument, match="6MB"):
        await world.engine.update("boat", Resources(memory=1), None)


async def test_rename_to_a_taken_name(world: World) -> None:
    await world.create("true")
    await world.create("true", name="ship")
    with pytest.raises(NameTaken):
        await world.engine.rename("boat", "ship")
    with pytest.raises(InvalidArgument, match="same name"):
        await world.engine.rename("boat", "boat")
    await world.engine.rename("boat", "raft")
    await world.engine.rename("ship", "boat")
    assert world.engine.get("boat").name == "boat"


async def test_prune_takes_what_does_not_run(world: World) -> None:
    await world.run("forever", name="runs")
    created = await world.create("true", name="created")
    ids, _ = await world.engine.prune(lambda c: True)
    assert ids == [created.id]


async def test_the_user_of_an_image(world: World) -> None:
    assert world.engine.image_user(world.image.id) is None
    boat = await world.create("forever")
    assert world.engine.image_user(world.image.id) == ImageUser(boat.id, running=False)
    await world.engine.start("boat")
    assert world.engine.image_user(world.image.id) == ImageUser(boat.id, running=True)


def test_top_selects_by_pid() -> None:
    output = "UID PID CMD\nroot 1 /sbin/init splash\nroot 22 sleep 10\n"
    titles, rows = select(output, frozenset((22,)))
    assert titles == ("UID", "PID", "CMD")
    assert [row.values for row in rows] == [("root", "22", "sleep 10")]
    with pytest.raises(InvalidArgument, match="PID"):
        select("CMD\nx\n", frozenset())


def test_restart_delays() -> None:
    delays, delay = [], 0.0
    for _ in range(12):
        delay = next_delay(delay, 1.0)
        delays.append(delay)
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-1] == 60.0
    assert next_delay(60.0, 10.0) == 0.1


def test_on_failure_counts() -> None:
    policy = RestartPolicy(name="on-failure", maximum_retry_count=3)
    for count, again in ((0, True), (2, True), (3, False)):
        assert (
            restarts_after_exit(policy, exit_code=1, restart_count=count, stop_requested=False)
            is again
        )
    assert not restarts_after_exit(policy, exit_code=0, restart_count=0, stop_requested=False)
