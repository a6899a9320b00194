"""The model in memory, and the transaction that changes it.

A transaction works on the live model and keeps an undo log: the old record of every key at its
first change. That costs nothing for what is not touched (a copy-on-write model would copy its
dictionaries), and a failure puts back exactly what was there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Generic, TypeVar

from sampan.errors import Internal
from sampan.store.records import (
    BuildCacheEntry,
    Container,
    Image,
    ImageDigest,
    ImageTag,
    Layer,
    Network,
    Record,
    Volume,
)

R = TypeVar("R", bound=Record)
T = TypeVar("T")


class ModelTable(Generic[R]):
    """One kind of record: a dictionary, and the undo log of the transaction under way."""

    def __init__(self, name: str, kind: type[R], key: str) -> None:
        self.name, self.kind, self.key = name, kind, key
        self.rows: dict[str, R] = {}
        self.view: Mapping[str, R] = MappingProxyType(self.rows)
        self.undo: dict[str, R | None] = {}
        """Key -> its record before this transaction (None: there was none)."""

    def get(self, key: str) -> R | None:
        return self.rows.get(key)

    def put(self, record: R) -> None:
        key: str = getattr(record, self.key)
        self.undo.setdefault(key, self.rows.get(key))
        self.rows[key] = record

    def delete(self, key: str) -> None:
        """Nothing happens when there is no such record."""
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


class ModelTransaction:
    """Every table, writable. Only what runs inside ``transact`` gets hold of it."""

    def __init__(self) -> None:
        self.containers = ModelTable("containers", Container, "id")
        self.networks = ModelTable("networks", Network, "id")
        self.volumes = ModelTable("volumes", Volume, "name")
        self.images = ModelTable("images", Image, "id")
        self.image_tags = ModelTable("image_tags", ImageTag, "name")
        self.image_digests = ModelTable("image_digests", ImageDigest, "name")
        self.layers = ModelTable("layers", Layer, "chain_id")
        self.build_cache = ModelTable("build_cache", BuildCacheEntry, "key")

    @property
    def tables(self) -> tuple[ModelTable[Record], ...]:
        return (  # type: ignore[return-value]  # each is invariant in its own kind
            self.containers,
            self.networks,
            self.volumes,
            self.images,
            self.image_tags,
            self.image_digests,
            self.layers,
            self.build_cache,
        )


class ModelStore:
    """A store in memory. ``commit`` makes the changes durable; here it has nothing to do."""

    def __init__(self) -> None:
        self._model = ModelTransaction()
        self._tables = self._model.tables
        self._busy = False

    @property
    def containers(self) -> Mapping[str, Container]:
        return self._model.containers.view

    @property
    def networks(self) -> Mapping[str, Network]:
        return self._model.networks.view

    @property
    def volumes(self) -> Mapping[str, Volume]:
        return self._model.volumes.view

    @property
    def images(self) -> Mapping[str, Image]:
        return self._model.images.view

    @property
    def image_tags(self) -> Mapping[str, ImageTag]:
        return self._model.image_tags.view

    @property
    def image_digests(self) -> Mapping[str, ImageDigest]:
        return self._model.image_digests.view

    @property
    def layers(self) -> Mapping[str, Layer]:
        return self._model.layers.view

    @property
    def build_cache(self) -> Mapping[str, BuildCacheEntry]:
        return self._model.build_cache.view

    def transact(self, change: Callable[[ModelTransaction], T]) -> T:
        """See ``Store.transact``. Not reentrant: a transaction is one function."""
        if self._busy:
            raise Internal("a transaction was started inside another; pass the outer one along")
        self._busy = True
        try:
            result = change(self._model)
            if inspect.iscoroutine(result):
                result.close()
                raise Internal("a transaction must be a plain function, not a coroutine function")
            self.commit(self._tables)
        except BaseException:
            for table in self._tables:
                table.roll_back()
            raise
        finally:
            self._busy = False
        for table in self._tables:
            table.forget()
        return result

    def commit(self, tables: tuple[ModelTable[Record], ...]) -> None:
        """Make what ``tables`` changed durable, or raise and leave the disk as it was."""

    def close(self) -> None:
        pass
