"""What the replicated store needs of its key-value store: etcd, or a dictionary in tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class KeyChange:
    """A key's new value (None: deleted) at a revision."""

    key: str
    value: bytes | None
    revision: int


@dataclass(frozen=True, slots=True)
class Everything:
    """Every key there is at ``revision``; what is not in it is gone."""

    revision: int
    keys: tuple[KeyChange, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """All that one revision changed."""

    revision: int
    keys: tuple[KeyChange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """All of it or nothing."""

    compares: Mapping[str, int] = field(default_factory=dict)
    """Key -> revision of its last change, 0: there is no such key. All must hold."""
    puts: Mapping[str, bytes] = field(default_factory=dict)
    deletes: frozenset[str] = frozenset()
    fence: str = ""
    """One of the keys in ``compares``: the outcome tells when it was this one that failed."""
    lease: int = 0
    """What is put goes away with this lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionOutcome:
    committed: bool
    revision: int
    """The commit's, or one at which the comparison failed."""
    fenced: bool = False
    """Not committed because of ``Transaction.fence``."""


class Backend(Protocol):
    async def commit(self, transaction: Transaction, *, deadline_s: float) -> TransactionOutcome:
        """Raises:
        NoQuorum: no answer within ``deadline_s``. It may have been committed.
        """
        ...

    async def newest(self, *, deadline_s: float) -> int:
        """The revision of the quorum's last change.

        Raises:
            NoQuorum.
        """
        ...

    def changes(self) -> AsyncIterator[Everything | Step]:
        """First ``Everything``, then each revision once and in order, for ever; ``Everything``
        again when history was compacted meanwhile. Waits through failures."""
        ...

    async def lease_grant(self, ttl_s: float) -> int:
        """Raises: NoQuorum."""
        ...

    async def lease_keepalive(self, lease: int, *, deadline_s: float) -> None:
        """Raises:
        LeaseGone: too late.
        Unavailable: nobody knows.
        """
        ...

    async def lease_revoke(self, lease: int) -> None: ...
