"""Verbs on a running container: stop, restart, kill, pause, unpause, resize, and forced removal.

None of them holds the container's lock while a process takes its time to die: ``kill`` must reach
a container that a long ``stop`` is waiting for.
"""

from __future__ import annotations

import signal as signals
from collections.abc import Callable
from contextlib import suppress

import msgspec

from sampan.aio import first_of
from sampan.engine.container_index import ContainerIndex
from sampan.engine.contract import AlreadyStopped, NotRunning
from sampan.engine.in_flight import InFlight, RunInFlight
from sampan.engine.lifecycle.remove import ContainerRemover
from sampan.engine.lifecycle.restart import Restarts
from sampan.engine.lifecycle.start import Starter
from sampan.engine.observe.emit_events import EventEmitter
from sampan.engine.parts import Parts
from sampan.engine.spec.bundle import DEFAULT_STOP_SIGNAL
from sampan.engine.spec.signals import parse_signal
from sampan.errors import Conflict, Internal, SampanError
from sampan.runtime.contract import NoSuchRun
from sampan.store.records import Container, Run

DEFAULT_TIMEOUT_S = 10
KILL_DEADLINE_S = 10.0


class Stopper:
    def __init__(
        self,
        parts: Parts,
        containers: ContainerIndex,
        in_flight: InFlight,
        emit: EventEmitter,
        starter: Starter,
        restarts: Restarts,
        remover: ContainerRemover,
    ) -> None:
        self._parts, self._containers, self._in_flight, self._emit = (
            parts,
            containers,
            in_flight,
            emit,
        )
        self._starter, self._restarts, self._remover = starter, restarts, remover

    # -- the end of a run, at the user's wish

    async def stop(self, ref: str, timeout_s: int | None, signal: str) -> None:
        """Raises NoSuchContainer, AlreadyStopped, InvalidArgument (no such signal)."""
        container_id = self._containers.get(ref).id
        wanted = parse_signal(signal) if signal else 0
        # Waits for a start under way: it is either running then, or it failed.
        async with self._in_flight.locks.hold(container_id):
            container = self._restarts_off(container_id)
            run = self._in_flight.runs.get(container_id)
            if run is None:
                raise AlreadyStopped(f"container {container.name} is already stopped")
            self._set_run(container_id, lambda r: msgspec.structs.replace(r, stop_requested=True))
        await self._end(run, container, timeout_s, wanted)
        self._emit.container("stop", container)

    async def restart(self, ref: str, timeout_s: int | None, signal: str) -> None:
        container_id = self._containers.get(ref).id
        wanted = parse_signal(signal) if signal else 0
        async with self._in_flight.locks.hold(container_id):
            container = self._restarts_off(container_id)
            run = self._in_flight.runs.get(container_id)
            if run is not None:
                run.begins_again = True
        if run is not None:
            try:
                await self._end(run, container, timeout_s, wanted)
            except BaseException:
                run.begins_again = False
                raise
            self._emit.container("stop", container)
        async with self._in_flight.locks.hold(container_id):
            if container_id not in self._in_flight.runs:
                await self._starter.start(container_id)
        self._emit.container("restart", container)

    async def remove(self, ref: str, *, force: bool, volumes: bool) -> None:
        container_id = self._containers.get(ref).id
        async with self._in_flight.locks.hold(container_id):
            container = self._containers.get(container_id)
            run = self._in_flight.runs.get(container_id)
            restarting = container.run is not None and container.run.restarting
            if (run is not None or restarting) and not force:
                paused = container.run is not None and container.run.paused
                state = "paused" if paused else "restarting" if run is None else "running"
                raise Conflict(
                    f'cannot remove container "{container.name}": container is {state}: '
                    + (
                        "unpause and then stop the container before removal or force remove"
                        if state == "paused"
                        else "stop the container before removing or force remove"
                    )
                )
            container = self._restarts_off(container_id)
            if run is None:
                await self._remover.remove(container, volumes=volumes)
                return
            # Keeps every other verb, restart policy and auto-remove from meddling.
            self._containers.change(
                container_id,
                lambda c: msgspec.structs.replace(c, removing=True, removing_volumes=volumes),
            )
        try:
            with suppress(NoSuchRun):  # it ends by itself in this moment
                await self._kill(run, container, signals.SIGKILL)
            await self._died(run)
        except BaseException:
            self._containers.change(
                container_id, lambda c: msgspec.structs.replace(c, removing=False)
            )
            raise
        async with self._in_flight.locks.hold(container_id):
            if (left := self._containers.find(container_id)) is not None:
                await self._remover.remove(left, volumes=volumes)

    async def kill(self, ref: str, signal: str) -> None:
        """Raises NoSuchContainer, NotRunning, InvalidArgument (no such signal)."""
        number = parse_signal(signal or "SIGKILL")
        container = self._containers.get(ref)
        if container.id not in self._in_flight.runs:
            # Perhaps it is being started right now.
            async with self._in_flight.locks.hold(container.id):
                container = self._restarts_off(container.id)
        run = self._in_flight.runs.get(container.id)
        if run is None:
            raise _cannot_kill(container)
        stop_signal = parse_signal(container.spec.stop_signal or DEFAULT_STOP_SIGNAL)
        if number in (signals.SIGKILL, signals.SIGTERM, stop_signal):
            self._set_run(container.id, lambda r: msgspec.structs.replace(r, stop_requested=True))
        try:
            await self._kill(run, container, number)
        except NoSuchRun as error:
            raise _cannot_kill(container) from error
        if number == signals.SIGKILL:
            await self._died(run)

    # -- without an end

    async def pause(self, ref: str) -> None:
        async with self._in_flight.locks.hold(self._containers.get(ref).id):
            container = self._running(ref)
            if container.run and container.run.paused:
                raise Conflict(f"container {container.id} is already paused")
            await self._parts.runs.pause(container.id)
            try:
                self._set_run(container.id, lambda r: msgspec.structs.replace(r, paused=True))
            except BaseException:
                # A full disk: what nobody knows of as paused must not stand still.
                await self._parts.runs.resume(container.id)
                raise
            self._emit.container("pause", container)

    async def unpause(self, ref: str) -> None:
        async with self._in_flight.locks.hold(self._containers.get(ref).id):
            container = self._running(ref)
            if not (container.run and container.run.paused):
                raise Conflict(f"container {container.id} is not paused")
            await self._parts.runs.resume(container.id)
            self._set_run(container.id, lambda r: msgspec.structs.replace(r, paused=False))
            self._emit.container("unpause", container)

    async def resize(self, ref: str, rows: int, columns: int) -> None:
        container = self._running(ref)
        await self._parts.runs.resize(container.id, rows, columns)
        self._emit.container("resize", container, height=str(rows), width=str(columns))

    # -- inside

    async def _end(
        self, run: RunInFlight, container: Container, timeout_s: int | None, signal: int
    ) -> None:
        """Ask to end, wait, insist."""
        if timeout_s is None:
            timeout_s = container.spec.stop_timeout_s
        timeout = float(DEFAULT_TIMEOUT_S if timeout_s is None else timeout_s)
        number = signal or parse_signal(container.spec.stop_signal or DEFAULT_STOP_SIGNAL)
        try:
            await self._kill(run, container, number)
            if await self._ended_within(run, timeout):
                return
            await self._kill(run, container, signals.SIGKILL)
        except NoSuchRun:
            pass  # it ended by itself meanwhile
        await self._died(run)

    async def _kill(self, run: RunInFlight, container: Container, number: int) -> None:
        await self._parts.runs.kill(run.container_id, number)
        self._emit.container("kill", container, signal=str(int(number)))
        row = self._containers.find(run.container_id)
        if row is not None and row.run is not None and row.run.paused:
            # A frozen process takes no signal, not even SIGKILL on cgroups v1.
            try:
                await self._parts.runs.resume(run.container_id)
            except NoSuchRun:
                return
            self._set_run(run.container_id, lambda r: msgspec.structs.replace(r, paused=False))

    async def _ended_within(self, run: RunInFlight, seconds: float) -> bool:
        """``seconds`` < 0: as long as it takes."""
        if seconds < 0:
            await run.ended.wait()
            return True
        await first_of(ended=run.ended.wait(), timer=self._parts.clock.sleep(seconds))
        return run.ended.is_set()

    async def _died(self, run: RunInFlight) -> None:
        if not await self._ended_within(run, KILL_DEADLINE_S):
            raise Internal(
                f"container {run.container_id} did not end {KILL_DEADLINE_S:.0f} s after SIGKILL: "
                "it may hang in the kernel (a dead network file system?)"
            )

    def _restarts_off(self, container_id: str) -> Container:
        return self._restarts.give_up(self._containers.get(container_id))

    def _running(self, ref: str) -> Container:
        container = self._containers.get(ref)
        if not container.running:
            raise NotRunning(container.id)
        return container

    def _set_run(self, container_id: str, change: Callable[[Run], Run]) -> None:
        def changed(container: Container) -> Container:
            if container.run is None or not container.running:
                return container
            return msgspec.structs.replace(container, run=change(container.run))

        self._containers.change(container_id, changed)


def _cannot_kill(container: Container) -> SampanError:
    return Conflict(
        f"cannot kill container: {container.name}: container {container.id} is not running"
    )
