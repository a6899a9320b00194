"""Tasks on the real engine: crun, conmon, overlay, bridges. The managers are in memory."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from sampan.aio import SystemClock, in_thread
from sampan.api.builtin_drivers import builtin_drivers
from sampan.client.bootstrap import busybox_tar
from sampan.cluster.agent.agent import Agent
from sampan.cluster.agent.executor import EngineExecutor
from sampan.cluster.agent.files import DiskFiles
from sampan.cluster.dispatcher.dispatcher import Dispatcher
from sampan.cluster.dispatcher.logs import ServiceLogs
from sampan.cluster.images.contract import PeerSource
from sampan.cluster.peer.contract import Identity
from sampan.cluster.records import Cluster, Config, ManagerPart, Node, Secret, Task, TaskStatus
from sampan.cluster.spec import (
    ConfigReference,
    ConfigSpec,
    ContainerSpec,
    EndpointSpec,
    FileTarget,
    HealthConfig,
    Limit,
    Mount,
    NetworkAttachmentConfig,
    PortConfig,
    ResourceRequirements,
    SecretReference,
    SecretSpec,
    TaskSpec,
    TmpfsOptions,
)
from sampan.cluster.states import TaskState
from sampan.config import DaemonConfig, Paths
from sampan.engine.contract import CreateRequest, Engine, LogRequest
from sampan.engine.engine import open_engine
from sampan.image import open_images
from sampan.image.contract import Images
from sampan.kernel import mount as kernel_mount
from sampan.kernel.linux import HOST
from sampan.runtime.logs import LogFiles
from sampan.runtime.runs import open_runs
from sampan.store import records
from sampan.store.database import open_store
from sampan.store.events import EventBus
from sampan.testing.agents import PlainSealing
from sampan.testing.cluster_store import MemoryCluster
from sampan.testing.daemon import short_directory
from sampan.testing.host_networks import open_host_networks
from sampan.testing.peers import PeerHub
from sampan.volume.volumes import DriverVolumes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

S = TaskState
MANAGER, WORKER = "10.0.0.1:2377", "10.0.0.2:2377"


class LocalImages:
    def __init__(self, images: Images) -> None:
        self._images = images

    async def provide(
        self,
        reference: str,
        *,
        auth: str = "",
        sources: Callable[[], Sequence[PeerSource]] = tuple,
        progress: Callable[[str], None] = lambda _: None,
    ) -> str:
        return self._images.get(reference).id


Durable = Callable[[], Awaitable[None]]


@asynccontextmanager
async def host(config: DaemonConfig) -> AsyncIterator[tuple[Engine, Images, Durable]]:
    clock = SystemClock()
    store = open_store(config.paths.database)
    drivers = builtin_drivers(config, store)
    try:
        async with (
            open_images(config, store, clock) as images,
            open_runs(config, clock, drivers.runtime) as runs,
            open_host_networks(config, clock, drivers=drivers) as networks,
            open_engine(
                config,
                store=store,
                events=EventBus(),
                drivers=drivers,
                images=images.images,
                snapshots=images.snapshots,
                runs=runs,
                logs=LogFiles(),
                networks=networks,
                volumes=DriverVolumes(drivers.volume, store, clock),
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
            yield engine, images.images, store.durable
    finally:
        store.close()


@pytest.fixture
async def config() -> AsyncIterator[DaemonConfig]:
    with short_directory() as base:
        config = DaemonConfig(paths=Paths(Path(base) / "r", Path(base) / "s"))
        config.paths.root.mkdir()
        config.paths.state.mkdir()
        yield config
        async with host(config) as (engine, _, _):
            for container in engine.all():
                await engine.remove(container.id, force=True, volumes=True)
        await in_thread(_undo, config)


def _undo(config: DaemonConfig) -> None:
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


class Managers:
    """One manager in memory, and the network to it."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.cluster = MemoryCluster(self.clock)
        self.hub = PeerHub(self.clock)
        self.sealing = PlainSealing()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Managers]:
        async with self.cluster, self.hub:
            self.store = await self.cluster.store()
            peer = self.hub.node(MANAGER, Identity("m", "manager", "c"), self._role)
            self.peer = peer
            dispatcher = Dispatcher(self.store, peer.server, self.sealing, self.clock, "m")
            await self.put(
                Cluster(id="c"),
                Node(id="m", role="manager", address=MANAGER, manager=ManagerPart(address=MANAGER)),
                Node(id="w", address=WORKER),
            )
            async with dispatcher:
                peer.start()
                self.worker = self.hub.node(WORKER, Identity("w", "worker", "c"), self._role)
                self.worker.start()
                yield self

    def _role(self, node_id: str) -> str | None:
        node = self.store.state.nodes.get(node_id)
        return node.role if node is not None else None

    async def put(self, *records: object) -> None:
        def draft(d: object) -> None:
            for record in records:
                d.put(record)  # type: ignore[attr-defined]

        await self.store.update(draft)

    async def desire(self, id: str, state: TaskState) -> None:
        def draft(d: object) -> None:
            task = d.get(Task, id)  # type: ignore[attr-defined]
            d.put(msgspec.structs.replace(task, desired=state))  # type: ignore[attr-defined]

        await self.store.update(draft)

    async def forget(self, id: str) -> None:
        await self.store.update(lambda d: d.delete(d.get(Task, id)))

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        try:
            async with asyncio.timeout(20):
                with self.store.feed() as feed:
                    if condition():
                        return
                    async for _ in feed:
                        if condition():
                            return
        except TimeoutError:
            states = {t.id: t.status for t in self.store.state.tasks.values()}
            raise AssertionError(f"{what or 'it'} did not come about: {states}") from None

    def state(self, id: str) -> TaskState:
        return self.store.state.tasks[id].status.state

    def status(self, id: str) -> TaskStatus:
        return self.store.state.tasks[id].status

    def agent(
        self,
        config: DaemonConfig,
        engine: Engine,
        images: Images,
        durable: Durable,
        server: bool,
    ) -> Agent:
        return Agent(
            node_id="w",
            address=WORKER,
            data_path_address="10.0.0.2",
            client=self.worker.client,
            executor=EngineExecutor(
                engine, LocalImages(images), config, self.clock, linux=HOST, durable=durable
            ),
            overlay=None,
            files=DiskFiles(config.paths.root / "cluster"),
            clock=self.clock,
            managers=[MANAGER],
            server=self.worker.server if server else None,
            rng=random.Random(1),
        )

    async def logs(self, *ids: str, **asked: object) -> list[bytes]:
        reader = ServiceLogs(self.store, self.peer.client, self.clock)
        return [
            entry.line
            async for batch in reader.read(ids, LogRequest(**asked))  # type: ignore[arg-type]
            for entry in batch
        ]


