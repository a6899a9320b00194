"""The durable store: the model's shadow in one SQLite file.

    containers     key = id          document = Container     (with its current run)
    networks       key = id          document = Network
    volumes        key = name        document = Volume
    images         key = id          document = Image
    image_tags     key = name        document = ImageTag
    image_digests  key = name        document = ImageDigest
    layers         key = chain_id    document = Layer
    build_cache    key = key         document = BuildCacheEntry

Every table is (key TEXT PRIMARY KEY, document BLOB): a record as msgspec writes it in JSON. Nothing
is ever looked up in SQL, as all of it is in memory, so there is no other column and no index. A
field that a newer sampan adds has a default, and one that it drops is ignored when read, so most
changes of a record need no migration; what does is a statement more in ``MIGRATIONS``, whose
length is the file's ``user_version``.

WAL with synchronous=FULL: one fsync a transaction, and what was acknowledged survives a power cut.
The file is locked exclusively: two daemons on one root would tear each other's containers apart.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec

from sampan.errors import Conflict, Exhausted, Internal, SampanError, Unsupported
from sampan.store.model import ModelStore, ModelTable
from sampan.store.records import Record

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    tuple(
        f"CREATE TABLE {name} (key TEXT NOT NULL PRIMARY KEY, document BLOB NOT NULL)"
        for name in (
            "containers",
            "networks",
            "volumes",
            "images",
            "image_tags",
            "image_digests",
            "layers",
            "build_cache",
        )
    ),
)

_encode = msgspec.json.Encoder().encode


def open_store(path: Path) -> DatabaseStore:
    """Open (or make) the store and load all of it.

    Raises:
        Conflict: another daemon has it open.
        Unsupported: a newer sampan wrote it.
        Exhausted: the disk is full.
        Internal: it is damaged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=1.0)
    except sqlite3.Error as error:
        raise _translated(error, path) from error
    try:
        # Exclusive before WAL: the first access then takes the lock for good, and the WAL index
        # lives in our own memory instead of in a shared file.
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        _migrate(connection, path)
        store = DatabaseStore(connection, path)
        store.load()
    except sqlite3.Error as error:
        connection.close()
        raise _translated(error, path) from error
    except BaseException:
        connection.close()
        raise
    return store


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise Unsupported(
            f"{path} was written by a newer sampan (schema {version}, this one knows "
            f"{len(MIGRATIONS)}): install that version again, or use another --root"
        )
    connection.execute("BEGIN EXCLUSIVE")
    for number in range(version, len(MIGRATIONS)):
        for statement in MIGRATIONS[number]:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version={len(MIGRATIONS)}")
    connection.execute("COMMIT")


class DatabaseStore(ModelStore):
    """``Store`` on SQLite. Made by ``open_store``."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        super().__init__()
        self._connection = connection
        self._path = path

    def load(self) -> None:
        for table in self._tables:
            decode = msgspec.json.Decoder(table.kind).decode
            for key, document in self._connection.execute(
                f"SELECT key, document FROM {table.name}"
            ):
                try:
                    table.rows[key] = decode(document)
                except msgspec.MsgspecError as error:
                    raise Internal(
                        f"{self._path}: {table.name} {key} cannot be read: {error}"
                    ) from error

    def commit(self, tables: tuple[ModelTable[Record], ...]) -> None:
        changed = [table for table in tables if table.undo]
        if not changed:
            return
        execute = self._connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            for table in changed:
                for key, record in table.changes():
                    if record is None:
                        execute(f"DELETE FROM {table.name} WHERE key=?", (key,))
                    else:
                        execute(
                            f"INSERT OR REPLACE INTO {table.name} VALUES (?, ?)",
                            (key, _encode(record)),
                        )
            execute("COMMIT")
        except BaseException as error:
            # SQLite has rolled back by itself after some errors (a full disk), not after others.
            if self._connection.in_transaction:
                execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise _translated(error, self._path) from error
            raise

    def close(self) -> None:
        self._connection.close()


def _translated(error: sqlite3.Error, path: Path) -> SampanError:
    code = getattr(error, "sqlite_errorcode", 0)
    match code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return Exhausted(f"no space left on the disk of {path}: free some and try again")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Conflict(
                f"{path} is in use by another sampand: stop that one, or give this one another "
                "--root"
            )
        case _:
            return Internal(f"{path}: {error}")
