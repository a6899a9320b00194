"""From the schema of an older sampan to this one's, step by step.

A step is a function of ``Documents``: every record of the file as a dictionary, by table and key.
So a field can be renamed, split, moved to another record or computed from others; what only adds a
field with a default, or a table, needs no step. All steps run in one SQLite transaction: a step
that raises leaves the file as it was.

The file's ``user_version`` counts the steps that it has had. A step is never edited once it was
released, and knows its records as they were *then*: it must not import them.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

Document = dict[str, Any]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Documents:
    """The records of a file under migration."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        """For what is no record; inside a transaction that is not the step's to end."""

    def all(self, table: str) -> list[tuple[str, Document]]:
        """Every record of ``table`` with its key."""
        rows = self.connection.execute(f"SELECT key, document FROM {table}").fetchall()
        return [(key, _decode(document)) for key, document in rows]

    def put(self, table: str, key: str, document: Document) -> None:
        self.connection.execute(
            f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (key, _encode(document))
        )

    def delete(self, table: str, key: str) -> None:
        self.connection.execute(f"DELETE FROM {table} WHERE key=?", (key,))

    def change(self, table: str, change: Callable[[Document], Document]) -> None:
        """Replace every record of ``table`` by ``change`` of it. The keys stay."""
        for key, document in self.all(table):
            self.put(table, key, change(document))

    def make(self, table: str) -> None:
        """A table for records, if there is none of that name yet."""
        self.connection.execute(
            f"CREATE TABLE IF NOT EXISTS {table} "
            "(key TEXT NOT NULL PRIMARY KEY, document BLOB NOT NULL)"
        )


Migration = Callable[[Documents], None]


def _first(documents: Documents) -> None:
    """The tables are made as they are declared."""


def _redo_log(documents: Documents) -> None:
    """What is newer than the file is in a log beside it, which an older sampan does not read."""
    documents.connection.execute("CREATE TABLE redo_log (applied INTEGER NOT NULL)")
    documents.connection.execute("INSERT INTO redo_log VALUES (0)")


def _requested_or_allocated(documents: Documents) -> None:
    """Whose an endpoint's address is to give, in the words of the field."""
    words = {"asked": "requested", "given": "allocated"}

    def renamed(value: Any) -> Any:
        if isinstance(value, list):
            return [renamed(each) for each in value]
        if isinstance(value, dict):
            return {
                key: words.get(each, each)
                if key == "cluster" and isinstance(each, str)
                else renamed(each)
                for key, each in value.items()
            }
        return value

    documents.make("containers")  # a new file has no tables yet
    documents.change("containers", renamed)


def _identity(documents: Documents) -> None:
    """What the log beside the file is known by."""
    execute = documents.connection.execute
    execute("ALTER TABLE redo_log ADD COLUMN identity BLOB NOT NULL DEFAULT ''")
    execute("UPDATE redo_log SET identity=?", (os.urandom(16),))


MIGRATIONS: tuple[Migration, ...] = (_first, _redo_log, _requested_or_allocated, _identity)


def migrate(connection: sqlite3.Connection, version: int, steps: Sequence[Migration]) -> None:
    """Take the file from ``version`` to ``len(steps)``, inside the caller's transaction."""
    documents = Documents(connection)
    for step in steps[version:]:
        step(documents)
    connection.execute(f"PRAGMA user_version={len(steps)}")