def task(id: str, *args: str, **fields: object) -> Task:
    endpoint = fields.pop("endpoint", EndpointSpec())
    desired = fields.pop("desired", S.RUNNING)
    of_task = {k: fields.pop(k) for k in list(fields) if k in TaskSpec.__struct_fields__}
    container = {"stop_grace_period": 0, **fields}
    return Task(
        id=id,
        service_id="svc",
        service_name="web",
        slot=2,
        node_id="w",
        desired=desired,  # type: ignore[arg-type]
        status=TaskStatus(state=S.ASSIGNED),
        endpoint=endpoint,  # type: ignore[arg-type]
        spec=TaskSpec(
            container_spec=ContainerSpec(image="busybox", args=args, **container),  # type: ignore[arg-type]
            **of_task,  # type: ignore[arg-type]
        ),
    )


async def test_everything_that_a_task_may_ask_for(config: DaemonConfig) -> None:
    managers = Managers()
    script = """
        echo host=$(hostname) slot=$SLOT me=$(id -u) group=$(id -G)
        echo dir=$(pwd) grep=$(grep -c 10.1.2.3 /etc/hosts)
        echo secret=$(cat /run/secrets/key) mode=$(stat -c %a:%u:%g /run/secrets/key)
        echo config=$(cat /etc/app.conf)
        echo tmp=$(stat -f -c %T /scratch) mem=$(cat /sys/fs/cgroup/memory/memory.limit_in_bytes)
        touch /x 2>/dev/null && echo writable || echo readonly
        echo somaxconn=$(cat /proc/sys/net/core/somaxconn) files=$(ulimit -n)
        echo complaint >&2
        exit 4
    """
    async with managers.open(), host(config) as (engine, images, durable):
        async with managers.agent(config, engine, images, durable, True):
            await managers.put(
                Secret(
                    id="s",
                    spec=SecretSpec(name="key"),
                    sealed=managers.sealing.seal(b"hidden", about="s"),
                ),
                Config(
                    id="g",
                    spec=ConfigSpec(name="conf", data="eCB5"),
                ),
            )
            await managers.put(
                task(
                    "t1",
                    "sh",
                    "-c",
                    script,
                    hostname="{{.Service.Name}}-{{.Task.Slot}}",
                    env=("SLOT={{.Task.Slot}}",),
                    user="1000",
                    groups=("2000",),
                    dir="/tmp",
                    hosts=("10.1.2.3 other",),
                    read_only=True,
                    labels={"own": "label"},
                    mounts=(
                        Mount(
                            type="tmpfs",
                            target="/scratch",
                            tmpfs_options=TmpfsOptions(size_bytes=1 << 20, mode=0o777),
                        ),
                        Mount(type="volume", source="{{.Service.Name}}-data", target="/data"),
                    ),
                    sysctls={"net.core.somaxconn": "77"},
                    secrets=(
                        SecretReference(
                            file=FileTarget(name="key", uid="1000", gid="5", mode=0o400),
                            secret_id="s",
                            secret_name="key",
                        ),
                    ),
                    configs=(
                        ConfigReference(
                            file=FileTarget(name="/etc/app.conf"), config_id="g", config_name="conf"
                        ),
                    ),
                    resources=ResourceRequirements(limits=Limit(memory_bytes=32 << 20, pids=50)),
                )
            )
            await managers.until(lambda: managers.state("t1") is S.FAILED)
            status = managers.status("t1")
            assert status.err == "task: non-zero exit (4)"
            assert status.exit_code == 4
            container = engine.get(status.container_id)
            assert container.name == "web.2.t1"
            assert container.spec.labels["com.docker.swarm.task.name"] == "web.2.t1"
            assert container.spec.labels["own"] == "label"
            assert {volume.name for volume in engine.volumes()} == {"web-data"}
            lines = [line.decode().strip() for line in await managers.logs("t1", stderr=False)]
            assert lines == [
                "host=web-2 slot=2 me=1000 group=0 2000",
                "dir=/tmp grep=1",
                "secret=hidden mode=400:1000:5",
                "config=x y",
                f"tmp=tmpfs mem={32 << 20}",
                "readonly",
                "somaxconn=77 files=" + lines[-1].partition("files=")[2],
            ]
            assert await managers.logs("t1", stdout=False) == [b"complaint\n"]
            files = config.paths.state / "payloads" / "t1"
            assert files.is_dir()
            assert kernel_mount.mount_of(files).fstype == "tmpfs"
            await managers.forget("t1")
            async with _soon():
                while engine.all() or (config.paths.state / "payloads").exists():
                    await SystemClock().sleep(0.01)
            await engine.volume_remove("web-data")


