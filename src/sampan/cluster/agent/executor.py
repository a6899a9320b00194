"""``Executor`` on this host's engine."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from sampan.aio import Clock, KeyedLocks, Tasks, first_of, in_thread
from sampan.cluster.agent.container import (
    TASK_LABEL,
    container_of,
    ingress_ports,
    names_of,
    protocol_of,
    request_of,
)
from sampan.cluster.agent.contract import ContainerPresence, Exit, NoSuchTask, Supplies, TaskPlace
from sampan.cluster.agent.describe import describe
from sampan.cluster.agent.listening import all_listening, any_waiting
from sampan.cluster.agent.networks import NodeNetworks
from sampan.cluster.agent.payloads import PayloadFiles
from sampan.cluster.images.contract import TaskImages
from sampan.cluster.protocol.messages import Assignment
from sampan.cluster.records import NodeDescription, TaskAttachment
from sampan.cluster.spec import PortConfig
from sampan.config import DaemonConfig
from sampan.engine.cluster_networks import asks
from sampan.engine.contract import AlreadyStarted, AlreadyStopped, Engine, LogRequest
from sampan.errors import NotFound, SampanError
from sampan.kernel.linux import Linux
from sampan.runtime.contract import LogEntry
from sampan.store.events import Event
from sampan.store.records import Container, Phase

log = logging.getLogger(__name__)

LISTEN_LIMIT_S = 5.0
"""A task that does not listen by then is taken for one that never will."""
ANSWER_LIMIT_S = 2.0
"""A task that is to stop gets so long to answer what has reached it: long downloads are cut off."""
_LOOK_AGAIN_S = 0.01
_LOOK_SLOWER_S = 0.05
UNHEALTHY = "unhealthy container"


class EngineExecutor:
    def __init__(
        self,
        engine: Engine,
        images: TaskImages,
        config: DaemonConfig,
        clock: Clock,
        *,
        linux: Linux,
        durable: Callable[[], Awaitable[None]],
        root_certificate: Callable[[], str] = lambda: "",
        plugins: Callable[[], Sequence[tuple[str, str]]] = tuple,
    ) -> None:
        """``durable``: waits until this host will find its containers again after a power cut. A
        step is over then, since what follows it is told to the managers."""
        self._linux, self._durable = linux, durable
        self._engine, self._images, self._config, self._clock = engine, images, config, clock
        self._root_certificate, self._plugins = root_certificate, plugins
        self._networks = NodeNetworks(engine)
        self._payloads = PayloadFiles(config.paths.state)
        self._ids: dict[str, str] = {}
        """Task id -> container id."""
        self._swept = False
        self._locks = KeyedLocks()
        """By task id: steps that change a container do not overlap."""
        # More at once would only make all of them late: the first must run early, for a rollout
        # waits for it.
        self._room = asyncio.Semaphore(max(4, 2 * (os.cpu_count() or 1)))
        self._description = NodeDescription()

    async def describe(self) -> NodeDescription:
        plugins = self._plugins()
        self._description = await in_thread(
            lambda: describe(self._linux, self._config.labels, self._root_certificate(), plugins)
        )
        return self._description

    async def found(self) -> Mapping[str, TaskPlace]:
        self._ids = {}
        places = {}
        for container in self._engine.all():
            if (task_id := _task_of(container)) is not None:
                self._ids[task_id] = container.id
                places[task_id] = _place(container)
        if not self._swept:
            # At the start only, when nothing is being made.
            self._swept = True
            await in_thread(self._payloads.sweep, set(places))
        return places

    # -- steps

    async def fetch(self, task: Assignment, supplies: Supplies, say: Callable[[str], None]) -> str:
        return await self._images.provide(
            container_of(task).image,
            auth=task.auth,
            sources=lambda: supplies.sources,
            progress=say,
        )

    async def create(self, task: Assignment, image_id: str, supplies: Supplies) -> TaskPlace:
        async with self._locks.hold(task.id), self._room:
            if (known := self._find(task.id)) is not None:
                return _place(known)
            names = names_of(task, self._description)
            await self._networks.ensure(task.attachments, supplies)
            files = await in_thread(self._payloads.write, task, supplies, names)
            try:
                created = await self._engine.create(request_of(task, image_id, names, files))
            except BaseException:
                await in_thread(self._payloads.remove, task.id)
                raise
            self._ids[task.id] = created.id
            await self._durable()
            return _place(self._engine.get(created.id))

    async def start(self, task: Assignment) -> TaskPlace:
        async with self._locks.hold(task.id), self._room:
            container = self._get(task.id)
            if container.run is None or container.run.phase is Phase.CREATED:
                try:
                    await self._engine.start(container.id)
                except AlreadyStarted:
                    pass  # by hand, meanwhile
                except SampanError as error:
                    error.args = (f"starting container failed: {error}",)
                    raise
                await self._durable()
            return _place(self._get(task.id))

    async def ready(self, task: Assignment) -> None:
        container = self._get(task.id)
        check = container.spec.healthcheck
        if check is not None and check.test[:1] != ("NONE",):
            await self._health(container.id, "healthy")
            return
        ports = ingress_ports(task)
        pid = container.run.pid if container.run is not None else 0
        if not ports or not pid:
            return
        begin = self._clock.monotonic()
        while not await in_thread(all_listening, pid, ports):
            waited = self._clock.monotonic() - begin
            if waited >= LISTEN_LIMIT_S:
                return
            await self._clock.sleep(_LOOK_AGAIN_S if waited < 0.5 else _LOOK_SLOWER_S)

    async def wait(self, task: Assignment) -> Exit:
        container = self._get(task.id)
        check = container.spec.healthcheck
        try:
            if check is None or check.test[:1] == ("NONE",):
                code = (await self._engine.wait(container.id)).exit_code
                await self._durable()
                return Exit(code=code, error=self._why(task.id))
            return await self._wait_healthy(container.id)
        except NotFound as error:
            raise NoSuchTask(task.id) from error

    async def answered(self, task: Assignment) -> None:
        container = self._find(task.id)
        pid = container.run.pid if container is not None and container.run is not None else 0
        begin = self._clock.monotonic()
        while pid and await in_thread(any_waiting, pid):
            if self._clock.monotonic() - begin >= ANSWER_LIMIT_S:
                return
            await self._clock.sleep(_LOOK_SLOWER_S)

    async def stop(self, task_id: str) -> Exit | None:
        async with self._locks.hold(task_id):
            container = self._find(task_id)
            if container is None or container.run is None:
                return None
            with suppress(AlreadyStopped, NotFound):  # what was wanted
                await self._engine.stop(container.id)
            await self._durable()
            container = self._find(task_id) or container
            return Exit(code=container.run.exit_code if container.run is not None else 0)

    async def remove(self, task_id: str) -> None:
        async with self._locks.hold(task_id):
            container = self._find(task_id)
            if container is not None:
                with suppress(NotFound):  # by hand, meanwhile
                    await self._engine.remove(container.id, force=True, volumes=True)
                await self._durable()
            self._ids.pop(task_id, None)
            await in_thread(self._payloads.remove, task_id)

    # -- containers that are not tasks

    async def attached(self) -> Sequence[ContainerPresence]:
        return [
            ContainerPresence(
                container_id=container.id,
                endpoint=endpoint,
                names=self._engine.names_on(container.id, endpoint),
            )
            for container in self._engine.all()
            if container.running
            for endpoint in container.networks.values()
            if asks(endpoint) and endpoint.ipv4
        ]

    async def ensure(self, places: tuple[TaskAttachment, ...], supplies: Supplies) -> None:
        await self._networks.ensure(places, supplies)

    async def evict(self) -> None:
        for one in await self.attached():
            try:
                await self._engine.network_disconnect(
                    one.endpoint.network_id, one.container_id, force=True
                )
            except SampanError as error:
                log.warning("container %s stays on a network: %s", one.container_id[:12], error)

    async def tidy(self, supplies: Supplies) -> None:
        await self._networks.tidy(supplies)

    def logs(self, task_id: str, request: LogRequest) -> AsyncIterator[list[LogEntry]]:
        return self._engine.logs(self._get(task_id).id, request)

    # -- health

    async def _health(self, container_id: str, wanted: str) -> None:
        """Wait until the container is ``wanted`` (healthy, unhealthy)."""

        def concerns(event: Event) -> bool:
            return (
                event.type == "container"
                and event.actor_id == container_id
                and event.action.startswith("health_status")
            )

        with self._engine.events.feed(concerns) as feed:
            run = self._engine.get(container_id).run
            if run is not None and run.health is not None and run.health.status == wanted:
                return
            async for event in feed:
                if event.action == f"health_status: {wanted}":
                    return
        await asyncio.Event().wait()  # the feed was closed with the engine: nobody will say

    async def _wait_healthy(self, container_id: str) -> Exit:
        """Until it ends, or is unhealthy: then it is ended."""
        tasks = Tasks()
        try:
            ended = tasks.spawn(self._engine.wait(container_id), name="task exit")
            first, _ = await first_of(ended=ended, sick=self._health(container_id, "unhealthy"))
            if first == "ended":
                return Exit(code=ended.result().exit_code)
            with suppress(AlreadyStopped):  # of itself, in this moment
                await self._engine.stop(container_id)
            return Exit(code=(await ended).exit_code, error=UNHEALTHY)
        finally:
            await tasks.close()

    def _why(self, task_id: str) -> str:
        """Why its run never began, if that is so."""
        container = self._find(task_id)
        return container.run.error if container is not None and container.run is not None else ""

    # -- containers

    def _find(self, task_id: str) -> Container | None:
        id = self._ids.get(task_id)
        if id is not None:
            try:
                return self._engine.get(id)
            except NotFound:
                del self._ids[task_id]
        for container in self._engine.all():
            if _task_of(container) == task_id:
                self._ids[task_id] = container.id
                return container
        return None

    def _get(self, task_id: str) -> Container:
        container = self._find(task_id)
        if container is None:
            raise NoSuchTask(task_id)
        return container


def _task_of(container: Container) -> str | None:
    """The task whose container it is. The name counts, too: anybody may copy a label, and what we
    take for ours, we remove."""
    task_id = container.spec.labels.get(TASK_LABEL)
    return task_id if task_id and container.name.endswith(f".{task_id}") else None


def _place(container: Container) -> TaskPlace:
    run = container.run
    if run is None or run.phase in (Phase.CREATED, Phase.STARTING):
        return TaskPlace(container_id=container.id, phase="created")
    published = tuple(
        PortConfig(
            protocol=protocol_of(port.protocol),
            target_port=port.container_port,
            published_port=port.host_port,
            publish_mode="host",
        )
        for port in container.ports
    )
    return TaskPlace(
        container_id=container.id,
        phase="running" if run.phase is Phase.RUNNING else "ended",
        pid=run.pid if run.phase is Phase.RUNNING else 0,
        ports=tuple(dict.fromkeys(published)),
    )
