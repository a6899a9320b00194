"""What happens to the cluster's objects, as events of this manager's host."""

from __future__ import annotations

from collections.abc import Iterator

from sampan.cluster.contract import ClusterStore, StoreLagged
from sampan.cluster.find import node_name
from sampan.cluster.model import Change
from sampan.cluster.records import ClusterNetwork, Node, Object, Service
from sampan.store.events import Event, EventBus

KINDS = ("node", "service", "secret", "config", "network")


async def publish(store: ClusterStore, bus: EventBus) -> None:
    """Until cancelled: every change that this manager hears of, on ``bus``, in the cluster's
    scope. Run it for as long as the node is a manager."""
    while True:
        try:
            with store.feed(*KINDS) as feed:
                async for batch in feed:
                    for change in batch.changes:
                        for event in events_of(change):
                            bus.publish(event)
            return
        except StoreLagged:
            continue  # what was missed is missed: events are news, not records


def events_of(change: Change) -> Iterator[Event]:
    """None for a change that means nothing to a user."""
    before, after = change.before, change.after
    record = after if after is not None else before
    if not isinstance(record, Object):
        return
    attributes = {"name": _name(record)}
    if isinstance(record, ClusterNetwork):
        attributes["type"] = record.spec.driver
    if before is None:
        action = "create"
    elif after is None:
        action = "remove"
    else:
        action = "update"
        differences = dict(_differences(before, after))
        if not differences and not _shown(before, after):
            return
        attributes |= differences
    yield Event(change.kind, action, change.id, attributes, scope="swarm")


def _name(record: Object) -> str:
    return node_name(record) if isinstance(record, Node) else record.name


def _shown(before: Object, after: Object) -> bool:
    """The user changed something (and not the allocator, a dispatcher ...)."""
    return getattr(before, "spec", None) != getattr(after, "spec", None)


def _differences(before: Object, after: Object) -> Iterator[tuple[str, str]]:
    if isinstance(before, Node) and isinstance(after, Node):
        yield from _pair("state", before.status.state, after.status.state)
        yield from _pair("availability", before.spec.availability, after.spec.availability)
        yield from _pair("role", before.spec.role, after.spec.role)
    elif isinstance(before, Service) and isinstance(after, Service):
        yield from _pair("image", _image(before), _image(after))
        yield from _pair("replicas", _replicas(before), _replicas(after))
        old = before.update_status.state if before.update_status is not None else ""
        new = after.update_status.state if after.update_status is not None else ""
        yield from _pair("updatestate", old, new)


def _pair(name: str, old: str, new: str) -> Iterator[tuple[str, str]]:
    if old != new:
        if new:
            yield f"{name}.new", new
        if old:
            yield f"{name}.old", old


def _image(service: Service) -> str:
    container = service.spec.task_template.container_spec
    return container.image if container is not None else ""


def _replicas(service: Service) -> str:
    mode = service.spec.mode.replicated
    return "" if mode is None or mode.replicas is None else str(mode.replicas)
