"""What a container wrote: where it is kept, and reading it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from sampan.config import DaemonConfig
from sampan.drivers import Registry
from sampan.engine.container_index import ContainerIndex
from sampan.engine.contract import LogRequest
from sampan.engine.in_flight import InFlight, RunInFlight
from sampan.engine.parts import Parts
from sampan.errors import InvalidArgument, Unsupported
from sampan.runtime.contract import LogEntry, Stream
from sampan.runtime.log_drivers import attributes
from sampan.runtime.log_drivers.contract import LogDriver, LoggedContainer, LogQuery
from sampan.store.records import Container, LogConfig

LOG_NAME = "container.log"


def with_default(wanted: LogConfig, config: DaemonConfig) -> LogConfig:
    """The daemon's driver where none is named; its options belong to that driver only."""
    name = wanted.type or config.log_driver
    default = config.log_options if name == config.log_driver else {}
    return LogConfig(type=name, options={**default, **wanted.options})


def log_path(
    container: Container, drivers: Registry[LogDriver], config: DaemonConfig
) -> Path | None:
    """None: its log driver keeps nothing. A plugin that was not used yet since the start keeps a
    file, as all of them do."""
    name = container.spec.host.log_config.type
    if name in drivers and not drivers.get(name).capabilities.keeps:
        return None
    return config.paths.container(container.id) / LOG_NAME


def logged(container: Container, path: Path | None) -> LoggedContainer:
    """A container as its log driver knows it."""
    spec = container.spec
    return LoggedContainer(
        id=container.id,
        name=container.name,
        image_id=container.image_id,
        image_name=spec.image,
        entrypoint=spec.args[0],
        args=spec.args[1:],
        created_at=container.created_at,
        env=spec.env,
        labels=spec.labels,
        options=spec.host.log_config.options,
        hostname=spec.hostname,
        path=path,
    )


class Logs:
    def __init__(self, parts: Parts, containers: ContainerIndex, in_flight: InFlight) -> None:
        self._parts, self._containers, self._in_flight = parts, containers, in_flight

    def read(self, ref: str, request: LogRequest) -> AsyncIterator[list[LogEntry]]:
        """Raises NoSuchContainer, InvalidArgument, Unsupported at once, not at the first batch."""
        container = self._containers.get(ref)
        if not (request.stdout or request.stderr):
            raise InvalidArgument("Bad parameters: you must choose at least one stream")
        drivers = self._parts.drivers.log
        path = log_path(container, drivers, self._parts.config)
        streams: set[Stream] = set()
        if request.stdout:
            streams.add("stdout")
        if request.stderr:
            streams.add("stderr")
        run = self._in_flight.runs.get(container.id)
        follow = request.follow and run is not None
        name = container.spec.host.log_config.type
        if name in drivers and drivers.get(name).capabilities.reads:
            query = LogQuery(
                tail=request.tail,
                since_ns=request.since_ns,
                until_ns=request.until_ns,
                streams=frozenset(streams),
                follow=follow,
            )
            return drivers.get(name).read(logged(container, path), query)
        if path is None:
            raise Unsupported("configured logging driver does not support reading")
        return self._parts.logs.read(
            path,
            tail=request.tail,
            since_ns=request.since_ns,
            until_ns=request.until_ns,
            streams=frozenset(streams),
            follow=_until_ended(run) if follow and run is not None else None,
        )

    def details(self, ref: str) -> bytes:
        """What ``logs --details`` shows before every line of the container: ``name=value,...``."""
        return attributes.details(logged(self._containers.get(ref), None))


async def _until_ended(run: RunInFlight) -> AsyncIterator[None]:
    await run.ended.wait()
    nothing: tuple[None, ...] = ()
    for item in nothing:
        yield item
