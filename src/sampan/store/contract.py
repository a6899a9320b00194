"""The store as the rest of the engine sees it.

In memory there is a model; a file is its durable shadow. ``transact`` runs a *plain* function to
its end on the event loop (nothing can interleave) and writes what it put and deleted before it
returns: a daemon that is killed from then on finds it again. ``await store.durable()`` waits until
the *disk* has it: a host that loses its power from then on finds it again. Whoever answers a user
waits for that, and code that destroys on disk what a record speaks of. When the function raises,
nothing has changed, in memory or on disk. docs/design/store.md says who waits where.

Why plain functions: on one event loop a ``def`` without ``await`` is already a critical section.
Reading needs no transaction: ``store.containers`` and its like are live read-only mappings. Which
there are is declared in ``sampan.store.tables``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TypeVar

from sampan.errors import Internal
from sampan.store.tables import Readable, Rows, Tables, Writable

T = TypeVar("T")

__all__ = ["Rows", "Store", "StoreFailed", "Transaction"]


class StoreFailed(Internal):
    """The disk did not take what was written to it. What was promised until then is kept; nothing
    more is promised, and nothing changes, until the daemon is started again."""


class Transaction(Tables, Writable):
    """Every table, writable. Only what runs inside ``transact`` gets hold of it."""


class Store(Tables, Readable):
    """Every table, as a live read-only mapping, and the one way to change them."""

    @property
    @abstractmethod
    def committed(self) -> int:
        """The number of the last transaction that changed something. They count up by one."""

    @abstractmethod
    def transact(self, change: Callable[[Transaction], T], *, frees: bool = False) -> T:
        """Run ``change`` and commit. ``frees``: it is the first step of a removal, as a mark is. It
        has some space left on a disk that is full to everything else, as has what deletes.

        Raises:
            Exhausted: the disk is full; nothing has changed.
            StoreFailed: see there; nothing has changed.
            Whatever ``change`` raises; nothing has changed.
        """

    @abstractmethod
    async def durable(self, number: int | None = None) -> None:
        """Wait until transaction ``number`` (None: every one so far) survives a power cut. So does
        every one before it.

        Raises:
            StoreFailed: it may or may not.
        """

    @abstractmethod
    def close(self) -> None:
        """Make everything durable and let go of the file. Blocks."""
