"""Every kind of record that the store keeps, declared once.

A line of ``Tables`` is all that a new kind needs: the store's read-only mapping, the transaction's
writable rows, the table in the file and its loading follow from it. ``Store`` and ``Transaction``
both inherit ``Tables``; what an attribute gives depends on which of the two it is asked of, and the
type checker knows: ``store.volumes`` is a ``Mapping[str, Volume]``, ``tx.volumes`` is a
``Rows[Volume]``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Generic, Protocol, TypeVar, overload

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


class Rows(Protocol[R]):
    """One kind of record inside a transaction."""

    def get(self, key: str) -> R | None: ...
    def put(self, record: R) -> None: ...
    def delete(self, key: str) -> None:
        """Nothing happens when there is no such record."""
        ...

    def __iter__(self) -> Iterator[R]: ...


class Readable(ABC):
    """Gives a table as a live, read-only mapping."""

    @abstractmethod
    def view(self, table: Table[R]) -> Mapping[str, R]: ...


class Writable(ABC):
    """Gives a table as rows that can be changed."""

    @abstractmethod
    def rows(self, table: Table[R]) -> Rows[R]: ...


class Table(Generic[R]):
    """The declaration of one kind: its record, and which field of it is the key."""

    name: str
    """The attribute's name, and the table's in the file."""

    def __init__(self, kind: type[R], *, key: str) -> None:
        self.kind, self.key = kind, key

    def __set_name__(self, owner: type[object], name: str) -> None:
        self.name = name

    @overload
    def __get__(self, holder: None, owner: type[object]) -> Table[R]: ...
    @overload
    def __get__(self, holder: Readable, owner: type[object]) -> Mapping[str, R]: ...
    @overload
    def __get__(self, holder: Writable, owner: type[object]) -> Rows[R]: ...
    def __get__(
        self, holder: Readable | Writable | None, owner: type[object]
    ) -> Table[R] | Mapping[str, R] | Rows[R]:
        if holder is None:
            return self
        return holder.view(self) if isinstance(holder, Readable) else holder.rows(self)


class Tables:
    """The schema."""

    containers = Table(Container, key="id")
    """With their current or last run."""
    networks = Table(Network, key="id")
    volumes = Table(Volume, key="name")
    images = Table(Image, key="id")
    image_tags = Table(ImageTag, key="name")
    image_digests = Table(ImageDigest, key="name")
    layers = Table(Layer, key="chain_id")
    build_cache = Table(BuildCacheEntry, key="key")


def declared(tables: type[Tables] = Tables) -> tuple[Table[Record], ...]:
    """Every declaration of ``tables``, in the order in which they stand."""
    return tuple(one for one in vars(tables).values() if isinstance(one, Table))
