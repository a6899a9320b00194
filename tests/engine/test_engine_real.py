"""The engine on the real parts: crun, conmon, overlay, bridges, SQLite."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sampan.aio import SystemClock, Tasks, in_thread
from sampan.api.builtin_drivers import builtin_drivers
from sampan.client.bootstrap import busybox_tar
from sampan.config import DaemonConfig, Paths
from sampan.engine.contract import (
    AlreadyStarted,
    AlreadyStopped,
    CreateRequest,
    Engine,
    ExecRequest,
    LogRequest,
)
from sampan.engine.drivers import Drivers
from sampan.engine.engine import open_engine
from sampan.errors import Conflict, NotFound, SampanError
from sampan.image import open_images
from sampan.kernel import mount as kernel_mount
from sampan.kernel import netlink
from sampan.kernel.linux import HOST
from sampan.kernel.netlink import Netlink
from sampan.runtime.files import oci_root
from sampan.runtime.logs import LogFiles
from sampan.runtime.runs import open_runs
from sampan.store.database import open_store
from sampan.store.events import EventBus
from sampan.store.records import (
    ContainerSpec,
    HostConfig,
    LogConfig,
    Mount,
    Network,
    Phase,
    PortBinding,
    RestartPolicy,
)
from sampan.testing.daemon import short_directory
from sampan.testing.faults import Faults, Injected
from sampan.testing.host_networks import open_host_networks
from sampan.testing.toy_network import ToyNetworkDriver
from sampan.testing.toys.log import ToyLog
from sampan.testing.toys.runtime import ToyRuntime
from sampan.testing.toys.volume import ToyVolumes
from sampan.volume.volumes import DriverVolumes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


Wrap = Callable[[str, Any], Any]


@asynccontextmanager
async def daemon(
    config: DaemonConfig,
    wrap: Wrap = lambda _name, part: part,
    add: Callable[[Drivers], None] = lambda drivers: None,
) -> AsyncIterator[Engine]:
    """Everything a daemon has but the API; ``wrap`` may come between the engine and each part,
    ``add`` enters drivers."""
    clock = SystemClock()
    store = open_store(config.paths.database)
    drivers = builtin_drivers(config, store)
    add(drivers)
    try:
        async with (
            open_images(config, store, clock) as images,
            open_runs(config, clock, drivers.runtime) as runs,
            open_host_networks(config, clock, drivers=drivers) as networks,
            open_engine(
                config,
                store=wrap("store", store),
                events=EventBus(),
                drivers=drivers,
                images=wrap("images", images.images),
                snapshots=wrap("snapshots", images.snapshots),
                runs=wrap("runs", runs),
                logs=LogFiles(),
                networks=wrap("networks", networks),
                volumes=wrap("volumes", DriverVolumes(drivers.volume, store, clock)),
                clock=clock,
            ) as engine,
        ):
            if not images.images.all():
                tar = config.paths.root / "busybox.tar"
                with tar.open("wb") as out:
                    await in_thread(busybox_tar, out)

                async def chunks() -> AsyncIterator[bytes]:
                    yield tar.read_bytes()

                await images.images.import_rootfs(chunks(), ref="busybox:latest")
            yield engine
    finally:
        store.close()


@pytest.fixture
async def config() -> AsyncIterator[DaemonConfig]:
    with short_directory() as base:
        config = DaemonConfig(paths=Paths(Path(base) / "r", Path(base) / "s"))
        config.paths.root.mkdir()
        config.paths.state.mkdir()
        yield config
        async with daemon(config) as engine:
            for container in engine.all():
                await engine.remove(container.id, force=True, volumes=True)
        await in_thread(_undo_daemon, config)


def _undo_daemon(config: DaemonConfig) -> None:
    """What a daemon keeps for its next start: its bridge, its table, its cgroups."""
    instance = config.instance
    subprocess.run(["ip", "link", "del", instance.default_bridge], check=False)
    subprocess.run(
        ["nft", "delete", "table", "inet", instance.table], check=False, capture_output=True
    )
    for hierarchy in Path("/sys/fs/cgroup").iterdir():
        for directory, _, _ in os.walk(hierarchy / instance.cgroup, topdown=False):
            os.rmdir(directory)
    for entry in reversed(kernel_mount.mounts()):
        if entry.target.startswith(str(config.paths.root.parent)):
            kernel_mount.unmount(Path(entry.target), lazy=True)


def request(*cmd: str, name: str = "", **host: object) -> CreateRequest:
    mounts: tuple[Mount, ...] = host.pop("mounts", ())  # type: ignore[assignment]
    spec = ContainerSpec(
        image="busybox",
        args=(),
        cmd=cmd,
        mounts=mounts,
        host=HostConfig(**host),  # type: ignore[arg-type]
    )
    return CreateRequest(spec=spec, name=name)


async def test_a_run_leaves_nothing(config: DaemonConfig) -> None:
    async with daemon(config) as engine:
        created = await engine.create(request("sh", "-c", "hostname; exit 3", auto_remove=True))
        stream = await engine.attach(created.id)
        tasks = Tasks()
        removed = tasks.spawn(engine.wait(created.id, "removed"), name="wait")
        await asyncio.sleep(0)
        await engine.start(created.id)
        output = b"".join([chunk async for _, chunk in stream.output()])
        assert output.decode() == created.id[:12] + "\n"
        assert (await removed).exit_code == 3
        assert not engine.all()
        mine = [m.target for m in kernel_mount.mounts() if created.id in m.target]
        assert mine == []
        assert not config.paths.container(created.id).exists()


async def test_containers_run_on_and_are_found_again(config: DaemonConfig) -> None:
    async with daemon(config) as engine:
        for name, cmd in (("stays", "cat"), ("ends", "read x; exit 9")):
            await engine.create(
                CreateRequest(
                    spec=ContainerSpec(
                        image="busybox", args=(), cmd=("sh", "-c", cmd), open_stdin=True
                    ),
                    name=name,
                )
            )
            await engine.start(name)
        before = engine.get("stays")
    # No daemon now; one of the two ends meanwhile.
    pid = engine.get("ends").run.pid  # type: ignore[union-attr]
    os.kill(pid, 9)
    async with daemon(config) as engine:
        assert engine.get("stays") == before
        assert (await engine.wait("ends")).exit_code == 137
        exec_id = await engine.exec_create(
            "stays", ExecRequest(args=("echo", "alive"), attach_stdout=True)
        )
        stream = await engine.exec_start(exec_id)
        assert b"".join([c async for _, c in stream.output()]) == b"alive\n"
        assert engine.exec_inspect(exec_id).exit_code == 0
        await engine.stop("stays", timeout_s=0)


def _has_macvlan() -> bool:
    """Asks for one without saying on what: it is refused for that only where there is such a
    kind."""
    with Netlink() as link:
        (outcome,) = link.request(netlink.add_link("x", "macvlan"))
    return outcome is not None and outcome.errno != errno.EOPNOTSUPP


async def test_containers_run_on_a_network_of_somebody_else_s_driver(config: DaemonConfig) -> None:
    if not _has_macvlan():
        pytest.skip("this kernel has no macvlan")

    def add(drivers: Drivers) -> None:
        drivers.network.register("toy", ToyNetworkDriver(HOST))

    async with daemon(config, add=add) as engine:
        await engine.network_create(Network(id="", name="pond", driver="toy", created_at=0.0))
        for name, cmd in (
            ("server", ("cat",)),
            ("client", ("sh", "-c", "ip addr show eth0; ping -c 1 -W 5 server")),
        ):
            made = request(*cmd, name=name, network_mode="pond")
            spec = msgspec.structs.replace(made.spec, open_stdin=name == "server")
            await engine.create(CreateRequest(spec=spec, name=name))
        await engine.start("server")
        stream = await engine.attach("client")
        await engine.start("client")
        said = b"".join([chunk async for _, chunk in stream.output()]).decode()
        address = engine.get("server").networks["pond"].ipv4
        assert "1 packets received" in said, said
        assert f"({address})" in said, "by its name"
        await engine.stop("server", timeout_s=0)
    # Its driver is not there any more: the network and its container stay, and tell so.
    async with daemon(config) as engine:
        assert engine.network("pond").driver == "toy"
        with pytest.raises(NotFound, match="could not find plugin toy"):
            await engine.start("server")
        for name in ("server", "client"):
            await engine.remove(name)
    async with daemon(config, add=add) as engine:
        await engine.network_remove("pond")


async def test_toys_of_three_kinds_make_one_container(config: DaemonConfig, tmp_path: Path) -> None:
    """A file and a line each: its log, its volume and its runtime are drivers from outside."""
    log, volumes = ToyLog(), ToyVolumes(tmp_path / "toys")
    runtime = ToyRuntime(tmp_path, oci_root(config.paths))

    def add(drivers: Drivers) -> None:
        drivers.log.register("toy", log)
        drivers.volume.register("toy", volumes)
        drivers.runtime.register("toy", runtime)

    data = Mount(type="volume", target="/data", source="data", volume_driver="toy")
    script = "echo said; until [ -e /data/go ]; do sleep 0.1; done; echo and done > /data/end"
    async with daemon(config, add=add) as engine:
        made = request(
            "sh",
            "-c",
            f"{script}; echo bye",
            name="toy",
            mounts=(data,),
            log_config=LogConfig(type="toy"),
            runtime="toy",
        )
        await engine.create(made)
        await engine.start("toy")
        container = engine.get("toy")
        assert volumes.users["data"] == [container.id]
        assert [e.line for e in await log.have(container.id, 1)] == [b"said\n"]
    # Without a daemon the run goes on to its end, and so does its log.
    (tmp_path / "toys/data/go").touch()
    written = config.paths.container(container.id) / "container.log"
    async with asyncio.timeout(30):
        while b"bye" not in await in_thread(written.read_bytes):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    async with daemon(config, add=add) as engine:
        assert (await engine.wait("toy")).exit_code == 0
        assert [e.line for e in await log.have(container.id, 2)] == [b"said\n", b"bye\n"]
        assert (tmp_path / "toys/data/end").read_text() == "and done\n"
        async with asyncio.timeout(30):
            while volumes.users["data"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await engine.remove("toy")
        await engine.volume_remove("data")
    assert volumes.users == {}
    assert {"create", "start"} <= set(runtime.commands())


async def test_logs_and_a_volume_outlive_their_run(config: DaemonConfig) -> None:
    volume = Mount(type="volume", target="/data", source="data")
    async with daemon(config) as engine:
        await engine.create(
            request("sh", "-c", "echo said; echo kept > /data/x", name="one", mounts=(volume,))
        )
        await engine.start("one")
        await engine.wait("one")
        lines = [e.line async for batch in engine.logs("one", LogRequest()) for e in batch]
        assert lines == [b"said\n"]
        await engine.remove("one", volumes=True)
        await engine.create(request("cat", "/data/x", name="two", mounts=(volume,)))
        stream = await engine.attach("two")
        await engine.start("two")
        assert b"".join([c async for _, c in stream.output()]) == b"kept\n"
        await engine.wait("two")
        await engine.remove("two")
        await engine.volume_remove("data")


async def test_a_restart_policy_on_a_real_clock(config: DaemonConfig) -> None:
    async with daemon(config) as engine:
        policy = RestartPolicy(name="on-failure", maximum_retry_count=2)
        await engine.create(request("false", name="again", restart_policy=policy))
        await engine.start("again")
        assert (await engine.wait("again")).exit_code == 1
        while (run := engine.get("again").run) and (run.restarting or run.phase < Phase.STOPPED):
            assert (await engine.wait("again")).exit_code == 1
        assert engine.get("again").restart_count == 2


async def test_a_storm_of_verbs_on_one_container(config: DaemonConfig) -> None:
    async with daemon(config) as engine:
        created = await engine.create(request("sleep", "1000", name="storm"))

        async def quietly(verb: object) -> None:
            try:
                await verb  # type: ignore[misc]
            except (Conflict, NotFound, AlreadyStarted, AlreadyStopped):
                return

        for _ in range(2):
            await asyncio.gather(
                quietly(engine.start("storm")),
                quietly(engine.stop("storm", timeout_s=0)),
                quietly(engine.restart("storm", timeout_s=0)),
                quietly(engine.kill("storm")),
                quietly(engine.start("storm")),
            )
        await asyncio.gather(
            quietly(engine.start("storm")),
            quietly(engine.remove("storm", force=True)),
            quietly(engine.restart("storm", timeout_s=0)),
        )
        await quietly(engine.remove("storm", force=True))
        assert not engine.all()
        assert [m.target for m in kernel_mount.mounts() if created.id in m.target] == []
        assert not config.paths.run(created.id).exists()


def traces(config: DaemonConfig) -> dict[str, set[str]]:
    """Everything of this instance that a container could have brought into being."""
    instance, root, state = config.instance, config.paths.root, config.paths.state
    table = subprocess.run(
        ["nft", "list", "table", "inet", instance.table], capture_output=True, text=True, check=True
    ).stdout
    groups = {
        directory
        for tree in Path("/sys/fs/cgroup").iterdir()
        for directory, _, _ in os.walk(tree / instance.cgroup)
    }
    places = [root / "snapshots", root / "volumes", root / "containers", root / "tmp"]
    places += [state / "runs", state / "netns", state / "exits", state / "oci"]
    return {
        "interfaces": {
            name
            for _, name in socket.if_nameindex()
            if name.startswith((f"ve{instance.suffix}", f"br{instance.suffix}"))
        },
        "rules": {line.strip() for line in table.splitlines()},
        "mounts": {
            str(m.target)
            for m in kernel_mount.mounts()
            if str(m.target).startswith(f"{root.parent}/")
        },
        # the daemon's own group and its monitors' stay for the next container
        "cgroups": {g for g in groups if not g.endswith(("/monitors", f"/{instance.cgroup}"))},
        "entries": {str(e) for place in places if place.is_dir() for e in place.iterdir()},
    }


async def until_equal(config: DaemonConfig, before: dict[str, set[str]], failed: str) -> None:
    """The kernel takes interfaces away in its own time, after their namespace's last user."""
    for _ in range(200):
        now = await in_thread(traces, config)
        if now == before:
            return
        await asyncio.sleep(0.02)
    extra = {kind: now[kind] ^ before[kind] for kind in now if now[kind] != before[kind]}
    pytest.fail(f"after {failed} failed: {extra}")


