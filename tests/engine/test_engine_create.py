from __future__ import annotations

import os
from pathlib import Path

import pytest

from sampan.engine.container_names import made_up_name
from sampan.engine.contract import CreateRequest, NameTaken, NoSuchContainer
from sampan.engine.rootfs import resolve_inside
from sampan.engine.spec.defaults import merged_env, without_bare_names
from sampan.engine.spec.signals import parse_signal
from sampan.errors import InvalidArgument
from sampan.image.contract import NoSuchImage
from sampan.store.records import (
    ContainerSpec,
    EndpointSettings,
    Healthcheck,
    HostConfig,
    LogConfig,
    Mount,
    PortBinding,
    Resources,
    RestartPolicy,
)
from sampan.testing.world import World

CPUS = os.cpu_count() or 1


async def test_the_images_defaults_are_merged(world: World) -> None:
    world.images.add(
        "app:latest",
        Entrypoint=["/entry"],
        Cmd=["serve"],
        Env=["PATH=/bin", "A=image", "B=image"],
        User="web",
        WorkingDir="/srv",
        Labels={"a": "image", "b": "image"},
        ExposedPorts={"80/tcp": {}},
        Volumes={"/data": {}},
        StopSignal="SIGQUIT",
        Healthcheck={"Test": ["CMD", "ok"], "Interval": 5_000_000_000, "Retries": 2},
    )
    request = CreateRequest(
        spec=ContainerSpec(
            image="app",
            args=(),
            env=("A=mine", "C=mine"),
            labels={"b": "mine"},
            healthcheck=Healthcheck(retries=7),
        )
    )
    row = world.engine.get((await world.engine.create(request)).id)
    spec = row.spec
    assert spec.args == ("/entry", "serve")
    assert spec.env == ("PATH=/bin", "A=mine", "B=image", "C=mine")
    assert (spec.user, spec.working_dir, spec.stop_signal) == ("web", "/srv", "SIGQUIT")
    assert spec.labels == {"a": "image", "b": "mine"}
    assert spec.exposed_ports == ("80/tcp",)
    assert spec.healthcheck == Healthcheck(test=("CMD", "ok"), interval_ns=5 * 10**9, retries=7)
    assert spec.hostname == row.id[:12]
    [point] = row.mount_points
    assert (point.target, point.anonymous, len(point.name)) == ("/data", True, 64)
    assert world.engine.volume(point.name).anonymous


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "reset", "args"),
    [
        (None, None, False, ("/entry", "serve")),
        (None, ("x",), False, ("/entry", "x")),
        (("/mine",), None, False, ("/mine",)),
        (("/mine",), ("x",), False, ("/mine", "x")),
        (None, ("x",), True, ("x",)),
    ],
)
async def test_entrypoint_and_command(
    world: World,
    entrypoint: tuple[str, ...] | None,
    cmd: tuple[str, ...] | None,
    reset: bool,
    args: tuple[str, ...],
) -> None:
    world.images.add("app:latest", Entrypoint=["/entry"], Cmd=["serve"])
    spec = ContainerSpec(image="app", args=(), entrypoint=entrypoint, cmd=cmd)
    created = await world.engine.create(CreateRequest(spec=spec, entrypoint_reset=reset))
    assert world.engine.get(created.id).spec.args == args


async def test_nothing_to_run(world: World) -> None:
    world.images.add("empty:latest")
    with pytest.raises(InvalidArgument, match="no command specified"):
        await world.engine.create(CreateRequest(spec=ContainerSpec(image="empty", args=())))


async def test_names(world: World) -> None:
    first = await world.create("true")
    with pytest.raises(NameTaken, match='name "/boat" is already in use by container'):
        await world.create("true")
    for name in ("a", "-x", "a b", "ü2"):
        with pytest.raises(InvalidArgument, match="Invalid container name"):
            await world.create("true", name=name)
    unnamed = await world.create("true", name="")
    assert "_" in unnamed.name
    assert world.engine.get("/boat") == world.engine.get(first.id[:8]) == first
    with pytest.raises(NoSuchContainer):
        world.engine.get("")
    assert [c.id for c in world.engine.all()] in ([unnamed.id, first.id], [first.id, unnamed.id])


def test_made_up_names_run_out_gracefully() -> None:
    taken = {made_up_name(lambda _: False) for _ in range(50)}
    tries: list[str] = []

    def mostly(name: str) -> bool:
        tries.append(name)
        return len(tries) < 100

    assert made_up_name(mostly) not in taken or len(tries) == 100