def _soon() -> asyncio.Timeout:
    return asyncio.timeout(10)


async def test_states_reasons_and_a_stop(config: DaemonConfig) -> None:
    managers = Managers()
    async with managers.open(), host(config) as (engine, images, durable):
        async with managers.agent(config, engine, images, durable, True):
            healthy = HealthConfig(
                test=("CMD", "test", "-e", "/ok"), interval=50_000_000, retries=2
            )
            mesh = EndpointSpec(ports=(PortConfig(protocol="tcp", target_port=8080),))
            alone = EndpointSpec(
                ports=(PortConfig(protocol="tcp", target_port=80, publish_mode="host"),)
            )
            await managers.put(
                task("run", "sleep", "1000"),
                task("end", "true"),
                task("bad", "/no/such"),
                task("mount", "true", mounts=(Mount(source="/not/there", target="/x"),)),
                task("template", "true", env=("A={{.Nope}}",)),
                task("sick", "sleep", "1000", healthcheck=healthy),
                task(
                    "well",
                    "sh",
                    "-c",
                    "sleep 0.3; touch /ok; sleep 1000",
                    healthcheck=msgspec.structs.replace(healthy, retries=1000),
                ),
                task("listens", "nc", "-l", "-p", "8080", endpoint=mesh),
                task("port", "nc", "-l", "-p", "80", endpoint=alone),
                task("host", "sleep", "1000", networks=(NetworkAttachmentConfig(target="host"),)),
            )
            await managers.until(lambda: managers.state("run") is S.RUNNING, "run")
            assert managers.status("run").pid
            await managers.until(lambda: managers.state("end") is S.COMPLETE, "end")
            await managers.until(lambda: managers.state("bad") is S.FAILED, "bad")
            assert "/no/such" in managers.status("bad").err
            assert managers.status("bad").exit_code == 127
            await managers.until(lambda: managers.state("mount") is S.REJECTED, "mount")
            assert "bind source path does not exist: /not/there" in managers.status("mount").err
            await managers.until(lambda: managers.state("template") is S.REJECTED, "template")
            await managers.until(lambda: managers.state("sick") is S.FAILED, "sick")
            assert "unhealthy container" in managers.status("sick").err
            await managers.until(lambda: managers.state("listens") is S.RUNNING, "listens")
            await managers.until(lambda: managers.state("port") is S.RUNNING, "port")
            assert managers.status("port").ports[0].published_port > 0
            await managers.until(lambda: managers.state("host") is S.RUNNING, "host")
            assert engine.get(managers.status("host").container_id).spec.host.network_mode == "host"
            await managers.desire("run", S.SHUTDOWN)
            await managers.until(lambda: managers.state("run") is S.SHUTDOWN, "run")
            assert managers.status("run").exit_code == 137
            await managers.until(lambda: managers.state("well") >= S.RUNNING, "well")
            assert managers.state("well") is S.RUNNING


