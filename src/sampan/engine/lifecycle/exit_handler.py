"""The end of a run: one supervisor a run waits for it, and gives back what it held.

    exit stored      first: until then the monitor's files are the only place that knows it
    events, waiters  in Docker's order: oom, die
    given back       runtime state, then root file system (its last user is gone only then); the
                     network at the same time
    then             restart policy, or auto-remove, or nothing

A crash of the daemon in between: ``reconcile`` finds a row that says RUNNING with an ended run (and
does all of this), or a stopped row with debris (and sweeps it).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from sampan.engine.container_index import ContainerIndex
from sampan.engine.in_flight import InFlight, RunInFlight, all_of
from sampan.engine.lifecycle.policy import restarts_after_exit
from sampan.engine.lifecycle.start import Remover
from sampan.engine.networking.attachments import Attachments, detached
from sampan.engine.observe.emit_events import EventEmitter
from sampan.engine.parts import Parts
from sampan.engine.volumes.mounts import Mounts
from sampan.errors import Exhausted
from sampan.runtime.contract import ExitStatus, NoSuchRun
from sampan.store.records import Container, Phase, Run

log = logging.getLogger(__name__)

FULL_DISK_PAUSE_S = 1.0
FAILED_WAIT_PAUSE_S = 1.0
NOBODY_KNOWS = 255


class ExitHandler:
    def __init__(
        self,
        parts: Parts,
        containers: ContainerIndex,
        in_flight: InFlight,
        emit: EventEmitter,
        mounts: Mounts,
        attachments: Attachments,
        remover: Remover,
    ) -> None:
        self._parts, self._containers, self._in_flight = parts, containers, in_flight
        self._emit, self._mounts, self._attachments = emit, mounts, attachments
        self._remover = remover
        self.start_again: Callable[[Container, float], None] = lambda container, lived_s: None
        """Told of a container whose policy wants another run, and how long this one lived."""

    def watch(self, container: Container) -> RunInFlight:
        """Supervise the run of a container that is RUNNING from now on."""
        assert container.run is not None
        run = RunInFlight(container.id, container.run.number)
        self._in_flight.runs[container.id] = run
        self._in_flight.tasks.spawn(self._supervise(run), name=f"run {container.id[:12]}")
        return run

    async def _supervise(self, run: RunInFlight) -> None:
        status = await self._exit_of(run.container_id)
        async with self._in_flight.locks.hold(run.container_id):
            await self.finish(run, status)

    async def _exit_of(self, container_id: str) -> ExitStatus:
        while True:
            try:
                return await self._parts.runs.wait(container_id)
            except NoSuchRun:
                return ExitStatus(NOBODY_KNOWS, self._parts.clock.now())
            except Exception:
                # A container without its supervisor would be shown as running for ever.
                log.exception("waiting for container %s failed", container_id[:12])
                await self._parts.clock.sleep(FAILED_WAIT_PAUSE_S)

    async def finish(
        self, run: RunInFlight, status: ExitStatus, *, wait_for_volumes: bool = True
    ) -> None:
        """Store the exit and clean up. The container's lock is held. ``wait_for_volumes`` False:
        they are unmounted beside, when their drivers answer."""
        if run.health is not None:
            run.health.cancel()
        before = self._containers.find(run.container_id)
        if before is None or self._in_flight.runs.get(run.container_id) is not run:
            return
        again = not run.begins_again and _wants_another(before, status)
        container = await self._store(run, status, restarting=again)
        if status.oom_killed:
            self._emit.container("oom", container)
        lived = max(0.0, status.finished_at - (before.run.started_at if before.run else 0.0))
        self._emit.container(
            "die", container, exitCode=str(status.exit_code), execDuration=str(int(lived))
        )
        removes = container.spec.host.auto_remove and not run.begins_again
        # Also when it is to run again: a container that is restarted for ever would never be waited
        # for to the end.
        self._in_flight.waiters.resolve(container.id, status, "next-exit", "not-running")
        await self.give_back(before, wait_for_volumes=wait_for_volumes)
        del self._in_flight.runs[container.id]
        run.ended.set()
        if removes and not container.removing:
            await self._remover.remove(container, volumes=True)
        elif again:
            self.start_again(container, lived)

    async def give_back(self, container: Container, *, wait_for_volumes: bool) -> None:
        """Runtime state, root file system, network, volumes of a run that has ended."""

        async def runtime_then_root() -> None:
            await self._parts.runs.delete(container.id)
            await self._parts.snapshots.unmount(container.id)

        release = self._mounts.release(container)
        if not wait_for_volumes:
            self._in_flight.tasks.spawn(release, name=f"unmount for {container.id[:12]}")
        await all_of(
            f"cleaning up after container {container.id[:12]}",
            runtime_then_root(),
            self._attachments.disconnect(container),
            *((release,) if wait_for_volumes else ()),
        )
        self._attachments.emit(container, "disconnect")
        self._mounts.announce_mounts(container, "unmount")

    async def _store(self, run: RunInFlight, status: ExitStatus, *, restarting: bool) -> Container:
        while True:
            try:
                return self._containers.change(
                    run.container_id, lambda c: ended(c, status, restarting=restarting)
                )
            except Exhausted as error:
                # Nothing may be cleaned up before the exit code is safe: wait for space.
                log.error("container %s ended: %s", run.container_id[:12], error)
                await self._parts.clock.sleep(FULL_DISK_PAUSE_S)


def ended(container: Container, status: ExitStatus, *, restarting: bool) -> Container:
    """The row after its run's end."""
    run = container.run or Run(number=1)
    return msgspec.structs.replace(
        container,
        networks=detached(container.networks),
        ports=(),
        run=msgspec.structs.replace(
            run,
            phase=Phase.STOPPED,
            pid=0,
            monitor_pid=0,
            paused=False,
            exit_code=status.exit_code,
            oom_killed=status.oom_killed,
            finished_at=status.finished_at,
            restarting=restarting,
        ),
    )


def _wants_another(container: Container, status: ExitStatus) -> bool:
    return not container.removing and restarts_after_exit(
        container.spec.host.restart_policy,
        exit_code=status.exit_code,
        restart_count=container.restart_count,
        stop_requested=container.run is not None and container.run.stop_requested,
    )