async def test_a_missing_image_is_the_only_not_found(world: World) -> None:
    with pytest.raises(NoSuchImage):
        await world.engine.create(CreateRequest(spec=ContainerSpec(image="nope", args=())))
    for wish in (
        {"network_mode": "nowhere"},
        {"network_mode": "container:nobody"},
        {"volumes_from": ("nobody",)},
        {"links": ("nobody:x",)},
    ):
        with pytest.raises(InvalidArgument, match="no"):
            await world.create("true", **wish)
    assert not world.store.containers


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ({"stop_signal": "SIGFOO"}, "Invalid signal: SIGFOO"),
        ({"working_dir": "x"}, "needs to be an absolute path"),
        ({"resources": Resources(memory=1000)}, "Minimum memory limit allowed is 6MB"),
        (
            {"resources": Resources(nano_cpus=(CPUS + 1) * 10**9)},
            f"range of CPUs is from 0.01 to {CPUS}.00, as there are only {CPUS} CPUs available",
        ),
        ({"resources": Resources(cpuset_cpus="999")}, "Requested CPUs are not available"),
        ({"runtime": "nope"}, "invalid runtime name: nope: see the runtimes that `sampan info`"),
        ({"exposed_ports": ("x/tcp",)}, "invalid port specification"),
        (
            {"port_bindings": {"80/tcp": (PortBinding(host_port="99999"),)}},
            "invalid port specification",
        ),
        (
            {"mounts": (Mount(type="bind", target="/x", source="/does/not", origin="mounts"),)},
            'invalid mount config for type "bind": bind source path does not exist: /does/not',
        ),
        (
            {"mounts": (Mount(type="volume", target="x", source="vv"),)},
            "invalid volume specification",
        ),
        (
            {"mounts": tuple(Mount(type="tmpfs", target="/x") for _ in range(2))},
            "Duplicate mount point: /x",
        ),
        ({"restart_policy": RestartPolicy(name="always"), "auto_remove": True}, "AutoRemove"),
        ({"restart_policy": RestartPolicy(name="always", maximum_retry_count=1)}, "on-failure"),
        (
            {"log_config": LogConfig(type="syslog")},
            "no log driver named 'syslog' is registered: see the log drivers that `sampan info`",
        ),
        ({"storage_opt": {"size": "10m"}}, "--storage-opt size is not supported"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    world: World, wish: dict[str, object], sentence: str
) -> None:
    with pytest.raises(InvalidArgument, match=sentence):
        await world.create("true", **wish)
    assert not world.store.containers
    assert not world.store.volumes
    assert not world.snapshots.parents


async def test_a_dash_v_source_is_made(world: World, tmp_path: Path) -> None:
    source = tmp_path / "deep" / "source"
    mount = Mount(type="bind", target="/x", source=str(source), create_source=True)
    row = await world.create("true", mounts=(mount,))
    assert source.is_dir()
    assert row.mount_points[0].propagation == "rprivate"


async def test_volumes_from(world: World) -> None:
    one = await world.create("true", mounts=(Mount(type="volume", target="/a", source="data"),))
    two = await world.create("true", name="two", volumes_from=("boat:ro",), volumes=("/a", "/b"))
    points = {p.target: p for p in two.mount_points}
    assert points["/a"].name == "data"
    assert not points["/a"].read_write
    assert points["/b"].anonymous
    assert set(world.engine.volume_users("data")) == {one.id, two.id}


async def test_a_volume_is_seeded_at_creation(world: World) -> None:
    world.images.add("filled:latest", Cmd=["sh"])
    await world.snapshots.prepare("build", "")
    root = await world.snapshots.mount("build")
    (root / "data").mkdir()
    (root / "data" / "file").write_text("from the image")
    chain, diff = await world.snapshots.commit("build")
    world.images.add("filled:latest", diff_ids=[diff], Cmd=["sh"])
    assert chain == diff
    mount = Mount(type="volume", target="/data", source="data")
    spec = ContainerSpec(image="filled", args=(), mounts=(mount,))
    await world.engine.create(CreateRequest(spec=spec))
    data = Path(world.engine.volume("data").mountpoint)
    assert (data / "file").read_text() == "from the image"
    assert not world.snapshots.mounted


async def test_networks_wanted(world: World) -> None:
    with pytest.raises(InvalidArgument, match="user defined networks only"):
        await world.create(
            "true",
            networks={
                "bridge": EndpointSettings(network_id="", network_name="", ipv4_wanted="172.17.0.9")
            },
        )
    row = await world.create("true", network_mode="none")
    assert list(row.networks) == ["none"]


def test_paths_stay_inside_their_root(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "abs").symlink_to("/real")
    (tmp_path / "up").symlink_to("../../../real")
    (tmp_path / "loop").symlink_to("loop")
    for path in ("/abs", "up", "/abs/../real", "../../real", "./real"):
        assert resolve_inside(tmp_path, path) == tmp_path / "real"
    assert resolve_inside(tmp_path, "/new/thing") == tmp_path / "new" / "thing"
    with pytest.raises(InvalidArgument):
        resolve_inside(tmp_path, "/loop")


@pytest.mark.parametrize(
    ("text", "number"),
    [("9", 9), ("KILL", 9), ("SIGKILL", 9), ("sigterm", 15), ("RTMIN+3", 37), ("RTMAX-1", 63)],
)
def test_signals(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "SIG", "SIGFOO", "RTMIN+99", "-1"])
def test_no_signals(text: str) -> None:
    with pytest.raises(InvalidArgument, match="Invalid signal"):
        parse_signal(text)


def test_merged_env() -> None:
    merged = merged_env(("A=1", "B=2"), ("B=3", "C=4", "A"))
    assert merged == ("A", "B=3", "C=4"), "as Docker shows it"
    assert without_bare_names(merged) == ("B=3", "C=4")


async def test_published_ports_of_every_exposed_one(world: World) -> None:
    row = await world.run("forever", publish_all_ports=True, exposed_ports=("80/tcp", "53/udp"))
    assert {(p.container_port, p.protocol) for p in row.ports} == {(80, "tcp"), (53, "udp")}
    assert HostConfig().publish_all_ports is False
