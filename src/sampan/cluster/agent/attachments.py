"""Containers that a person started on the cluster's networks: ``ClusterNetworks`` for the engine.

    engine   attach ─> Held ── /networks/attach ──> any manager: a task bound to this node
                         ^                              │ allocator: its address
    agent    assignments ┴──────── dispatcher <─────────┘ ASSIGNED
    engine   <─ address      RUNNING ──> names, on every node
    engine   detach ─> forgotten, SHUTDOWN ──> address free, task reaped

The id of such a task is chosen here, so that asking twice gives one task, and a task that is
assigned here under an id that nobody holds is told to be over: what a daemon that was killed had
asked for goes like that. The other way round, a container that runs without a task (its node was
given up, and came back) asks for its own address again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from sampan.aio import Clock, Tasks, within
from sampan.cluster.agent.contract import ContainerPresence
from sampan.cluster.agent.networks import network_of
from sampan.cluster.protocol.messages import (
    ATTACH_PATH,
    FIND_PATH,
    Assignment,
    Assignments,
    Attach,
    Attached,
    FindNetwork,
    FoundNetwork,
)
from sampan.cluster.records import TaskAttachment, TaskStatus, new_id
from sampan.cluster.states import TaskState
from sampan.engine.cluster_networks import Joining
from sampan.errors import NotFound, SampanError, Unavailable
from sampan.network.contract import NoSuchNetwork
from sampan.store.records import EndpointSettings, Network

log = logging.getLogger(__name__)

R = TypeVar("R", bound=msgspec.Struct)

WITHIN_S = 4.8
"""A person waits: by then he has an address, or knows why not."""
LOOK_AGAIN_S = 0.1
MEND_AFTER_S = 2.0
"""A manager that is a moment behind may not know a task yet that another has just made."""
MEND_AGAIN_S = 30.0


class AskManager(Protocol):
    """Any manager's answer. Raises: SampanError, Unavailable where none answers."""

    def __call__(self, path: str, request: msgspec.Struct, reply: type[R]) -> Awaitable[R]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerLink:
    """The agent, as this needs it."""

    ask: AskManager
    report: Callable[[str, TaskStatus], None]
    ensure: Callable[[tuple[TaskAttachment, ...]], Awaitable[None]]
    """Make the networks of these places present on this host."""


@dataclass(eq=False, slots=True, kw_only=True)
class HeldAttachment:
    """A place, from the moment that it is asked for."""

    joining: Joining
    task_id: str = ""
    """Empty: of the life of a daemon before; the managers know."""
    address: str = ""
    """Empty: not given yet."""
    attached: bool = False
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """The manager of our session has told of the task."""
    why: str = ""
    """What it waits for."""
    mending: asyncio.Task[None] | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.joining.container_id, self.joining.endpoint.network_id


