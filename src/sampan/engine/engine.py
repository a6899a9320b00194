"""The facade: one short method a verb, and the one place where the parts are put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Literal

from sampan.aio import Clock
from sampan.config import DaemonConfig
from sampan.engine.cluster_networks import ClusterNetworks, NoCluster
from sampan.engine.container_index import ContainerIndex
from sampan.engine.contract import (
    CommitRequest,
    Created,
    CreateRequest,
    Engine,
    ExecRequest,
    ExecState,
    LogRequest,
    PathStat,
    Process,
    Sample,
    WaitCondition,
)
from sampan.engine.drivers import Drivers
from sampan.engine.exec import Execs
from sampan.engine.files.archive import Archives
from sampan.engine.files.commit import Committer
from sampan.engine.files.rootfs_access import RootfsAccess
from sampan.engine.in_flight import InFlight
from sampan.engine.lifecycle.change import Changer
from sampan.engine.lifecycle.create import Creator
from sampan.engine.lifecycle.exit_handler import ExitHandler
from sampan.engine.lifecycle.health import HealthChecks
from sampan.engine.lifecycle.reconcile import Reconciler, active
from sampan.engine.lifecycle.remove import ContainerRemover
from sampan.engine.lifecycle.restart import Restarts
from sampan.engine.lifecycle.start import Starter
from sampan.engine.lifecycle.stop import Stopper
from sampan.engine.log_forwarding import Forwarding
from sampan.engine.networking.attachments import Attachments
from sampan.engine.networking.connect import Connector
from sampan.engine.networking.networks import NetworkIndex
from sampan.engine.observe.emit_events import EventEmitter
from sampan.engine.observe.logs import Logs, log_path
from sampan.engine.observe.stats import Stats
from sampan.engine.observe.top import top
from sampan.engine.parts import Parts
from sampan.engine.volumes.mounts import Mounts
from sampan.engine.volumes.volumes import VolumeIndex
from sampan.errors import Conflict, NotFound
from sampan.image.contract import Change, Images, ImageUser, Snapshots
from sampan.network.contract import Networks
from sampan.runtime.contract import AttachStream, ExitStatus, LogEntry, LogReader, Runs
from sampan.store.contract import Store
from sampan.store.events import EventBus
from sampan.store.records import (
    Container,
    EndpointSettings,
    Image,
    Network,
    Phase,
    Resources,
    RestartPolicy,
    Volume,
)
from sampan.volume.contract import VolumeListing, Volumes


@asynccontextmanager
async def open_engine(
    config: DaemonConfig,
    *,
    store: Store,
    events: EventBus,
    drivers: Drivers,
    images: Images,
    snapshots: Snapshots,
    runs: Runs,
    logs: LogReader,
    networks: Networks,
    volumes: Volumes,
    clock: Clock,
    cluster: ClusterNetworks | None = None,
) -> AsyncIterator[Engine]:
    """The engine, reconciled with what a daemon before left. Leaving lets verbs under way come to
    their end; containers run on.

    ``networks`` is started and stopped here; ``store`` and the others stay the caller's to close.
    ``cluster`` None: a host that shares networks with nobody.
    """
    parts = Parts(
        config=config,
        store=store,
        events=events,
        drivers=drivers,
        images=images,
        snapshots=snapshots,
        runs=runs,
        logs=logs,
        networks=networks,
        volumes=volumes,
        cluster=cluster or NoCluster(),
        clock=clock,
    )
    engine = HostEngine(parts)
    was_running = frozenset(c.id for c in store.containers.values() if active(c))
    try:
        await engine.reconciler.reconcile()
        # Before anyone can ask: a daemon that answers has applied its restart policies.
        await engine.reconciler.start_wanted(engine.reconciler.wanted(was_running))
        yield engine
    finally:
        await engine.in_flight.close(config.shutdown_timeout_s)
        await engine.views.close()
        await networks.stop()


class HostEngine:
    """``Engine`` on this host. Composes; decides nothing."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.events = parts.events
        self.in_flight = in_flight = InFlight()
        emit = EventEmitter(parts.events)
        self._emit = emit
        self._containers = containers = ContainerIndex(parts.store)
        self._attachments = attachments = Attachments(parts, containers, emit)
        mounts = Mounts(parts, containers, emit)
        forwarding = Forwarding(parts, in_flight)
        self._remover = remover = ContainerRemover(parts, containers, in_flight, emit, forwarding)
        health = HealthChecks(parts, containers, in_flight, emit)
        exit_handler = ExitHandler(parts, containers, in_flight, emit, mounts, attachments, remover)

        def supervise(container: Container) -> None:
            """A container runs from now on, or was found to."""
            run = exit_handler.watch(container)
            health.watch(container, run)
            forwarding.watch(container, run)

        starter = Starter(
            parts,
            containers,
            in_flight,
            emit,
            mounts,
            attachments,
            remover,
            started=supervise,
        )
        self._starter = starter
        self._restarts = restarts = Restarts(parts, containers, in_flight, starter)
        exit_handler.start_again = restarts.schedule
        self._creator = Creator(parts, containers, emit, mounts)
        self._stopper = Stopper(parts, containers, in_flight, emit, starter, restarts, remover)
        self._changer = Changer(parts, containers, in_flight, emit, attachments, restarts)
        self._execs = Execs(parts, containers, in_flight, emit)
        remover.removed.append(self._execs.forget)
        self.views = views = RootfsAccess(parts, containers, in_flight, mounts, attachments)
        self._archives = Archives(parts, containers, emit, views)
        self._committer = Committer(parts, containers, in_flight, emit)
        self._stats = Stats(parts, containers)
        self._logs = Logs(parts, containers, in_flight)
        self._networks = NetworkIndex(parts, emit)
        self._connector = Connector(parts, containers, in_flight, emit, attachments)
        self._volumes = VolumeIndex(parts, emit)
        self.reconciler = Reconciler(
            parts,
            containers,
            in_flight,
            mounts,
            attachments,
            self._networks,
            starter,
            exit_handler,
            forwarding,
            remover,
            found_running=supervise,
        )

    # -- containers: names and lists

    def get(self, ref: str) -> Container:
        return self._containers.get(ref)

    def all(self) -> Sequence[Container]:
        return self._containers.all()

    async def create(self, request: CreateRequest) -> Created:
        return await self.in_flight.to_the_end(self._creator.create(request), "create")

    async def remove(
        self, ref: str, *, force: bool = False, volumes: bool = False, link: bool = False
    ) -> None:
        if link:
            raise Conflict(
                "removing a link is not possible while containers keep theirs from creation: "
                "create the container again without it"
            )
        await self.in_flight.to_the_end(
            self._stopper.remove(ref, force=force, volumes=volumes), f"remove {ref}"
        )

    async def rename(self, ref: str, name: str) -> None:
        await self.in_flight.to_the_end(self._changer.rename(ref, name), f"rename {ref}")

    async def update(
        self, ref: str, resources: Resources | None, restart: RestartPolicy | None
    ) -> tuple[str, ...]:
        return await self.in_flight.to_the_end(
            self._changer.update(ref, resources, restart), f"update {ref}"
        )

    async def prune(self, matches: Callable[[Container], bool]) -> tuple[list[str], int]:
        ids, freed = [], 0
        for container in self._containers.all():
            phase = container.run.phase if container.run else Phase.CREATED
            if phase in (Phase.STARTING, Phase.RUNNING) or not matches(container):
                continue
            if container.run is not None and container.run.restarting:
                continue
            try:
                size = await self._parts.snapshots.size(container.id)
                await self.remove(container.id)
            except (NotFound, Conflict):
                continue  # removed or started meanwhile
            ids.append(container.id)
            freed += size
        return ids, freed

    # -- containers: runs

    async def start(self, ref: str) -> None:
        container_id = self._containers.get(ref).id

        async def locked() -> None:
            async with self.in_flight.locks.hold(container_id):
                self._restarts.forget(container_id)
                await self._starter.start(container_id)

        await self.in_flight.to_the_end(locked(), f"start {ref}")

    async def stop(self, ref: str, *, timeout_s: int | None = None, signal: str = "") -> None:
        await self.in_flight.to_the_end(self._stopper.stop(ref, timeout_s, signal), f"stop {ref}")

    async def restart(self, ref: str, *, timeout_s: int | None = None, signal: str = "") -> None:
        await self.in_flight.to_the_end(
            self._stopper.restart(ref, timeout_s, signal), f"restart {ref}"
        )

    async def kill(self, ref: str, signal: str = "SIGKILL") -> None:
        await self.in_flight.to_the_end(self._stopper.kill(ref, signal), f"kill {ref}")

    async def pause(self, ref: str) -> None:
        await self.in_flight.to_the_end(self._stopper.pause(ref), f"pause {ref}")

    async def unpause(self, ref: str) -> None:
        await self.in_flight.to_the_end(self._stopper.unpause(ref), f"unpause {ref}")

    async def wait(self, ref: str, condition: WaitCondition = "not-running") -> ExitStatus:
        container = self._containers.get(ref)
        run = container.run
        resting = run is None or (run.phase is Phase.STOPPED and not run.restarting)
        if condition == "not-running" and resting:
            if run is None:
                return ExitStatus(0, 0.0)
            return ExitStatus(run.exit_code, run.finished_at, run.oom_killed)
        return await self.in_flight.waiters.add(container.id, condition)

    async def resize(self, ref: str, rows: int, columns: int) -> None:
        await self._stopper.resize(ref, rows, columns)

    async def attach(self, ref: str) -> AttachStream:
        container = self._containers.get(ref)
        spec = container.spec
        attachment = self.in_flight.attachments.wait(container.id, stdin_once=spec.stdin_once)
        if container.running:
            self.in_flight.attachments.leave(container.id, attachment)
            attachment.connect(await self._parts.runs.attach(container.id))
        return attachment

    def logs(self, ref: str, request: LogRequest) -> AsyncIterator[list[LogEntry]]:
        return self._logs.read(ref, request)

    def log_details(self, ref: str) -> bytes:
        return self._logs.details(ref)

    def log_path(self, ref: str) -> Path | None:
        return log_path(self._containers.get(ref), self._parts.drivers.log, self._parts.config)

    async def top(self, ref: str, ps_args: str) -> tuple[tuple[str, ...], list[Process]]:
        answer = await top(self._parts, self._containers, ref, ps_args)
        self._emit.container("top", self._containers.get(ref))
        return answer

    async def size(self, ref: str) -> tuple[int, int]:
        container = self._containers.get(ref)
        written = await self._parts.snapshots.size(container.id)
        image = self._parts.store.images.get(container.image_id)
        return written, written + (image.size if image else 0)

    # -- files

    async def archive_stat(self, ref: str, path: str) -> PathStat:
        return await self._archives.stat(ref, path)

    def archive_get(
        self, ref: str, path: str
    ) -> AbstractAsyncContextManager[tuple[PathStat, AsyncIterator[bytes]]]:
        return self._archives.get(ref, path)

    async def archive_put(
        self,
        ref: str,
        path: str,
        data: AsyncIterator[bytes],
        *,
        keep_kinds: bool = False,
        container_owner: bool = False,
    ) -> None:
        await self._archives.put(
            ref, path, data, keep_kinds=keep_kinds, container_owner=container_owner
        )

    def export(self, ref: str) -> AsyncIterator[bytes]:
        return self._archives.export(ref)

    async def changes(self, ref: str) -> list[Change]:
        return await self._committer.changes(ref)

    async def commit(self, ref: str, request: CommitRequest) -> Image:
        return await self.in_flight.to_the_end(
            self._committer.commit(ref, request), f"commit {ref}"
        )

    def stats(self, ref: str) -> AsyncIterator[Sample]:
        return self._stats.follow(ref)

    # -- exec

    async def exec_create(self, ref: str, request: ExecRequest) -> str:
        return await self._execs.create(ref, request)

    async def exec_start(
        self, exec_id: str, *, console_size: tuple[int, int] = (0, 0)
    ) -> AttachStream:
        return await self.in_flight.to_the_end(
            self._execs.start(exec_id, console_size), f"exec {exec_id}"
        )

    def exec_inspect(self, exec_id: str) -> ExecState:
        return self._execs.inspect(exec_id)

    async def exec_resize(self, exec_id: str, rows: int, columns: int) -> None:
        await self._execs.resize(exec_id, rows, columns)

    # -- networks and volumes

    def network(self, ref: str) -> Network:
        return self._networks.get(ref)

    def networks(self) -> Sequence[Network]:
        return self._networks.all()

    def network_users(self, network: Network) -> Mapping[str, EndpointSettings]:
        return self._networks.users(network)

    async def network_create(self, wanted: Network) -> Network:
        return await self.in_flight.to_the_end(self._networks.create(wanted), "network create")

    async def network_remove(self, ref: str) -> None:
        await self.in_flight.to_the_end(self._networks.remove(ref), f"network remove {ref}")

    def names_on(self, ref: str, endpoint: EndpointSettings) -> tuple[str, ...]:
        return self._attachments.names_of(self._containers.get(ref), endpoint)

    async def network_connect(self, ref: str, container: str, endpoint: EndpointSettings) -> None:
        await self.in_flight.to_the_end(
            self._connector.connect(ref, container, endpoint), f"network connect {container}"
        )

    async def network_disconnect(self, ref: str, container: str, *, force: bool = False) -> None:
        await self.in_flight.to_the_end(
            self._connector.disconnect(ref, container, force=force),
            f"network disconnect {container}",
        )

    def volume(self, name: str) -> Volume:
        return self._parts.volumes.get(name)

    def volumes(self) -> Sequence[Volume]:
        return self._parts.volumes.all()

    async def volume_listing(self) -> VolumeListing:
        return await self._parts.volumes.listing()

    async def volume_look_up(self, name: str) -> Volume:
        return await self._parts.volumes.look_up(name)

    def volume_scope(self, volume: Volume) -> Literal["local", "global"]:
        return self._parts.volumes.scope(volume)

    def volume_is_engine_owned(self, volume: Volume) -> bool:
        return self._parts.volumes.is_engine_owned(volume.name)

    async def volume_status(self, volume: Volume) -> Mapping[str, object]:
        return await self._parts.volumes.status(volume)

    def volume_users(self, name: str) -> Sequence[str]:
        return self._volumes.users(name)

    async def volume_create(
        self, name: str, driver: str, options: dict[str, str], labels: dict[str, str]
    ) -> Volume:
        return await self._volumes.create(name, driver, options, labels)

    async def volume_remove(self, name: str, *, force: bool = False) -> None:
        await self.in_flight.to_the_end(
            self._volumes.remove(name, force=force), f"volume remove {name}"
        )

    def image_user(self, image_id: str) -> ImageUser | None:
        users = [c for c in self._parts.store.containers.values() if c.image_id == image_id]
        if not users:
            return None
        # A running one is the stronger reason: force does not help against it.
        first = next((c for c in users if c.running), users[0])
        return ImageUser(first.id, first.running)
