"""The store as the rest of the engine sees it.

In memory there is a model; SQLite is its durable shadow. ``transact`` runs a *plain* function to
its end on the event loop (nothing can interleave) and commits what it put and deleted in one
SQLite transaction before it returns: when ``transact`` has returned, it is on disk. When the
function raises, nothing has changed, in memory or on disk.

Why plain functions: on one event loop a ``def`` without ``await`` is already a critical section.
Reading needs no transaction: ``store.containers`` and its like are live read-only mappings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeVar

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


class Table(Protocol[R]):
    """One kind of record inside a transaction."""

    def get(self, key: str) -> R | None: ...
    def put(self, record: R) -> None: ...
    def delete(self, key: str) -> None: ...
    def __iter__(self) -> Iterator[R]: ...


class Transaction(Protocol):
    @property
    def containers(self) -> Table[Container]: ...
    @property
    def networks(self) -> Table[Network]: ...
    @property
    def volumes(self) -> Table[Volume]: ...
    @property
    def images(self) -> Table[Image]: ...
    @property
    def image_tags(self) -> Table[ImageTag]: ...
    @property
    def image_digests(self) -> Table[ImageDigest]: ...
    @property
    def layers(self) -> Table[Layer]: ...
    @property
    def build_cache(self) -> Table[BuildCacheEntry]: ...


class Store(Protocol):
    """Keys: ``id`` (containers, networks, images), ``name`` (volumes, tags, digests),
    ``chain_id`` (layers), ``key`` (build cache)."""

    @property
    def containers(self) -> Mapping[str, Container]: ...
    @property
    def networks(self) -> Mapping[str, Network]: ...
    @property
    def volumes(self) -> Mapping[str, Volume]: ...
    @property
    def images(self) -> Mapping[str, Image]: ...
    @property
    def image_tags(self) -> Mapping[str, ImageTag]: ...
    @property
    def image_digests(self) -> Mapping[str, ImageDigest]: ...
    @property
    def layers(self) -> Mapping[str, Layer]: ...
    @property
    def build_cache(self) -> Mapping[str, BuildCacheEntry]: ...

    def transact(self, change: Callable[[Transaction], T]) -> T:
        """Run ``change`` and commit.

        Raises:
            Exhausted: the disk is full; nothing has changed.
            Whatever ``change`` raises; nothing has changed.
        """
        ...

    def close(self) -> None: ...
