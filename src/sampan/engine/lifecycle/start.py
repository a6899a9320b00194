"""``start``: from a row to a running process.

    1  STARTING stored     before anything exists in the kernel: a restarted daemon knows that what
                           it finds of this run is the debris of an unacknowledged start
    2  snapshot mounted  \\  independent of each other, so at once
       network plugged   /
    3  /etc files          need the addresses of 2
    4  volumes mounted     the bundle names their directories
    5  runs.create         needs all of the above; the process exists but does not execute
    6  attachments         connected now, so that they see the run's first byte
    7  runs.start          the process executes, once the disk has 1: what it may do to others must
                           not outlive all knowledge of it
    8  RUNNING stored      acknowledged; with pid, addresses and ports

A failure at any line undoes what was done in reverse order and stores why, with the exit code that
shells use: 127 no such command, 126 not executable, 128 anything else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import msgspec

from sampan.aio import in_thread
from sampan.engine.container_index import ContainerIndex
from sampan.engine.contract import AlreadyStarted
from sampan.engine.in_flight import InFlight, together
from sampan.engine.networking.attachments import (
    Attached,
    Attachments,
    detached,
    write_in_place,
)
from sampan.engine.observe.emit_events import EventEmitter
from sampan.engine.observe.logs import log_path
from sampan.engine.parts import Parts
from sampan.engine.spec.bundle import Ready, bundle
from sampan.engine.stdio import StdioAttachment
from sampan.engine.volumes.mounts import Mounts
from sampan.errors import Conflict, SampanError
from sampan.runtime.contract import ExitStatus
from sampan.runtime.log_drivers.contract import UNBOUNDED
from sampan.runtime.users import home_of
from sampan.store.records import Container, Health, Phase, Run

log = logging.getLogger(__name__)


class Remover(Protocol):
    async def remove(self, container: Container, *, volumes: bool) -> None: ...


class Starter:
    """``started`` is told of every container that runs from now on."""

    def __init__(
        self,
        parts: Parts,
        containers: ContainerIndex,
        in_flight: InFlight,
        emit: EventEmitter,
        mounts: Mounts,
        attachments: Attachments,
        remover: Remover,
        started: Callable[[Container], None],
    ) -> None:
        self._parts, self._containers, self._in_flight = parts, containers, in_flight
        self._emit, self._mounts, self._attachments = emit, mounts, attachments
        self._remover, self._started = remover, started

    async def start(self, container_id: str, *, by_policy: bool = False) -> None:
        """The container's lock is held. ``by_policy``: counts as a restart.

        Raises:
            AlreadyStarted; Conflict: it is being removed, or dead; whatever went wrong.
        """
        container = self._containers.get(container_id)
        if container.removing or container.dead:
            raise Conflict(
                "container is marked for removal and cannot be started: remove it and create it "
                "again"
            )
        if container.running:
            raise AlreadyStarted(f"container {container.name} is already started")
        number = container.run.number + 1 if container.run else 1
        container = self._containers.change(
            container_id,
            lambda c: msgspec.structs.replace(
                c,
                run=Run(number=number, phase=Phase.STARTING),
                restart_count=c.restart_count + 1 if by_policy else 0,
            ),
        )
        stored = self._parts.store.committed
        try:
            async with AsyncExitStack() as undo:
                container = await self._launch(container, stored, undo)
                undo.pop_all()
        except BaseException as error:
            await self._failed(container_id, error)
            raise
        self._attachments.emit(container, "connect")
        self._mounts.announce_mounts(container, "mount")
        self._emit.container("start", container)
        self._started(container)

    async def _launch(self, container: Container, stored: int, undo: AsyncExitStack) -> Container:
        """``stored``: the transaction that says STARTING."""
        parts, container_id = self._parts, container.id
        plugged: list[Attached] = []
        roots: list[Path] = []

        async def mount() -> None:
            roots.append(await parts.snapshots.mount(container_id))

        async def connect() -> None:
            plugged.append(await self._attachments.connect(container, undo))

        undo.push_async_callback(parts.snapshots.unmount, container_id)
        await together(mount(), connect())
        rootfs, net = roots[0], plugged[0]
        wired = msgspec.structs.replace(container, networks=net.networks, ports=net.ports)
        undo.push_async_callback(self._mounts.release, container)
        log_config = container.spec.host.log_config
        logs = await parts.drivers.log.find(log_config.type)
        rule = logs.file_rule(log_config.options) if logs.capabilities.keeps else UNBOUNDED
        ready = Ready(
            rootfs=rootfs,
            netns=net.netns,
            etc_files=self._attachments.etc_files(container),
            mounts=await self._mounts.ready(container),
            home=await in_thread(
                _write_and_look,
                self._attachments.etc_texts(wired),
                rootfs,
                container.spec.user,
            ),
            log_path=log_path(container, parts.drivers.log, parts.config),
            log_rule=rule,
        )
        undo.push_async_callback(parts.runs.delete, container_id)
        spec = bundle(container, ready, self._containers, parts.config)
        created = await parts.runs.create(spec, runtime=container.spec.host.runtime)
        for warning in created.warnings:
            log.warning("container %s: %s", container_id[:12], warning)
        await self._connect(container_id)
        await parts.store.durable(stored)
        await parts.runs.start(container_id)
        check = container.spec.healthcheck
        running = Run(
            number=container.run.number if container.run else 1,
            phase=Phase.RUNNING,
            pid=created.pid,
            pid_started=created.pid_started,
            monitor_pid=created.monitor_pid,
            started_at=parts.clock.now(),
            health=Health(status="starting") if check and check.test[0] != "NONE" else None,
        )
        return self._containers.change(
            container_id,
            lambda c: msgspec.structs.replace(
                c, run=running, networks={**c.networks, **net.networks}, ports=net.ports
            ),
        )

    async def _connect(self, container_id: str) -> None:
        waiting: list[StdioAttachment] = self._in_flight.attachments.take(container_id)
        for attachment in waiting:
            try:
                attachment.connect(await self._parts.runs.attach(container_id))
            except BaseException:
                for left in waiting:
                    left.connect(None)
                raise

    async def _failed(self, container_id: str, error: BaseException) -> None:
        code = getattr(error, "exit_code", 128)
        status = ExitStatus(code, self._parts.clock.now())
        self._in_flight.attachments.give_up(container_id)
        try:
            container = self._containers.change(
                container_id,
                lambda c: msgspec.structs.replace(
                    c,
                    networks=detached(c.networks),
                    ports=(),
                    run=msgspec.structs.replace(
                        c.run or Run(number=1),
                        phase=Phase.STOPPED,
                        exit_code=code,
                        error=str(error),
                        finished_at=status.finished_at,
                    ),
                ),
            )
            self._in_flight.waiters.resolve(container_id, status, "next-exit", "not-running")
            if container.spec.host.auto_remove:
                await self._remover.remove(container, volumes=True)
        except SampanError as second:
            # The first error is the one to report; the row is put right at the next start.
            log.error("container %s: after a failed start: %s", container_id[:12], second)
            error.add_note(str(second))


def _write_and_look(etc: dict[Path, str], rootfs: Path, user: str) -> str:
    """Write what the container finds in /etc, and return the user's home. Blocks."""
    write_in_place(etc)
    return home_of(rootfs, user)