async def test_nothing_real_is_left_whichever_call_fails(config: DaemonConfig) -> None:
    """Create and start with ports, volumes and a network of one's own, failing each call of each
    part in turn; the parts and what they do to the kernel are real."""
    hits: list[str] = []
    for fail_at in range(1, 100):
        faults = Faults(fail_at)
        async with daemon(config, faults.wrap) as engine:
            if not any(n.name == "lake" for n in engine.networks()):
                await engine.network_create(
                    Network(id="", name="lake", driver="bridge", created_at=0.0)
                )
            before = await in_thread(traces, config)
            volumes = {v.name for v in engine.volumes()}
            wanted = request(
                "sleep",
                "1000",
                name=f"try{fail_at}",
                network_mode="lake",
                port_bindings={"80/tcp": (PortBinding(),), "53/udp": (PortBinding(),)},
                mounts=(Mount(type="volume", target="/data"),),
            )
            faults.armed = True
            try:
                created = await engine.create(wanted)
                await engine.start(created.id)
            except (Injected, SampanError):
                hits.append(faults.hit)
            faults.armed = False
            for container in engine.all():
                await engine.remove(container.id, force=True, volumes=True)
            await until_equal(config, before, faults.hit)
            assert {v.name for v in engine.volumes()} == volumes
        if not faults.hit:
            break
    assert {"snapshots.prepare", "networks.attach", "networks.publish", "runs.create"} <= set(hits)
    async with daemon(config) as engine:
        await engine.network_remove("lake")
