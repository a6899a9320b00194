"""``stats``: what a container uses, sampled. A sample is read when somebody asks for it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sampan.aio import in_thread
from sampan.engine.container_index import ContainerIndex
from sampan.engine.contract import InterfaceUsage, Sample
from sampan.engine.parts import Parts
from sampan.runtime.contract import NoSuchRun
from sampan.store.records import Container

PERIOD_S = 1.0
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_RECEIVED, _SENT = 0, 8
"""Columns of /proc/net/dev: bytes, packets, errors, drops, and four that nobody asks for."""


class Stats:
    def __init__(self, parts: Parts, containers: ContainerIndex) -> None:
        self._parts, self._containers = parts, containers

    async def sample(self, ref: str) -> Sample:
        """Raises NoSuchContainer. Of a container that does not run: only who it is."""
        container = self._containers.get(ref)
        nothing = Sample(id=container.id, name=container.name, time=self._parts.clock.now())
        if not container.running or container.run is None:
            return nothing
        try:
            usage = await self._parts.runs.usage(container.id)
        except NoSuchRun:
            return nothing
        host = await in_thread(_host, container.run.pid if _own_network(container) else 0)
        return Sample(
            id=container.id,
            name=container.name,
            time=self._parts.clock.now(),
            usage=usage,
            system_ns=host.system_ns,
            cpus=host.cpus,
            memory_total=host.memory_total,
            interfaces=host.interfaces,
        )

    async def follow(self, ref: str) -> AsyncIterator[Sample]:
        """A sample each second, until the container is removed (NoSuchContainer)."""
        container_id = self._containers.get(ref).id
        while True:
            yield await self.sample(container_id)
            await self._parts.clock.sleep(PERIOD_S)


@dataclass(frozen=True, slots=True)
class _Host:
    system_ns: int
    cpus: int
    memory_total: int
    interfaces: tuple[InterfaceUsage, ...]


def _own_network(container: Container) -> bool:
    mode = container.spec.host.network_mode
    return mode not in ("host", "none") and not mode.startswith("container:")


def _host(pid: int) -> _Host:
    """``pid`` 0: no interfaces."""
    with open("/proc/stat") as file:
        first = file.readline()
    interfaces: tuple[InterfaceUsage, ...] = ()
    if pid:
        with suppress(OSError):  # it has ended just now
            interfaces = parse_interfaces(Path(f"/proc/{pid}/net/dev").read_text())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _Host(parse_system(first), os.cpu_count() or 1, memory, interfaces)


def parse_system(line: str) -> int:
    """Nanoseconds of all processors, from the first line of /proc/stat."""
    # Guests' time (the last two) is in the user's already.
    return sum(map(int, line.split()[1:9])) * _TICK_NS


def parse_interfaces(text: str) -> tuple[InterfaceUsage, ...]:
    """The rows of /proc/net/dev but the loopback's."""
    found = []
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        columns = [int(word) for word in rest.split()]
        if name.strip() != "lo" and len(columns) >= _SENT + 4:
            found.append(
                InterfaceUsage(
                    name.strip(),
                    tuple(columns[_RECEIVED : _RECEIVED + 4]),
                    tuple(columns[_SENT : _SENT + 4]),
                )
            )
    return tuple(found)
