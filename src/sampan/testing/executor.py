"""A host that runs tasks without running anything, in virtual time.

One ``FakeHost`` outlives its daemons: hand it to a second ``FakeExecutor`` to play a restart. What
a task's container does is told by its arguments: ``exit 3`` ends at once, ``sleep 5`` after five
seconds, anything else runs until it is stopped; ``unready`` never gets ready. Light on purpose: a
hundred of them, with thousands of tasks, live in one process.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from sampan.aio import Clock
from sampan.cluster.agent.contract import ContainerPresence, Exit, NoSuchTask, Supplies, TaskPlace
from sampan.cluster.protocol.messages import Assignment
from sampan.cluster.records import NodeDescription, TaskAttachment
from sampan.cluster.spec import Platform, PortConfig, Resources
from sampan.engine.contract import LogRequest
from sampan.errors import InvalidArgument, Unavailable
from sampan.image.contract import NoSuchImage
from sampan.runtime.contract import LogEntry


@dataclass(eq=False)
class FakeContainer:
    task: Assignment
    id: str
    started: bool = False
    exit: Exit | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    ends_at: float | None = None
    pid: int = 0
    log: list[LogEntry] = field(default_factory=list)

    def end(self, code: int, error: str = "") -> None:
        if self.exit is None:
            self.exit = Exit(code=code, error=error)
            self.ended.set()


class FakeHost:
    """What is on a host, for every caller."""

    def __init__(self, hostname: str = "host") -> None:
        self.hostname = hostname
        self.containers: dict[str, FakeContainer] = {}
        """By task id."""
        self.networks: set[str] = set()
        self.attached: dict[str, ContainerPresence] = {}
        """Containers that were put on a network by hand, by id."""
        self.left: Callable[[str, str], None] = lambda container_id, network_id: None
        """Told of every such container that goes."""
        self.most_running = 0

    @property
    def running(self) -> list[FakeContainer]:
        return [c for c in self.containers.values() if c.started and c.exit is None]

    def disconnect(self, container_id: str) -> None:
        """A container that was put on a network by hand ends, or is taken off."""
        one = self.attached.pop(container_id)
        self.left(container_id, one.endpoint.network_id)


@dataclass(frozen=True, kw_only=True)
class Delays:
    """Seconds that each step takes."""

    fetch: float = 0.0
    create: float = 0.0
    start: float = 0.0
    ready: float = 0.0
    stop: float = 0.0


class FakeExecutor:
    """``Executor`` on a ``FakeHost``.

    ``broken`` may name an error for a task and a step (``fetch``, ``create``, ``start``, ``ready``,
    ``answered``, ``stop``); it is asked before each step.
    """

    def __init__(
        self, clock: Clock, host: FakeHost | None = None, delays: Delays | None = None
    ) -> None:
        self.clock = clock
        self.host = host or FakeHost()
        self.delays = delays or Delays()
        self.description = NodeDescription(
            hostname=self.host.hostname,
            platform=Platform(architecture="x86_64", os="linux"),
            resources=Resources(nano_cpus=2_000_000_000, memory_bytes=4 << 30),
            engine_version="fake",
        )
        self.missing_images: set[str] = set()
        self.broken: Callable[[str, Assignment], Exception | None] = lambda step, task: None

    async def describe(self) -> NodeDescription:
        return self.description

    async def found(self) -> Mapping[str, TaskPlace]:
        return {id: _place(container) for id, container in self.host.containers.items()}

    async def fetch(self, task: Assignment, supplies: Supplies, say: Callable[[str], None]) -> str:
        await self._step("fetch", task, self.delays.fetch)
        image = task.spec.container_spec.image if task.spec.container_spec else ""
        if image in self.missing_images:
            raise NoSuchImage(image)
        return f"sha256:{image}"

    async def create(self, task: Assignment, image_id: str, supplies: Supplies) -> TaskPlace:
        if (known := self.host.containers.get(task.id)) is not None:
            return _place(known)
        await self._step("create", task, self.delays.create)
        spec = task.spec.container_spec
        for attachment in task.attachments:
            if attachment.network_id not in supplies.networks:
                raise InvalidArgument(f"network {attachment.network_id} not found")
            self.host.networks.add(attachment.network_id)
        for reference in spec.secrets if spec else ():
            if reference.secret_id not in supplies.secrets:
                raise InvalidArgument(f"secret {reference.secret_name} not found")
        container = FakeContainer(task, secrets.token_hex(32))
        self.host.containers[task.id] = container
        return _place(container)

    async def start(self, task: Assignment) -> TaskPlace:
        container = self._get(task.id)
        if container.started:
            return _place(container)
        await self._step("start", task, self.delays.start)
        container.started, container.pid = True, 4242
        match _arguments(task):
            case ["exit", code]:
                container.end(int(code))
            case ["sleep", seconds]:
                container.ends_at = self.clock.monotonic() + float(seconds)
        self.host.most_running = max(self.host.most_running, len(self.host.running))
        return _place(container)

    async def attached(self) -> Sequence[ContainerPresence]:
        return [*self.host.attached.values()]

    async def ensure(self, places: tuple[TaskAttachment, ...], supplies: Supplies) -> None:
        for place in places:
            if place.network_id not in supplies.networks:
                raise Unavailable(f"network {place.network_id} is not known here yet")
            self.host.networks.add(place.network_id)

    async def evict(self) -> None:
        for one in await self.attached():
            self.host.disconnect(one.container_id)

    async def ready(self, task: Assignment) -> None:
        await self._step("ready", task, self.delays.ready)
        if _arguments(task) == ["unready"]:
            await asyncio.Event().wait()

    async def wait(self, task: Assignment) -> Exit:
        container = self._get(task.id)
        if container.ends_at is not None and container.exit is None:
            await self.clock.sleep(max(0.0, container.ends_at - self.clock.monotonic()))
            container.end(0)
        await container.ended.wait()
        assert container.exit is not None
        return container.exit

    async def answered(self, task: Assignment) -> None:
        await self._step("answered", task, 0.0)

    async def stop(self, task_id: str) -> Exit | None:
        container = self.host.containers.get(task_id)
        if container is None or not container.started:
            return None
        if container.exit is None:
            await self._step("stop", container.task, self.delays.stop)
            container.end(143)
        return container.exit

    async def remove(self, task_id: str) -> None:
        container = self.host.containers.get(task_id)
        if container is not None:
            container.end(137)
            del self.host.containers[task_id]

    async def tidy(self, supplies: Supplies) -> None:
        used = {
            attachment.network_id
            for container in self.host.containers.values()
            for attachment in container.task.attachments
        }
        self.host.networks &= used | set(supplies.networks)

    def logs(self, task_id: str, request: LogRequest) -> AsyncIterator[list[LogEntry]]:
        return self._read(self._get(task_id), request)

    async def _read(
        self, container: FakeContainer, request: LogRequest
    ) -> AsyncIterator[list[LogEntry]]:
        entries = [
            entry
            for entry in container.log
            if entry.time_ns >= request.since_ns
            and (not request.until_ns or entry.time_ns <= request.until_ns)
        ]
        yield entries if request.tail is None else entries[len(entries) - request.tail :]
        if request.follow:
            seen = len(container.log)
            while container.exit is None:
                await self.clock.sleep(0.1)
                if new := container.log[seen:]:
                    seen = len(container.log)
                    yield new

    # -- what tests do to it

    def end(self, task_id: str, code: int, error: str = "") -> None:
        """The container's process ends by itself."""
        self._get(task_id).end(code, error)

    def print(self, task_id: str, line: str, at_ns: int) -> None:
        self._get(task_id).log.append(LogEntry(at_ns, "stdout", line.encode() + b"\n"))

    # -- small things

    def _get(self, task_id: str) -> FakeContainer:
        container = self.host.containers.get(task_id)
        if container is None:
            raise NoSuchTask(task_id)
        return container

    async def _step(self, step: str, task: Assignment, seconds: float) -> None:
        if seconds:
            await self.clock.sleep(seconds)
        if (error := self.broken(step, task)) is not None:
            raise error


def _arguments(task: Assignment) -> list[str]:
    spec = task.spec.container_spec
    return list(spec.args) if spec is not None else []


def _place(container: FakeContainer) -> TaskPlace:
    running = container.started and container.exit is None
    return TaskPlace(
        container_id=container.id,
        phase="running" if running else "ended" if container.exit else "created",
        pid=container.pid if running else 0,
        ports=tuple(_host_ports(container.task)),
    )


def _host_ports(task: Assignment) -> list[PortConfig]:
    return [
        msgspec.structs.replace(port, published_port=port.published_port or 32768)
        for port in task.endpoint.ports
        if port.publish_mode == "host"
    ]
