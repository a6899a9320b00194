"""From the monitor's file to a log driver's sink: beside the run, never in its way.

The monitor writes every line into the container's file, with or without a daemon; the forwarder
follows that file, and remembers how far the sink has taken it:

    container.log  ──follow──>  batch  ──Sink.write──>  taken  ──>  container.log.forwarded

So a line is forwarded at least once, and as a whole: a daemon that dies between the last two begins
again with the batch before. It is lost only when the sink takes nothing for so long that the file,
which is rotated as the driver's ``file_rule`` says, has dropped it. A sink that fails is opened
anew after a pause, and gets the same batch again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sampan.aio import Clock, in_thread, shielded, within
from sampan.engine.in_flight import InFlight, RunInFlight
from sampan.engine.observe.logs import log_path, logged
from sampan.engine.parts import Parts
from sampan.errors import SampanError
from sampan.runtime.contract import LogPlace
from sampan.runtime.log_drivers.contract import LogDriver, Sink
from sampan.runtime.log_drivers.joined import Joiner
from sampan.store.records import Container

log = logging.getLogger(__name__)

SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
LAST_LINES_S = 10.0
"""How long the removal of a container waits for its sink to take what it wrote last."""
_DECODER = msgspec.json.Decoder(LogPlace)


@dataclass(eq=False)
class _Job:
    """The forwarding of one container, over any number of its runs."""

    run: RunInFlight | None
    task: asyncio.Task[None] | None = None
    followed: RunInFlight | None = None
    """The last run that was followed to its end. ``run`` is another one when that has begun since,
    and maybe ended as well."""

    async def until_ended(self) -> AsyncIterator[None]:
        """Ends with the run, or with the one that has begun meanwhile."""
        self.followed = None
        while (run := self.run) is not None:
            await run.ended.wait()
            self.followed = run
            if self.run is run:
                return
            yield None


class Forwarding:
    """One task a container whose log driver forwards; nothing for the others."""

    def __init__(self, parts: Parts, in_flight: InFlight) -> None:
        self._parts, self._in_flight = parts, in_flight
        self._jobs: dict[str, _Job] = {}

    def watch(self, container: Container, run: RunInFlight | None) -> None:
        """``run`` has begun, or was found by a new daemon; None: the container does not run, and
        only what is left of its log is forwarded. Does not wait for anything."""
        drivers, name = self._parts.drivers.log, container.spec.host.log_config.type
        if name in drivers and not drivers.get(name).capabilities.forwards:
            return
        job = self._jobs.get(container.id)
        if job is not None:
            job.run = run
            return
        job = self._jobs[container.id] = _Job(run)
        job.task = self._in_flight.tasks.spawn(
            self._forward(container, job), name=f"forward the log of {container.id[:12]}"
        )

    def busy(self, container_id: str) -> bool:
        """Whether there is anything to wait for in ``finish``."""
        return container_id in self._jobs

    async def finish(self, container_id: str) -> None:
        """The container is about to be removed: wait for a moment until its last lines are taken,
        then stop."""
        job = self._jobs.get(container_id)
        if job is None or job.task is None:
            return
        try:
            await within(self._parts.clock, LAST_LINES_S, asyncio.wait({job.task}))
        except TimeoutError:
            log.warning(
                "the log driver of container %s does not take its last lines: they are dropped",
                container_id[:12],
            )
            job.task.cancel()
            await asyncio.wait({job.task})

    async def _forward(self, container: Container, job: _Job) -> None:
        path = log_path(container, self._parts.drivers.log, self._parts.config)
        assert path is not None
        remembered = path.with_name(f"{path.name}.forwarded")
        pause_s, last = SHORTEST_PAUSE_S, None
        try:
            while True:
                try:
                    place = await in_thread(_read, remembered)
                    if place != last:
                        pause_s, last = SHORTEST_PAUSE_S, place
                    if job.run is None and not await self._parts.logs.behind(path, place):
                        return
                    driver = await self._parts.drivers.log.find(container.spec.host.log_config.type)
                    await self._until_the_end(driver, container, path, remembered, job)
                    if job.run is job.followed:
                        return
                    continue  # the next run has begun while the sink was being closed
                except (SampanError, OSError) as error:
                    log.warning("the log of %s is not forwarded: %s", container.id[:12], error)
                await self._parts.clock.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        finally:
            del self._jobs[container.id]

    async def _until_the_end(
        self, driver: LogDriver, container: Container, path: Path, remembered: Path, job: _Job
    ) -> None:
        place = await in_thread(_read, remembered)
        sink = await driver.open(logged(container, path))
        try:
            follow, joiner = job.until_ended(), Joiner()
            async for entries, behind in self._parts.logs.forward(path, place, follow):
                place = behind
                if whole := joiner.feed(entries):
                    await sink.write(whole)
                if not joiner.holds:
                    # Also when the daemon stops just now: what was taken need not come again.
                    await shielded(in_thread(_write, remembered, place))
            if place is not None and (rest := joiner.finish()):
                await sink.write(rest)
                await shielded(in_thread(_write, remembered, place))
        finally:
            await shielded(_close(sink, self._parts.clock))


async def _close(sink: Sink, clock: Clock) -> None:
    """What is wrong with a sink that is given up is of no use to anybody but the log."""
    try:
        await within(clock, LAST_LINES_S, sink.close())
    except (SampanError, OSError, TimeoutError) as error:
        log.warning("closing a log driver's sink: %s", error)


def _read(path: Path) -> LogPlace | None:
    try:
        return _DECODER.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except msgspec.DecodeError:
        # Torn by a host that lost power: lines that were taken come again, and none is lost.
        return None


def _write(path: Path, place: LogPlace) -> None:
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_bytes(msgspec.json.encode(place))
    temporary.rename(path)
