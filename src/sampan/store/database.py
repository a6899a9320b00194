"""The durable store: a redo log that takes every transaction, and an SQLite file behind it.

    sampan.db           the state as of the last checkpoint: a table for each one declared in
                        ``sampan.store.tables``, (key TEXT PRIMARY KEY, document BLOB), and
                        redo_log(applied, identity): the last transaction that is in it, and
                        what its log is known by
    sampan.db.redo-N    the transactions since, see ``sampan.store.redo``

A document is a record as msgspec writes it in JSON. Nothing is ever looked up in SQL, as all of it
is in memory, so there is no other column and no index. A field that a newer sampan adds has a
default, and one that it drops is ignored when read; what else changes a record is a function in
``sampan.store.migrations``.

The loop writes to the log and nothing else: one ``write`` a transaction, no fsync, no SQLite. One
thread syncs the log for all who wait (``sampan.store.syncing``); when a segment of it is full,
another thread brings SQLite up to its end, syncs that, and removes the segment. The file is locked
exclusively: two daemons on one root would tear each other's containers apart.

Why not SQLite's own log is argued in docs/design/store.md.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from sampan.errors import Conflict, Exhausted, Internal, SampanError, Unsupported
from sampan.store import redo
from sampan.store.migrations import MIGRATIONS, Documents, Migration, migrate
from sampan.store.model import ModelRows, ModelStore
from sampan.store.records import Record
from sampan.store.redo import LogSegment
from sampan.store.syncing import GroupCommit, Sync
from sampan.store.tables import declared

log = logging.getLogger(__name__)

SEGMENT_BYTES = 4 << 20
"""A segment of the log that has grown beyond this is checkpointed. Larger ones write SQLite less
often, as a record that changes often is written once a checkpoint; smaller ones are sooner read at
a start, and take less of the disk."""

Changes = dict[tuple[str, str], bytes | None]
"""(Table, key) -> the newest document; None: deleted."""

_encode = msgspec.json.Encoder().encode


def open_store(
    path: Path,
    *,
    migrations: Sequence[Migration] = MIGRATIONS,
    sync: Sync = os.fdatasync,
    segment_bytes: int = SEGMENT_BYTES,
) -> DatabaseStore:
    """Open (or make) the store and load all of it.

    Raises:
        Conflict: another daemon has it open.
        Unsupported: a newer sampan wrote it.
        Exhausted: the disk is full.
        Internal: it is damaged, or cannot be brought to this version's schema; it is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        connection = sqlite3.connect(
            path, isolation_level=None, timeout=1.0, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise _translated(error, path) from error
    try:
        # Exclusive before WAL: the first access then takes the lock for good, and the WAL index
        # lives in our own memory instead of in a shared file.
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        checkpoint = Checkpoint(connection, path)
        checkpoint.recover(migrations)
        return DatabaseStore(checkpoint, sync, segment_bytes)
    except (sqlite3.Error, OSError) as error:
        connection.close()
        raise _translated(error, path) from error
    except BaseException:
        connection.close()
        raise


