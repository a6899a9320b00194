"""Events as the API sends them, and their filters."""

from __future__ import annotations

from collections.abc import Callable

from sampan.api.filters import Filters
from sampan.api.types.system import Actor, EventBody
from sampan.store.events import Event

FILTERS = (
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
)
_OBJECTS = ("config", "container", "daemon", "network", "node", "secret", "service", "volume")


def event_out(event: Event, version: tuple[int, int]) -> EventBody:
    body = EventBody(
        type=event.type,
        action=event.action,
        actor=Actor(id=event.actor_id, attributes=event.attributes),
        scope=event.scope,
        time=event.time_ns // 1_000_000_000,
        time_nano=event.time_ns,
    )
    if version < (1, 52) and event.type in ("container", "image"):
        body.status, body.id = event.action, event.actor_id
        body.origin = event.attributes.get("image", "") if event.type == "container" else ""
    return body


def wants(filters: Filters) -> Callable[[Event], bool]:
    """The filters as one question."""

    def question(event: Event) -> bool:
        if not (
            filters.exact("type", event.type)
            and filters.exact("scope", event.scope)
            and filters.labels(event.attributes)
            and _action(filters, event.action)
        ):
            return False
        if "image" in filters and not _image(filters["image"], event):
            return False
        return all(
            _object(kind, filters[kind], event) for kind in _OBJECTS if kind in filters
        ) and ("plugin" not in filters)

    return question if filters else lambda _: True


def _action(filters: Filters, action: str) -> bool:
    """``event=exec_start`` also means ``exec_start: ls``, as with health_status."""
    wanted = filters.get("event")
    return not wanted or action in wanted or action.partition(":")[0] in wanted


def _object(kind: str, refs: tuple[str, ...], event: Event) -> bool:
    names = {event.attributes.get("name", "")} if event.type == kind else set()
    ids = {event.actor_id} if event.type == kind else set()
    if event.type == "network" and kind == "container":
        ids.add(event.attributes.get("container", ""))
    return any(
        ref in names or any(one and one.startswith(ref) for one in ids) or ref in ids
        for ref in refs
    )


def _image(refs: tuple[str, ...], event: Event) -> bool:
    if event.type == "image":
        names = {event.actor_id, event.attributes.get("name", "")}
    elif event.type == "container":
        names = {event.attributes.get("image", "")}
    else:
        return False
    bare = {name.rpartition(":")[0] for name in names}
    return any(ref in names or ref in bare for ref in refs)
