"""Asking containers how they are: one loop a running container that has a health check."""

from __future__ import annotations

import logging
import secrets
import signal
from collections.abc import Sequence

import msgspec

from sampan.aio import first_of
from sampan.engine.container_index import ContainerIndex
from sampan.engine.in_flight import InFlight, RunInFlight
from sampan.engine.observe.emit_events import EventEmitter
from sampan.engine.parts import Parts
from sampan.engine.spec.bundle import process_env
from sampan.errors import SampanError
from sampan.runtime.contract import ExecProcess, ExecSpec, NoSuchRun
from sampan.store.records import Container, Health, Healthcheck, HealthResult

log = logging.getLogger(__name__)

SECOND = 1_000_000_000
DEFAULT_INTERVAL_NS = 30 * SECOND
DEFAULT_TIMEOUT_NS = 30 * SECOND
DEFAULT_START_INTERVAL_NS = 5 * SECOND
DEFAULT_RETRIES = 3
OUTPUT_LIMIT = 4096
KEPT = 5


def judged(
    health: Health, result: HealthResult, check: Healthcheck, *, in_start_period: bool
) -> Health:
    """The health after one more result. Failures in the start period do not count, a success ends
    the period."""
    kept = (*health.log, result)[-KEPT:]
    if result.exit_code == 0:
        return Health(status="healthy", failing_streak=0, log=kept)
    if in_start_period and health.status == "starting":
        return msgspec.structs.replace(health, log=kept)
    streak = health.failing_streak + 1
    failed = streak >= (check.retries or DEFAULT_RETRIES)
    return Health(status="unhealthy" if failed else health.status, failing_streak=streak, log=kept)


def pause_ns(health: Health, check: Healthcheck, *, in_start_period: bool) -> int:
    """Nanoseconds until the next question."""
    if in_start_period and health.status == "starting":
        return check.start_interval_ns or DEFAULT_START_INTERVAL_NS
    return check.interval_ns or DEFAULT_INTERVAL_NS


def command(check: Healthcheck, shell: Sequence[str] | None) -> tuple[str, ...]:
    if check.test[0] == "CMD-SHELL":
        return (*(shell or ("/bin/sh", "-c")), *check.test[1:])
    return check.test[1:]


class HealthChecks:
    def __init__(
        self, parts: Parts, containers: ContainerIndex, in_flight: InFlight, emit: EventEmitter
    ) -> None:
        self._parts, self._containers, self._in_flight, self._emit = (
            parts,
            containers,
            in_flight,
            emit,
        )

    def watch(self, container: Container, run: RunInFlight) -> None:
        """Ask until the run ends; nothing without a check."""
        check = container.spec.healthcheck
        if check is not None and check.test and check.test[0] != "NONE":
            run.health = self._in_flight.tasks.spawn(
                self._loop(container, run, check), name=f"health {container.id[:12]}"
            )

    async def _loop(self, container: Container, run: RunInFlight, check: Healthcheck) -> None:
        clock = self._parts.clock
        began = container.run.started_at if container.run else clock.now()

        def in_start_period() -> bool:
            return clock.now() - began < check.start_period_ns / SECOND

        while True:
            row = self._containers.find(container.id)
            if row is None or row.run is None or row.run.number != run.number or not row.running:
                return
            health = row.run.health or Health(status="starting")
            pause = pause_ns(health, check, in_start_period=in_start_period())
            await clock.sleep(pause / SECOND)
            row = self._containers.find(container.id)
            if row is not None and row.run is not None and row.run.paused:
                continue
            try:
                result = await self._ask(container, check)
                self._record(container.id, run.number, result, check, in_start_period())
            except NoSuchRun:
                return
            except SampanError as error:
                log.error("health of container %s: %s", container.id[:12], error)

    async def _ask(self, container: Container, check: Healthcheck) -> HealthResult:
        clock, spec = self._parts.clock, container.spec
        start = clock.now()
        try:
            process = await self._parts.runs.exec(
                ExecSpec(
                    exec_id=secrets.token_hex(32),
                    run_id=container.id,
                    args=command(check, spec.shell),
                    env=process_env(spec),
                    user=spec.user,
                    working_dir=spec.working_dir or "/",
                    tty=False,
                    stdin=False,
                )
            )
        except NoSuchRun:
            raise
        except SampanError as error:
            code = getattr(error, "exit_code", -1)
            return HealthResult(start=start, end=clock.now(), exit_code=code, output=str(error))
        output = bytearray()
        timeout = (check.timeout_ns or DEFAULT_TIMEOUT_NS) / SECOND
        ended = self._in_flight.tasks.spawn(_collect(process, output), name="health output")
        try:
            first, _ = await first_of(ended=ended, timer=clock.sleep(timeout))
            if first == "ended":
                code, text = ended.result(), output.decode(errors="replace")
            else:
                code = -1
                text = f"Health check exceeded timeout ({timeout:g}s)"
                if output:
                    text += f": {output.decode(errors='replace')}"
        finally:
            if not ended.done():
                await process.kill(signal.SIGKILL)
        return HealthResult(start=start, end=clock.now(), exit_code=code, output=text)

    def _record(
        self,
        container_id: str,
        number: int,
        result: HealthResult,
        check: Healthcheck,
        in_start_period: bool,
    ) -> None:
        before: list[str] = []

        def change(row: Container) -> Container:
            if not row.running or row.run is None or row.run.number != number:
                return row
            health = row.run.health or Health(status="starting")
            before.append(health.status)
            health = judged(health, result, check, in_start_period=in_start_period)
            return msgspec.structs.replace(row, run=msgspec.structs.replace(row.run, health=health))

        row = self._containers.change(container_id, change)
        health = row.run.health if row.run else None
        if before and health is not None and health.status != before[0]:
            self._emit.container(f"health_status: {health.status}", row)


async def _collect(process: ExecProcess, output: bytearray) -> int:
    async for _, chunk in process.output():
        output += chunk[: OUTPUT_LIMIT - len(output)]
    return await process.wait()