class Checkpoint:
    """The SQLite file, and the segments of the log that it has not caught up with."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self.path = connection, path
        self._behind: list[Path] = []
        self._missing: Changes = {}
        """What the segments ``_behind`` hold."""
        self.committed = 0
        """The last transaction of the segments ``_behind``."""
        self.identity = b""
        """Of this file, random: a segment of the log that has another one is not its own."""

    def recover(self, migrations: Sequence[Migration]) -> None:
        """See what is there, and bring it to the newest schema."""
        version: int = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(migrations):
            raise Unsupported(
                f"{self.path} was written by a newer sampan (schema {version}, this one knows "
                f"{len(migrations)}): install that version again, or use another --root"
            )
        self._read_log()
        self._connection.execute("BEGIN EXCLUSIVE")
        try:
            if version < len(migrations):
                # The log is in the old schema, too.
                self._write(self._missing, self.committed)
                migrate(self._connection, version, migrations)
            documents = Documents(self._connection)
            # A newer sampan may have one that is not declared here, and have put into it.
            logged = {table for table, _ in self._missing}
            for name in {table.name for table in declared()} | logged:
                documents.make(name)
            self._connection.execute("COMMIT")
        except BaseException as error:
            _roll_back(self._connection)
            if isinstance(error, (sqlite3.Error, SampanError)) or not isinstance(error, Exception):
                raise
            raise Internal(
                f"{self.path} cannot be brought from schema {version} to {len(migrations)}: "
                f"{error!r}. It is as it was: install the sampan that wrote it again"
            ) from error
        if version < len(migrations):
            self._caught_up()
        row = self._connection.execute("SELECT identity FROM redo_log").fetchone()
        self.identity = bytes(row[0])

    def _read_log(self) -> None:
        """Read the segments; remove those that hold nothing new."""
        found = redo.segments(self.path)
        if self._connection.execute("SELECT 1 FROM sqlite_master WHERE name='redo_log'").fetchone():
            row = self._connection.execute("SELECT * FROM redo_log").fetchone()
            self.committed, self.identity = row[0], bytes(row[1]) if len(row) > 1 else b""
        elif found:
            raise Internal(
                f"{self.path} is gone or replaced, and its log ({found[0].name}) is still there: "
                "put the file back, or move the log away to begin with nothing"
            )
        for segment in found:
            if redo.is_foreign(segment, self.identity):
                raise Internal(
                    f"{segment.name} is not the log of {self.path}, but of a file that was there "
                    "before: put that one back, or move this log away to go on without it"
                )
        for segment in found:
            fresh = False
            for number, changes in redo.replay([segment], self.committed, self.identity):
                fresh = True
                self.committed = number
                self._missing.update({(table, key): document for table, key, document in changes})
            if behind := redo.whole_record_behind(segment, self.identity, self.committed):
                raise Internal(
                    f"{segment.name} is damaged: transactions from {self.committed + 1} on cannot "
                    f"be read, and {behind} is whole behind them. Nothing is changed. Restore the "
                    "file from a copy; or move it away to go on without what it holds, and what "
                    "only it knows of is removed"
                )
            if fresh:
                # The next segment, which is not made yet, needs it on a full disk.
                redo.give_up_allocated(segment)
                self._behind.append(segment)
            elif redo.first_number(segment, self.identity) > self.committed + 1:
                # After a power cut nobody was told of these; it may also be that somebody has
                # removed the segment before, and then they are worth something.
                aside = redo.set_aside(segment)
                log.warning(
                    "%s: transactions after %d are missing from its log; what comes behind them "
                    "is not used, and is kept in %s", self.path, self.committed, aside,
                )  # fmt: skip
            else:
                segment.unlink()
        if self._behind:
            log.info("%s: transactions up to %d are in its log", self.path, self.committed)

    def load(self, tables: Sequence[ModelRows[Record]]) -> None:
        """Fill the model."""
        by_name = {rows.table.name: rows for rows in tables}
        for name, rows in by_name.items():
            for key, document in self._connection.execute(f"SELECT key, document FROM {name}"):
                if (name, key) not in self._missing:
                    self._decode(rows, key, document)
        for (name, key), document in self._missing.items():
            if document is not None and name in by_name:
                self._decode(by_name[name], key, document)

    def _decode(self, rows: ModelRows[Record], key: str, document: bytes) -> None:
        try:
            rows.rows[key] = msgspec.json.decode(document, type=rows.table.kind)
        except msgspec.MsgspecError as error:
            raise Internal(
                f"{self.path}: {rows.table.name} {key} cannot be read: {error}"
            ) from error

    def sync(self, sync: Sync) -> None:
        """Make durable what was read: a daemon that was killed may not have synced all of it, and
        what is appended from now on counts for nothing without it. Raises OSError."""
        for segment in self._behind:
            descriptor = os.open(segment, os.O_RDONLY | os.O_CLOEXEC)
            try:
                sync(descriptor)
            finally:
                os.close(descriptor)

    def advance(self, changes: Changes, number: int, segments: Sequence[Path]) -> bool:
        """Take ``changes`` in, the newest of the log's transactions up to ``number``, and remove
        ``segments``, which hold them. Blocks. False when it could not be done (it is logged): then
        they are kept, and go with the next ones."""
        self._behind.extend(segments)
        self._missing.update(changes)
        self.committed = number
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._write(self._missing, number)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            _roll_back(self._connection)
            log.warning("%s: its log goes on growing: %s", self.path, error)
            return False
        self._caught_up()
        return True

    def _caught_up(self) -> None:
        for segment in self._behind:
            segment.unlink(missing_ok=True)
        self._behind, self._missing = [], {}

    def _write(self, changes: Changes, number: int) -> None:
        execute = self._connection.execute
        for (table, key), document in changes.items():
            if document is None:
                execute(f"DELETE FROM {table} WHERE key=?", (key,))
            else:
                execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (key, document))
        if changes:
            execute("UPDATE redo_log SET applied=?", (number,))

    def close(self) -> None:
        self._connection.close()


class DatabaseStore(ModelStore):
    """``Store`` on disk. Made by ``open_store``."""

    def __init__(self, checkpoint: Checkpoint, sync: Sync, segment_bytes: int) -> None:
        super().__init__()
        self._checkpoint, self._segment_bytes = checkpoint, segment_bytes
        self._path = checkpoint.path
        self._committed = checkpoint.committed
        self._pending: Changes = {}
        """What the current segment of the log holds."""
        self._checkpointing: threading.Thread | None = None
        checkpoint.load(self._tables)
        checkpoint.sync(sync)
        self._log = GroupCommit(
            self._path, checkpoint.identity, self._committed, sync, segment_bytes
        )

    def commit(self, number: int, changed: list[ModelRows[Record]], *, frees: bool) -> None:
        if (failed := self._log.failed) is not None:
            raise failed
        changes: list[redo.Change] = [
            (rows.table.name, key, None if record is None else _encode(record))
            for rows in changed
            for key, record in rows.changes()
        ]
        try:
            deletes = any(document is None for _, _, document in changes)
            self._log.append(number, redo.encode(number, changes), frees=frees or deletes)
        except OSError as error:
            raise _translated(error, self._path) from error
        for table, key, document in changes:
            self._pending[table, key] = document
        if self._log.size > self._segment_bytes:
            self._begin_checkpoint(number)

    async def durable(self, number: int | None = None) -> None:
        await self._log.durable(self._committed if number is None else number)

    def _begin_checkpoint(self, number: int) -> None:
        if self._checkpointing is not None and self._checkpointing.is_alive():
            return
        if (full := self._log.rotate()) is None:
            return
        changes, self._pending = self._pending, {}
        self._checkpointing = threading.Thread(
            target=self._advance, args=(changes, number, full), name="store-checkpoint"
        )
        self._checkpointing.start()

    def _advance(self, changes: Changes, number: int, full: LogSegment) -> None:
        # The syncing thread may still have use for its descriptor.
        if self._log.wait_synced(number):
            full.finish()
            self._checkpoint.advance(changes, number, [full.path])
        full.close()

    def close(self) -> None:
        segments = self._log.close()
        if self._checkpointing is not None:
            self._checkpointing.join()
        if self._log.failed is None:
            self._checkpoint.advance(
                self._pending, self._committed, [segment.path for segment in segments]
            )
        for segment in segments:
            segment.close()
        self._checkpoint.close()


def _roll_back(connection: sqlite3.Connection) -> None:
    # SQLite has rolled back by itself after some errors (a full disk), not after others.
    if connection.in_transaction:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _translated(error: sqlite3.Error | OSError, path: Path) -> SampanError:
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        code = sqlite3.SQLITE_FULL if full else 0
    else:
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
