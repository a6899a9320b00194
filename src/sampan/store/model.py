"""The model in memory, and the transaction that changes it.

A transaction works on the live model and keeps an undo log: the old record of every key at its
first change. That costs nothing for what is not touched (a copy-on-write model would copy its
dictionaries), and a failure puts back exactly what was there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Generic, TypeVar, cast

from sampan.errors import Internal
from sampan.store.contract import Store, Transaction
from sampan.store.records import Record
from sampan.store.tables import Rows, Table, declared

R = TypeVar("R", bound=Record)
T = TypeVar("T")


class ModelRows(Generic[R]):
    """One kind of record: a dictionary, and the undo log of the transaction under way."""

    def __init__(self, table: Table[R]) -> None:
        self.table = table
        self._key = table.key
        self.rows: dict[str, R] = {}
        self.view: Mapping[str, R] = MappingProxyType(self.rows)
        self.undo: dict[str, R | None] = {}
        """Key -> its record before this transaction (None: there was none)."""

    def get(self, key: str) -> R | None:
        return self.rows.get(key)

    def put(self, record: R) -> None:
        key: str = getattr(record, self._key)
        self.undo.setdefault(key, self.rows.get(key))
        self.rows[key] = record

    def delete(self, key: str) -> None:
        if (old := self.rows.get(key)) is not None:
            self.undo.setdefault(key, old)
            del self.rows[key]

    def __iter__(self) -> Iterator[R]:
        return iter(list(self.rows.values()))

    def changes(self) -> Iterator[tuple[str, R | None]]:
        """What differs from before: (key, new record or None)."""
        for key, old in self.undo.items():
            if (new := self.rows.get(key)) is not old:
                yield key, new

    def forget(self) -> None:
        self.undo.clear()

    def roll_back(self) -> None:
        for key, old in self.undo.items():
            if old is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = old
        self.undo.clear()


class ModelTransaction(Transaction):
    """``Transaction`` on the model of a store."""

    def __init__(self, tables: tuple[ModelRows[Record], ...]) -> None:
        self._tables = {rows.table.name: rows for rows in tables}

    def rows(self, table: Table[R]) -> Rows[R]:
        return cast(Rows[R], self._tables[table.name])


class ModelStore(Store):
    """A store in memory. ``commit`` makes the changes durable; here it has nothing to do."""

    def __init__(self) -> None:
        self._tables = tuple(ModelRows(table) for table in declared())
        self._views = {rows.table.name: rows.view for rows in self._tables}
        self._transaction = ModelTransaction(self._tables)
        self._busy = False
        self._committed = 0

    def view(self, table: Table[R]) -> Mapping[str, R]:
        return cast(Mapping[str, R], self._views[table.name])

    @property
    def committed(self) -> int:
        return self._committed

    def transact(self, change: Callable[[Transaction], T], *, frees: bool = False) -> T:
        """See ``Store.transact``. Not reentrant: a transaction is one function."""
        if self._busy:
            raise Internal("a transaction was started inside another; pass the outer one along")
        self._busy = True
        try:
            result = change(self._transaction)
            if inspect.iscoroutine(result):
                result.close()
                raise Internal("a transaction must be a plain function, not a coroutine function")
            changed = [rows for rows in self._tables if rows.undo]
            if changed:
                self.commit(self._committed + 1, changed, frees=frees)
                self._committed += 1
        except BaseException:
            for rows in self._tables:
                rows.roll_back()
            raise
        finally:
            self._busy = False
        for rows in self._tables:
            rows.forget()
        return result

    def commit(self, number: int, changed: list[ModelRows[Record]], *, frees: bool) -> None:
        """Write what ``changed`` changed as transaction ``number``, or raise and leave the disk as
        it was. ``frees``: see ``Store.transact``."""

    async def durable(self, number: int | None = None) -> None:
        pass

    def close(self) -> None:
        pass
