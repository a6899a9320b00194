"""Verbs that change what a container is: ``rename`` and ``update``."""

from __future__ import annotations

import msgspec

from sampan.engine.container_index import ContainerIndex
from sampan.engine.container_names import checked_name
from sampan.engine.in_flight import InFlight
from sampan.engine.lifecycle.restart import Restarts
from sampan.engine.networking.attachments import Attachments
from sampan.engine.observe.emit_events import EventEmitter
from sampan.engine.parts import Parts
from sampan.engine.spec.validate import validate_resources, validate_restart
from sampan.errors import Conflict, InvalidArgument
from sampan.store.records import Resources, RestartPolicy


class Changer:
    def __init__(
        self,
        parts: Parts,
        containers: ContainerIndex,
        in_flight: InFlight,
        emit: EventEmitter,
        attachments: Attachments,
        restarts: Restarts,
    ) -> None:
        self._parts, self._containers, self._in_flight = parts, containers, in_flight
        self._emit, self._attachments, self._restarts = emit, attachments, restarts

    async def rename(self, ref: str, name: str) -> None:
        """Raises NoSuchContainer, NameTaken, InvalidArgument."""
        if not name:
            raise InvalidArgument("Neither old nor new names may be empty")
        new = checked_name(name)
        async with self._in_flight.locks.hold(self._containers.get(ref).id):
            before = self._containers.get(ref)
            if new == before.name:
                raise InvalidArgument("Renaming a container with the same name as its current name")
            after = self._containers.rename(before, new)
            if after.running:
                try:
                    await self._parts.networks.rename(after.id, before.name, new)
                except BaseException:
                    self._containers.rename(after, before.name)
                    raise
                await self._attachments.write_etc(after)
            self._emit.container("rename", after, oldName=f"/{before.name}")

    async def update(
        self, ref: str, resources: Resources | None, restart: RestartPolicy | None
    ) -> tuple[str, ...]:
        """Fields of ``resources`` that say nothing stay as they are.

        Raises:
            NoSuchContainer, Conflict, InvalidArgument.
        """
        async with self._in_flight.locks.hold(self._containers.get(ref).id):
            container = self._containers.get(ref)
            if container.removing or container.dead:
                raise Conflict(f"container {container.id} is being removed")
            host = container.spec.host
            if restart is not None:
                if host.auto_remove and restart.name not in ("", "no"):
                    raise InvalidArgument(
                        "Restart policy cannot be updated because AutoRemove is enabled for the "
                        "container"
                    )
                validate_restart(restart, auto_remove=host.auto_remove)
                host = msgspec.structs.replace(host, restart_policy=restart)
            if resources is not None:
                limits = merged_limits(host.resources, resources)
                validate_resources(limits)
                if container.running:
                    await self._parts.runs.update(container.id, limits)
                host = msgspec.structs.replace(host, resources=limits)
            after = self._containers.change(
                container.id,
                lambda c: msgspec.structs.replace(
                    c, spec=msgspec.structs.replace(c.spec, host=host)
                ),
            )
            if restart is not None and restart.name in ("", "no"):
                after = self._restarts.give_up(after)
            self._emit.container("update", after)
        return ()


def merged_limits(now: Resources, wanted: Resources) -> Resources:
    """``now`` with every field of ``wanted`` that is not its default."""
    nothing = Resources()
    said = {
        field: value
        for field in Resources.__struct_fields__
        if (value := getattr(wanted, field)) != getattr(nothing, field)
    }
    if "nano_cpus" in said:
        said |= {"cpu_period": 0, "cpu_quota": 0}
    elif "cpu_quota" in said or "cpu_period" in said:
        said["nano_cpus"] = 0
    return msgspec.structs.replace(now, **said)
