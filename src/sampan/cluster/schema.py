"""Which schema the cluster's records are in, and who may write them.

A record is JSON. A manager that reads a field which it does not know drops it when it writes the
record again: in a cluster whose managers are upgraded one after the other, the newer one's fields
would be lost without a word. So the store holds the number of the schema that its records are in,
and every transaction compares it:

    manager's schema < cluster's    writes nothing, leads nothing, says to upgrade it
    manager's schema > cluster's    writes, but none of the fields that are newer than the cluster's
                                    schema; raises it as soon as every manager has announced that it
                                    knows the newer one

A field that is added is a line of ``Schema.additions``, with a new number. A field that is renamed
or split is added first; the old one goes a release later, when nothing reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from sampan.cluster.records import Object
from sampan.errors import Unsupported


@dataclass(frozen=True, slots=True)
class Addition:
    """A field that a schema added."""

    since: int
    kind: str
    """The kind of object, as ``Object.kind``."""
    path: tuple[str, ...]
    """Names of fields, as they are stored, from the object down; through sequences and mappings to
    any of their members. The field has a default, which is not stored."""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a version of sampan knows of the cluster's records."""

    number: int
    additions: tuple[Addition, ...] = ()

    def newer_in(self, record: Object, number: int) -> str:
        """The first field of ``record`` that schema ``number`` does not know; empty: none."""
        stored: Any = None
        for addition in self.additions:
            if addition.since > number and addition.kind == record.kind:
                if stored is None:
                    stored = msgspec.to_builtins(record)
                if _holds(stored, addition.path):
                    return ".".join(addition.path)
        return ""


SCHEMA = Schema(1)
"""This version's."""


class SchemaTooOld(Unsupported):
    """This manager would drop fields that it does not know."""

    def __init__(self, known: int, found: int) -> None:
        super().__init__(
            f"the cluster's records are in schema {found}, and this manager knows only {known}: "
            "upgrade sampan on this host (until then it changes nothing; the other managers do)"
        )
        self.known, self.found = known, found


class SchemaNotRaised(Unsupported):
    """Another manager would drop what this one was asked to write."""

    def __init__(self, field: str, needed: int, missing: Iterable[str]) -> None:
        super().__init__(
            f"{field} needs schema {needed} of the cluster's records, which these managers do not "
            f"know or have not announced: {', '.join(sorted(missing))}: upgrade sampan on them, or "
            "demote them"
        )
        self.field, self.needed = field, needed


def _holds(value: Any, path: Sequence[str]) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds(one, path) for one in value)
    if not path:
        return True
    if not isinstance(value, dict):
        return False
    if path[0] in value:
        return _holds(value[path[0]], path[1:])
    return any(_holds(one, path) for one in value.values() if isinstance(one, dict))
