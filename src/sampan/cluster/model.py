"""The indexed copy of the cluster that every manager keeps in memory.

It is a value of the past that only moves forward: ``apply`` takes whole revisions, in order. Shared
by the real store and the fake, so that both index alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, TypeVar, cast, overload

from sampan.cluster.records import (
    Cluster,
    ClusterNetwork,
    Config,
    Node,
    Object,
    Secret,
    Service,
    Task,
)

O = TypeVar("O", bound=Object)  # noqa: E741

_NONE: Mapping[str, Task] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Change:
    """One object, before and after. ``before`` None: created; ``after`` None: deleted.

    Of the pseudo kinds ``presence`` (``Presence`` values) and ``leader`` (node ids) the values
    are not objects.
    """

    kind: str
    id: str
    before: Any
    after: Any


class Objects(Generic[O]):
    """The declaration of one kind of object; of a ``State``: its objects by id."""

    def __init__(self, record: type[O]) -> None:
        self.record = record

    @overload
    def __get__(self, state: None, owner: type[object]) -> Objects[O]: ...
    @overload
    def __get__(self, state: State, owner: type[object]) -> Mapping[str, O]: ...
    def __get__(self, state: State | None, owner: type[object]) -> Objects[O] | Mapping[str, O]:
        return self if state is None else state.all(self.record)


class Kinds:
    """Every kind of object, declared once: the copy, its keys and their decoding follow."""

    clusters = Objects(Cluster)
    """One at most: see ``State.cluster``."""
    nodes = Objects(Node)
    services = Objects(Service)
    tasks = Objects(Task)
    networks = Objects(ClusterNetwork)
    secrets = Objects(Secret)
    configs = Objects(Config)


KINDS: Mapping[str, type[Object]] = MappingProxyType(
    {one.record.kind: one.record for one in vars(Kinds).values() if isinstance(one, Objects)}
)
"""Record by kind."""


class State(Kinds):
    """Read it freely; only the store calls ``apply``."""

    def __init__(self) -> None:
        self.revision = 0
        self.leader = ""
        """Node id of the leader; empty: none is known."""
        self.present: dict[str, Any] = {}
        """Node id -> ``Presence`` of each manager that shows signs of life."""
        self._objects: dict[str, dict[str, Object]] = {kind: {} for kind in KINDS}
        self._names: dict[tuple[str, str], str] = {}
        self._managers: dict[str, Node] = {}
        self._by_service: dict[str, dict[str, Task]] = {}
        self._by_node: dict[str, dict[str, Task]] = {}
        self._spec_since: dict[tuple[str, str], int] = {}
        self._snapshot: tuple[int, tuple[Task, ...]] = (-1, ())
        """The tasks at a revision."""

    # -- objects

    @property
    def cluster(self) -> Cluster | None:
        """The one; None before the cluster was made."""
        return next(iter(self.clusters.values()), None)

    def get(self, kind: type[O], id: str) -> O | None:
        return cast("O | None", self._objects[kind.kind].get(id))

    def all(self, kind: type[O]) -> Mapping[str, O]:
        return cast("Mapping[str, O]", self._objects[kind.kind])

    def every_task(self) -> tuple[Task, ...]:
        """All tasks as they are now, to be read a slice at a time while the copy moves on. To copy
        300,000 takes 10 ms, and all of a leader's loops begin with it in one turn of the event
        loop: so it is done once for a revision."""
        if self._snapshot[0] != self.revision:
            self._snapshot = (self.revision, tuple(self.tasks.values()))
        return self._snapshot[1]

    # -- indexes

    def id_of(self, kind: str, name: str) -> str | None:
        return self._names.get((kind, name))

    def named(self, kind: type[O], name: str) -> O | None:
        """The object of that name."""
        id = self._names.get((kind.kind, name))
        return None if id is None else self.get(kind, id)

    @property
    def managers(self) -> Mapping[str, Node]:
        """Nodes that have a part as manager, by id: alive, stopped or lost."""
        return self._managers

    def tasks_of(self, service_id: str) -> Mapping[str, Task]:
        """By id, dead ones and all."""
        return self._by_service.get(service_id, _NONE)

    def tasks_on(self, node_id: str) -> Mapping[str, Task]:
        """By id, dead ones and all."""
        return self._by_node.get(node_id, _NONE)

    def spec_since(self, record: Object) -> int:
        """The revision of the last change that a user (or a rollback) made to this object, as far
        as this copy saw it; a client that read it at that revision or later knows it."""
        return self._spec_since.get((record.kind, record.id), record.version)

    # -- the store's side

    def apply(self, changes: Iterable[Change], revision: int) -> None:
        """Move on to ``revision``."""
        self._snapshot = (-1, ())
        for change in changes:
            if change.kind == "leader":
                self.leader = change.after or ""
            elif change.kind == "presence":
                if change.after is None:
                    self.present.pop(change.id, None)
                else:
                    self.present[change.id] = change.after
            else:
                self._replace(change.kind, change.id, change.after)
        self.revision = revision

    def _replace(self, kind: str, id: str, record: Object | None) -> None:
        table = self._objects[kind]
        old = table.pop(id, None)
        if old is not None:
            if old.name and self._names.get((kind, old.name)) == id:
                del self._names[kind, old.name]
            if isinstance(old, Task):
                _leave(self._by_service, old.service_id, id)
                _leave(self._by_node, old.node_id, id)
            elif isinstance(old, Node):
                self._managers.pop(id, None)
        if record is None:
            self._spec_since.pop((kind, id), None)
            return
        if kind != "task" and (old is None or _spec(old) != _spec(record)):
            self._spec_since[kind, id] = record.version
        table[id] = record
        if record.name:
            self._names[kind, record.name] = id
        if isinstance(record, Task):
            if record.service_id:
                self._by_service.setdefault(record.service_id, {})[id] = record
            if record.node_id:
                self._by_node.setdefault(record.node_id, {})[id] = record
        elif isinstance(record, Node) and record.manager is not None:
            self._managers[id] = record


def _spec(record: Object) -> tuple[int, object]:
    return record.edits, getattr(record, "spec", None)


def _leave(index: dict[str, dict[str, Task]], key: str, id: str) -> None:
    members = index.get(key)
    if members is not None:
        members.pop(id, None)
        if not members:
            del index[key]
