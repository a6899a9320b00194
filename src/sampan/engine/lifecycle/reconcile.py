"""A daemon's first minute: make the records and the kernel agree again.

Whatever the daemon before this one was doing when it went (stopped, killed, or the host lost
power), each container is in one of these states, and each has one answer:

    row says     found                     answer
    RUNNING      alive                     adopted: supervised, networks and names taken back
    RUNNING      ended                     its true exit is stored, cleaned up after, policy asked
    RUNNING      nothing (host rebooted)   the same, with exit code 255: nobody knows
    STARTING     anything                  a start nobody was told of: undone, stored as failed
    CREATED, STOPPED   debris of a run     swept
    removing     anything                  the removal is finished
    no row       run, snapshot, directory  removed

Order: the runs are looked at first, as everything else follows from who is alive; networks are
restored before anything is cleaned, because that sweep wants to know the living; new runs are
started last, when addresses and ports of the dead have been given back.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from sampan.aio import in_thread
from sampan.engine.cluster_networks import asks
from sampan.engine.container_index import ContainerIndex
from sampan.engine.in_flight import InFlight, RunInFlight, all_of
from sampan.engine.lifecycle.exit_handler import NOBODY_KNOWS, ExitHandler, ended
from sampan.engine.lifecycle.policy import starts_with_daemon
from sampan.engine.lifecycle.remove import ContainerRemover
from sampan.engine.lifecycle.start import Starter
from sampan.engine.log_forwarding import Forwarding
from sampan.engine.networking import modes
from sampan.engine.networking.attachments import Attachments
from sampan.engine.networking.networks import NetworkIndex
from sampan.engine.parts import Parts
from sampan.engine.volumes.mounts import Mounts
from sampan.errors import SampanError, Unavailable
from sampan.network.contract import Survivor
from sampan.runtime.contract import ExitStatus, NoSuchRun
from sampan.store.records import Container, Phase, Run

log = logging.getLogger(__name__)

INTERRUPTED = 128
STARTS_AT_ONCE = 8
CLUSTER_PAUSE_S = 5.0
"""Between tries to start what the cluster has no place for yet."""


@dataclass(slots=True)
class Findings:
    alive: list[Container] = field(default_factory=list)
    ended: list[tuple[Container, ExitStatus]] = field(default_factory=list)
    unfinished: list[Container] = field(default_factory=list)
    """Starts that nobody was told of."""


class Reconciler:
    def __init__(
        self,
        parts: Parts,
        containers: ContainerIndex,
        in_flight: InFlight,
        mounts: Mounts,
        attachments: Attachments,
        networks: NetworkIndex,
        starter: Starter,
        exit_handler: ExitHandler,
        forwarding: Forwarding,
        remover: ContainerRemover,
        found_running: Callable[[Container], None],
    ) -> None:
        self._parts, self._containers, self._in_flight = parts, containers, in_flight
        self._mounts, self._attachments, self._networks, self._starter = (
            mounts,
            attachments,
            networks,
            starter,
        )
        self._exit_handler, self._forwarding, self._remover = exit_handler, forwarding, remover
        self._found_running = found_running

    async def reconcile(self) -> None:
        """Everything but the new runs, which ``start_wanted`` starts."""
        parts = self._parts
        found = await self._look()
        await parts.volumes.recover(frozenset(c.id for c in found.alive))
        await parts.networks.start(self._networks.all())
        await self._networks.predefine()
        await parts.networks.restore([self._net(c) for c in found.alive if _has_sandbox(c)])
        for container in found.alive:
            self._found_running(container)
        for container in found.unfinished:
            self._containers.change(container.id, lambda c: _interrupted(c, parts.clock.now()))
        for container, status in found.ended:
            # The same path as the end of a run under our eyes, but for the policy: that is asked
            # in start_wanted, where a daemon's start has rules of its own.
            run = RunInFlight(container.id, container.run.number if container.run else 1)
            run.begins_again = True
            self._in_flight.runs[container.id] = run
            await self._exit_handler.finish(
                run, status, wait_for_volumes=not self._mounts.waits_for_others(container)
            )
        await self._sweep()
        for container in self._containers.all():
            if not container.running:
                self._forwarding.watch(container, None)
            if container.removing or _left_behind(container, found):
                removal = self._remove(container)
                if self._waits_for_others(container):
                    self._in_flight.tasks.spawn(removal, name=f"remove {container.id[:12]}")
                else:
                    await removal

    def _waits_for_others(self, container: Container) -> bool:
        """Whether a driver that may take its time has a part in the container: nobody waits at the
        daemon's start for what it is asked."""
        drivers, name = self._parts.drivers.log, container.spec.host.log_config.type
        logs = name not in drivers or drivers.get(name).capabilities.forwards
        return logs or self._mounts.waits_for_others(container)

    async def _look(self) -> Findings:
        found = Findings()
        known = set(await self._parts.runs.known())
        for container in self._containers.all():
            run = container.run
            if run is None or run.phase in (Phase.CREATED, Phase.STOPPED):
                continue
            if run.phase is Phase.STARTING:
                found.unfinished.append(container)
                continue
            status = ExitStatus(NOBODY_KNOWS, self._parts.clock.now())
            if container.id in known:
                try:
                    state = await self._parts.runs.inspect(container.id)
                except NoSuchRun:
                    found.ended.append((container, status))
                    continue
                if state.alive:
                    found.alive.append(await self._as_found(container, paused=state.paused))
                    continue
                status = state.exit or status
            found.ended.append((container, status))
        return found

    async def _as_found(self, container: Container, *, paused: bool) -> Container:
        """A run that is frozen although no user has paused it was being committed, or on its way
        to be paused, when the daemon was killed: it goes on."""
        if container.run is None or container.run.paused == paused:
            return container
        if paused:
            with suppress(NoSuchRun):  # it is killed meanwhile
                await self._parts.runs.resume(container.id)
            return container
        run = msgspec.structs.replace(container.run, paused=paused)
        return self._containers.change(container.id, lambda c: msgspec.structs.replace(c, run=run))

    def _net(self, container: Container) -> Survivor:
        endpoints = tuple(container.networks.values())
        names = dict.fromkeys(
            n for e in endpoints for n in self._attachments.names_of(container, e)
        )
        return Survivor(
            self._attachments.net_of(container), endpoints, container.ports, tuple(names)
        )

    async def _sweep(self) -> None:
        """Runs, mounts, snapshots and directories that belong to nobody alive."""
        parts = self._parts
        alive = set(self._in_flight.runs)
        rows = {c.id for c in self._containers.all()}
        for run_id in await parts.runs.known():
            if run_id not in alive:
                log.info("removing what is left of run %s", run_id[:12])
                await all_of(f"sweeping run {run_id[:12]}", parts.runs.delete(run_id))
        for key in await parts.snapshots.keys():
            if key not in rows:
                log.info("removing snapshot %s, which belongs to no container", key)
                await all_of(f"sweeping snapshot {key}", parts.snapshots.remove(key))
            elif key not in alive:
                await all_of(f"sweeping snapshot {key}", parts.snapshots.unmount(key))
        directories = parts.config.paths.container("x").parent
        if await in_thread(directories.is_dir):
            for directory in await in_thread(lambda: [*directories.iterdir()]):
                if directory.name not in rows:
                    await in_thread(shutil.rmtree, directory, ignore_errors=True)

    async def _remove(self, container: Container) -> None:
        async with self._in_flight.locks.hold(container.id):
            try:
                both = container.removing_volumes or container.spec.host.auto_remove
                await self._remover.remove(container, volumes=both)
            except (SampanError, OSError) as error:
                log.error("container %s cannot be removed: %s", container.id[:12], error)

    # -- new runs

    def wanted(self, was_running: frozenset[str]) -> list[Container]:
        """Containers whose policy starts them now, oldest first."""
        found = []
        for container in reversed(self._containers.all()):
            run = container.run
            if run is None or container.running or container.removing or container.dead:
                continue
            if starts_with_daemon(
                container.spec.host.restart_policy,
                was_running=container.id in was_running,
                exit_code=run.exit_code,
                stop_requested=run.stop_requested,
            ):
                found.append(container)
        return found

    async def start_wanted(self, containers: list[Container]) -> None:
        """A few at a time; those that join another's network when that one had its turn. Those on
        networks of the cluster when there is one: nobody waits for them here."""
        turns = asyncio.Semaphore(STARTS_AT_ONCE)
        beside = []
        for container in containers:
            if _waits(container):
                beside.append((container, self._start_in_cluster(container.id)))
            elif self._waits_for_others(container):
                # Not in turn with the others: eight that wait would keep all of them.
                beside.append((container, self._start(container.id, asyncio.Semaphore())))
        for container, start in beside:
            self._in_flight.tasks.spawn(start, name=f"start {container.id[:12]}")
        containers = [c for c in containers if c not in [one for one, _ in beside]]
        joining = [c for c in containers if modes.kind_of(c.spec.host) == "container"]
        for group in ([c for c in containers if c not in joining], joining):
            await asyncio.gather(*(self._start(container.id, turns) for container in group))

    async def _start_in_cluster(self, container_id: str) -> None:
        while True:
            await self._parts.cluster.ready()
            async with self._in_flight.locks.hold(container_id):
                row = self._containers.find(container_id)
                if row is None or row.running or row.removing:
                    return
                try:
                    return await self._starter.start(container_id)
                except Unavailable as error:
                    log.warning("container %s does not start yet: %s", container_id[:12], error)
                except (SampanError, OSError) as error:
                    log.error("container %s does not start: %s", container_id[:12], error)
                    return
            await self._parts.clock.sleep(CLUSTER_PAUSE_S)

    async def _start(self, container_id: str, turns: asyncio.Semaphore) -> None:
        async with turns, self._in_flight.locks.hold(container_id):
            row = self._containers.find(container_id)
            if row is None or row.running:
                return
            try:
                await self._starter.start(container_id)
            except (SampanError, OSError) as error:
                log.error("container %s does not start: %s", container_id[:12], error)


def active(container: Container) -> bool:
    """Did it run, or was it about to, when the last daemon went?"""
    run = container.run
    return run is not None and (run.phase in (Phase.STARTING, Phase.RUNNING) or run.restarting)


def _waits(container: Container) -> bool:
    return any(asks(endpoint) for endpoint in container.networks.values())


def _has_sandbox(container: Container) -> bool:
    return modes.kind_of(container.spec.host) not in modes.WITHOUT_SANDBOX


def _left_behind(container: Container, found: Findings) -> bool:
    """Auto-removed, and its run ended while nobody was there to do it."""
    gone = {c.id for c, _ in found.ended} | {c.id for c in found.unfinished}
    return container.spec.host.auto_remove and (
        container.id in gone or (container.run is not None and container.run.phase is Phase.STOPPED)
    )


def _interrupted(container: Container, now: float) -> Container:
    run = msgspec.structs.replace(
        container.run or Run(number=1),
        error="the daemon went away while the container was being started",
    )
    container = msgspec.structs.replace(container, run=run)
    return ended(container, ExitStatus(INTERRUPTED, now), restarting=False)