async def test_a_daemon_comes_back_to_its_tasks(config: DaemonConfig) -> None:
    managers = Managers()
    async with managers.open():
        async with host(config) as (engine, images, durable):
            async with managers.agent(config, engine, images, durable, True):
                await managers.put(
                    task("stays", "sleep", "1000"),
                    task("ends", "sleep", "1000"),
                    task("goes", "sleep", "1000"),
                )
                ids = ("stays", "ends", "goes")
                await managers.until(lambda: {managers.state(i) for i in ids} == {S.RUNNING})
                async with _soon():
                    while not (config.paths.root / "cluster" / "agent.json").exists():
                        await SystemClock().sleep(0.01)
            before = {c.name: c.id for c in engine.all()}
            pid = managers.status("ends").pid
        os.kill(pid, 9)
        await managers.forget("goes")
        async with host(config) as (engine, images, durable):
            async with managers.agent(config, engine, images, durable, False):
                await managers.until(lambda: managers.state("ends") is S.FAILED)
                assert managers.status("ends").exit_code == 137
                assert managers.state("stays") is S.RUNNING
                async with _soon():
                    while len(engine.all()) > 2:
                        await SystemClock().sleep(0.01)
                assert {c.name: c.id for c in engine.all()} == {
                    name: id for name, id in before.items() if not name.endswith("goes")
                }


async def test_leaving_takes_everything_along(config: DaemonConfig) -> None:
    managers = Managers()
    async with managers.open(), host(config) as (engine, images, durable):
        agent = managers.agent(config, engine, images, durable, True)
        await agent.start()
        await engine.create(_by_hand())
        await managers.put(task("t1", "sleep", "1000"))
        await managers.until(lambda: managers.state("t1") is S.RUNNING)
        await agent.leave()
        assert [c.name for c in engine.all()] == ["mine"]
        assert managers.store.state.nodes["w"].status.state == "down"
        assert not (config.paths.root / "cluster" / "agent.json").exists()


def _by_hand() -> CreateRequest:
    """A container with a label that looks like ours: it is somebody's, and stays."""
    spec = records.ContainerSpec(
        image="busybox", args=(), cmd=("true",), labels={"com.docker.swarm.task.id": "x"}
    )
    return CreateRequest(spec=spec, name="mine")