class ClusterAttachments:
    """One for the life of the daemon; agents come and go (``join``, ``part``)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._link: ManagerLink | None = None
        self._held: dict[tuple[str, str], HeldAttachment] = {}
        """By container and network."""
        self._tasks: dict[str, Assignment] = {}
        """As the managers have assigned them here."""
        self._said: dict[str, TaskStatus] = {}
        self._ready = asyncio.Event()
        self._running = Tasks()

    # -- the engine asks

    async def resolve(self, ref: str) -> Network:
        if self._link is None:
            raise NoSuchNetwork(ref)
        try:
            found = await self._ask(ref, FIND_PATH, FindNetwork(ref=ref), FoundNetwork)
        except NotFound as error:
            raise NoSuchNetwork(ref) from error
        return network_of(found.network)

    async def attach(self, joining: Joining) -> EndpointSettings:
        held = HeldAttachment(joining=joining, task_id=new_id())
        if (older := self._held.get(held.key)) is not None:
            self._forget(older)
        self._held[held.key] = held
        name = joining.endpoint.network_name
        try:
            try:
                await within(self._clock, WITHIN_S, self._attach(held))
            except TimeoutError as error:
                why = held.why or "this node has lost its managers, or they are too slow"
                raise Unavailable(f"network {name}: {why}: try again in a moment") from error
        except BaseException:
            self._forget(held)
            raise
        return replace(joining.endpoint, ipv4_wanted=held.address)

    async def _attach(self, held: HeldAttachment) -> None:
        given = await self._demand(held, held.joining.endpoint.ipv4_wanted)
        # Its network's tunnels are told before the task, on the session.
        await held.arrived.wait()
        while True:
            if self._link is None or held.task_id not in self._tasks:
                raise Unavailable("this node has just lost its place in the swarm: try again")
            try:
                await self._link.ensure(self._tasks[held.task_id].attachments)
                break
            except Unavailable as error:
                held.why = str(error)
                await self._clock.sleep(LOOK_AGAIN_S)
        held.address, held.attached = given, True
        self._say(held.task_id, TaskState.RUNNING)

    async def _demand(self, held: HeldAttachment, address: str) -> str:
        """Ask for the task; returns its address."""
        joining = held.joining
        request = Attach(
            task_id=held.task_id,
            network_id=joining.endpoint.network_id,
            container_id=joining.container_id,
            address=address,
            names=joining.names,
            driver_opts=joining.endpoint.driver_opts,
        )
        try:
            reply = await self._ask(joining.endpoint.network_name, ATTACH_PATH, request, Attached)
        except NotFound as error:
            raise NoSuchNetwork(joining.endpoint.network_name) from error
        return reply.address

    async def _ask(self, name: str, path: str, request: msgspec.Struct, reply: type[R]) -> R:
        if self._link is None:
            raise Unavailable(
                f"network {name} is a swarm's, and this node is not part of one (or not yet)"
            )
        try:
            return await within(self._clock, WITHIN_S, self._link.ask(path, request, reply))
        except (TimeoutError, Unavailable) as error:
            why = str(error) or "no answer in time"
            raise Unavailable(
                f"network {name} is not on this host, and no manager of its swarm can be asked: "
                f"{why}"
            ) from error

    def detach(self, container_id: str, network_id: str) -> None:
        held = self._held.get((container_id, network_id))
        if held is not None:
            self._forget(held)

    async def ready(self) -> None:
        await self._ready.wait()

    def _forget(self, held: HeldAttachment) -> None:
        if self._held.get(held.key) is held:
            del self._held[held.key]
        if held.mending is not None:
            held.mending.cancel()
        if held.task_id in self._tasks:
            self._say(held.task_id, TaskState.SHUTDOWN)

    # -- the agent's side

    def join(self, link: ManagerLink, running: Iterable[ContainerPresence]) -> None:
        """An agent starts. ``running``: the containers that are on the cluster's networks."""
        self._link = link
        for one in running:
            joining = Joining(container_id=one.container_id, endpoint=one.endpoint, names=one.names)
            held = HeldAttachment(joining=joining, address=one.endpoint.ipv4, attached=True)
            self._held.setdefault(held.key, held)

    async def part(self) -> None:
        """The agent ends; places stay."""
        self._link = None
        self._ready.clear()
        self._tasks.clear()
        self._said.clear()
        for held in self._held.values():
            held.arrived.clear()
        await self._running.close()

    @property
    def statuses(self) -> dict[str, TaskStatus]:
        """For a new session."""
        return dict(self._said)

    def apply(self, message: Assignments) -> None:
        """What the managers have assigned, of these tasks; see ``Worker.apply``."""
        if message.full:
            self._tasks.clear()
        self._tasks.update((task.id, task) for task in message.tasks)
        for id, state in message.desired.items():
            if (task := self._tasks.get(id)) is not None:
                self._tasks[id] = replace(task, desired=state)
        for id in message.gone:
            self._tasks.pop(id, None)
        for id in self._said.keys() - self._tasks.keys():
            del self._said[id]
        if message.full:
            self._ready.set()
        if self._ready.is_set():
            self._compare()

    def _compare(self) -> None:
        served: set[HeldAttachment] = set()
        for task in self._tasks.values():
            held = self._holder(task)
            if task.observed.ended:
                continue
            if held is None or not task.wanted:
                self._say(task.id, TaskState.SHUTDOWN)
                continue
            served.add(held)
            held.task_id = task.id
            held.arrived.set()
            if held.attached:
                self._say(task.id, TaskState.RUNNING)
        for lost in self._held.values():
            if lost.attached and lost not in served and lost.mending is None:
                lost.mending = self._running.spawn(self._mend(lost), name="attachment")

    def _holder(self, task: Assignment) -> HeldAttachment | None:
        for held in self._held.values():
            if held.task_id == task.id:
                return held
        spec = task.spec.network_attachment_spec
        for place in task.attachments:
            found = self._held.get((spec.container_id if spec else "", place.network_id))
            if found is not None and not found.task_id and found.address == place.ipv4:
                return found
        return None

    async def _mend(self, held: HeldAttachment) -> None:
        """A container that runs where the managers know nothing of it: it gets its own address
        back, unless somebody has it by now."""
        pause = MEND_AFTER_S
        try:
            while True:
                await self._clock.sleep(pause)
                task = self._tasks.get(held.task_id)
                if task is not None and not task.observed.ended:
                    return
                held.task_id = new_id()
                held.arrived.clear()
                try:
                    await self._demand(held, held.address)
                    await within(self._clock, WITHIN_S, held.arrived.wait())
                    return
                except (SampanError, TimeoutError) as error:
                    log.error(
                        "container %s has lost its place on network %s: %s",
                        held.joining.container_id[:12],
                        held.joining.endpoint.network_name,
                        error or "no answer in time",
                    )
                pause = MEND_AGAIN_S
        finally:
            held.mending = None

    def _say(self, task_id: str, state: TaskState) -> None:
        known = self._said.get(task_id)
        if known is not None and known.state >= state:
            return
        message = "started" if state is TaskState.RUNNING else "shutdown"
        status = TaskStatus(
            state=state,
            timestamp=self._clock.now(),
            message=message,
            container_id=self._container(task_id),
        )
        self._said[task_id] = status
        if self._link is not None:
            self._link.report(task_id, status)

    def _container(self, task_id: str) -> str:
        task = self._tasks.get(task_id)
        spec = task.spec.network_attachment_spec if task is not None else None
        return spec.container_id if spec is not None else ""
