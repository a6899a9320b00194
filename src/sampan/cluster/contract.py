"""The cluster's store as everyone above it sees it.

Reading: ``store.state``, an indexed copy in memory. It changes only by the store's own watch, in
the order of revisions, one whole revision in one turn of the loop: a reader that does not await
reads a consistent picture.

Writing: ``await store.update(draft)``. ``draft`` is a *plain* function; it reads through
``Draft`` and ``state``, says what to put and delete, and may raise (then nothing happens). What it
wrote is one transaction, committed only if every object it touched is still at the version it was
read at. If not, the copy is brought up to date and ``draft`` runs again. When ``update`` returns,
the change is durable on a quorum *and* in this manager's copy.

Leading: ``campaign`` waits until this manager is the leader. A write with ``fence=leadership`` is
refused once someone else leads, so the loops of a deposed leader cannot do harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec

from sampan.cluster.model import Change, State
from sampan.cluster.records import Object
from sampan.errors import Conflict, InvalidArgument, NotFound, Unavailable

O = TypeVar("O", bound=Object)  # noqa: E741 - the word of the whole module

REFERENCES = "references"
"""What a draft serialises on that begins to use a network, secret or config, or removes one: else
one could be removed in the very moment that a service begins to use it."""


T = TypeVar("T")


class NoQuorum(Unavailable):
    def __init__(self) -> None:
        super().__init__(
            "The swarm does not have a leader. It's possible that too few managers are online. "
            "Make sure more than half of the managers are online."
        )


class OutOfSequence(InvalidArgument):
    """The version that the client read is not the newest: read again, change that, send again."""

    def __init__(self) -> None:
        super().__init__("rpc error: code = Unknown desc = update out of sequence")


class NameInUse(Conflict):
    def __init__(self, kind: str, name: str, holder: str) -> None:
        super().__init__(
            "rpc error: code = AlreadyExists desc = name conflicts with an existing object: "
            f"{kind} {name} already exists"
        )
        self.kind, self.name, self.holder = kind, name, holder


class NoSuchObject(NotFound):
    def __init__(self, kind: str, ref: str) -> None:
        super().__init__(f"{kind} {ref} not found")
        self.kind, self.ref = kind, ref


class LeadershipLost(Exception):
    """A fenced write came too late: another manager leads. The loops end; nothing was written."""


class StoreLagged(Exception):
    """A feed's reader was too slow; what it missed is gone: take the state and start over."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Every change up to ``revision`` since the batch before, in order; whole transactions."""

    revision: int
    changes: tuple[Change, ...]


class Feed(Protocol):
    """Async-iterate it for batches; ``close`` (or leaving ``with``) ends an iteration under way.

    Raises (from the iteration, and from ``waiting``):
        StoreLagged: more than the limit were waiting.
    """

    def __enter__(self) -> Feed: ...
    def __exit__(self, *_: object) -> None: ...
    def __aiter__(self) -> AsyncIterator[Batch]: ...
    def waiting(self) -> Iterator[Batch]:
        """The batches that have come and were not given out yet: after them the reader knows what
        ``ClusterStore.state`` shows in this turn of the loop."""
        ...

    def close(self) -> None: ...


class Draft(Protocol):
    """A transaction being written. What was put or deleted in it is seen by ``get`` at once."""

    @property
    def state(self) -> State:
        """The copy as it was when the draft began; without what the draft itself wrote."""
        ...

    def get(self, kind: type[O], id: str) -> O | None: ...

    def put(self, record: Object) -> None:
        """Create (version 0) or change. ``updated_at`` (and ``created_at`` of a new one) are
        stamped by the store.

        Raises:
            NameInUse: another object of its kind has its name.
        """
        ...

    def delete(self, record: Object) -> None: ...

    def expect(self, record: Object) -> None:
        """The transaction holds only if this object is unchanged."""
        ...

    def serialize(self, name: str) -> None:
        """Of two transactions that name the same ``name``, one sees the other's outcome. For rules
        over several objects: ``REFERENCES``, "ports"."""
        ...


class Leadership(Protocol):
    """Held until ``lost`` is set (the lease ran out, or the store cannot be reached for longer
    than it lives) or ``resign``."""

    @property
    def lost(self) -> asyncio.Event: ...
    async def resign(self) -> None:
        """Give it up at once, so that another manager need not wait for the lease to end."""
        ...


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """A manager's sign of life: gone at most ``PRESENCE_TTL_S`` after the manager."""

    node_id: str
    address: str
    """ADDRESS:PORT of its peer server."""
    schema: int = 0
    """Number of the newest schema that it knows; stamped by the store. 0: it does not say."""


PRESENCE_TTL_S = 2.0
UNAVAILABLE_AFTER_S = 4.0
"""One of several managers says within this time that there is no quorum."""
ALONE_PATIENCE_S = 20.0
"""The only manager of a cluster waits so long: no other can be what is missing, its disk is slow.
Who is one of several is counted by the nodes' records: one that is stopped or lost counts."""
FEED_LIMIT = 4096
"""Batches that may wait in a feed."""


class ClusterStore(Protocol):
    @property
    def state(self) -> State: ...

    async def update(self, draft: Callable[[Draft], T], *, fence: Leadership | None = None) -> T:
        """Commit what ``draft`` writes; see above. A draft that writes nothing costs nothing.

        Raises:
            NoQuorum: not committed within ``UNAVAILABLE_AFTER_S``, of an only manager
                ``ALONE_PATIENCE_S``. Whether it will be is unknown.
            SchemaTooOld: this manager must be upgraded first. SchemaNotRaised: another one.
            LeadershipLost: the fence does not hold.
            whatever ``draft`` raises.
        """
        ...

    def feed(self, *kinds: str, limit: int = FEED_LIMIT) -> Feed:
        """Changes of these kinds (none: of all) from this very turn of the loop on: what
        ``state`` shows now plus the feed is everything, with no gap and no repeat. The pseudo
        kinds ``presence`` and ``leader`` tell of managers that come, go and lead."""
        ...

    async def barrier(self) -> None:
        """Wait until ``state`` is as new as the quorum was when this was called.

        Raises:
            NoQuorum.
        """
        ...

    async def campaign(self, node_id: str) -> Leadership:
        """Wait until this manager leads. Cancel it to withdraw.

        Raises:
            SchemaTooOld: it could not write anything.
        """
        ...

    async def announce(self, presence: Presence) -> None:
        """Show that this manager lives, for as long as the store is open."""
        ...

    @property
    def has_quorum(self) -> bool:
        """Whether what was announced could be kept up until now: known without asking anybody, and
        at most ``PRESENCE_TTL_S`` late."""
        ...
