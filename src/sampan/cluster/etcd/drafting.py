"""A transaction while a plain function writes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar, cast

import msgspec

from sampan.cluster.contract import NameInUse, OutOfSequence
from sampan.cluster.etcd.backend import Transaction
from sampan.cluster.etcd.copy import Copy, encode_record
from sampan.cluster.etcd.keys import LEADER, SCHEMA_KEY, name_key, object_key, serial_key
from sampan.cluster.model import KINDS, State
from sampan.cluster.records import Object
from sampan.cluster.schema import Schema, SchemaNotRaised, SchemaTooOld

O = TypeVar("O", bound=Object)  # noqa: E741


class Drafting:
    """``Draft``. Objects that are put, deleted or expected are compared with the version in the
    copy; those only read are not (a scheduler reads everything)."""

    def __init__(self, copy: Copy, now: float, schema: Schema) -> None:
        self._copy, self._now, self._schema = copy, now, schema
        self._written: dict[tuple[str, str], Object | None] = {}
        self._expected: set[tuple[str, str]] = set()
        self._names: dict[tuple[str, str], str | None] = {}
        """Who holds a name after this draft, as far as it changed that."""
        self._serials: set[str] = set()

    @property
    def state(self) -> State:
        return self._copy.state

    @property
    def written(self) -> Mapping[tuple[str, str], Object | None]:
        """By kind and id; None: deleted."""
        return self._written

    def get(self, kind: type[O], id: str) -> O | None:
        if (kind.kind, id) in self._written:
            return cast("O | None", self._written[kind.kind, id])
        return self.state.get(kind, id)

    def put(self, record: Object) -> None:
        kind, id = record.kind, record.id
        current = self.get(type(record), id)
        if current is record or current == record:
            return  # nothing changes: no revision, nobody is woken
        if current is None and (kind, id) in self._written:
            # Deleted by this very draft: it becomes a change of what is stored.
            record = msgspec.structs.replace(record, version=self._version(kind, id))
        self._check(record)
        name = record.name
        if name:
            holder = self._holder(kind, name)
            if holder is not None and holder != id:
                raise NameInUse(kind, name, holder)
        if current is not None and current.name and current.name != name:
            self._names[kind, current.name] = None
        if name:
            self._names[kind, name] = id
        self._written[kind, id] = msgspec.structs.replace(
            record, created_at=record.created_at or self._now, updated_at=self._now
        )

    def delete(self, record: Object) -> None:
        kind, id = record.kind, record.id
        self._check(record)
        current = self.get(type(record), id)
        if current is None:
            return
        if current.name:
            self._names[kind, current.name] = None
        self._written[kind, id] = None

    def expect(self, record: Object) -> None:
        self._check(record)
        self._expected.add((record.kind, record.id))

    def serialize(self, name: str) -> None:
        self._serials.add(name)

    def transaction(self, fence: int) -> Transaction | None:
        """What was written, or None when that is nothing. ``fence``: revision of the leader's key,
        0: anybody may write this.

        Raises:
            SchemaTooOld, SchemaNotRaised.
        """
        written = {
            key: record
            for key, record in self._written.items()
            if record is not None or self._version(*key)
        }
        if not written:
            return None
        compares: dict[str, int] = {}
        puts: dict[str, bytes] = {}
        deletes: set[str] = set()
        for (kind, id), record in written.items():
            key = object_key(kind, id)
            compares[key] = self._version(kind, id)
            if record is None:
                deletes.add(key)
            else:
                puts[key] = encode_record(record)
        for kind, id in self._expected:
            compares[object_key(kind, id)] = self._version(kind, id)
        for (kind, name), holder in self._names.items():
            if holder == self.state.id_of(kind, name):
                continue
            key = name_key(kind, name)
            compares[key] = self._copy.revisions.get(key, 0)
            if holder is not None:
                puts[key] = holder.encode()
            else:
                deletes.add(key)
        for name in self._serials:
            key = serial_key(name)
            compares[key] = self._copy.revisions.get(key, 0)
            puts[key] = b""
        compares[SCHEMA_KEY] = self._copy.revisions.get(SCHEMA_KEY, 0)
        if (raised := self._in_schema(written.values())) is not None:
            puts[SCHEMA_KEY] = str(raised).encode()
        if fence:
            compares[LEADER] = fence
        return Transaction(
            compares=compares,
            puts=puts,
            deletes=frozenset(deletes),
            fence=LEADER if fence else "",
        )

    def _in_schema(self, written: Iterable[Object | None]) -> int | None:
        """Refuse what a manager would drop. Returns the schema to raise the cluster's to."""
        known, found = self._schema.number, self._copy.schema
        if found > known:
            raise SchemaTooOld(known, found)
        if found == known:
            return None
        state = self.state
        managers = {node.id for node in state.nodes.values() if node.role == "manager"}
        knows = {id for id, sign in state.present.items() if sign.schema >= known}
        missing = (managers | set(state.present)) - knows
        if not missing:
            return known
        for record in written:
            if record is not None and (field := self._schema.newer_in(record, found)):
                raise SchemaNotRaised(field, known, missing)
        return None

    def _version(self, kind: str, id: str) -> int:
        stored = self.state.all(KINDS[kind]).get(id)
        return 0 if stored is None else stored.version

    def _check(self, record: Object) -> None:
        """A record that was read before this draft, and has been changed since, would never be
        accepted, however often the draft ran."""
        if record.version != self._version(record.kind, record.id):
            raise OutOfSequence

    def _holder(self, kind: str, name: str) -> str | None:
        if (kind, name) in self._names:
            return self._names[kind, name]
        return self.state.id_of(kind, name)
