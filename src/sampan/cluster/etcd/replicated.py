"""``ClusterStore`` over any backend: an indexed copy, drafts, leadership, presence.

draft -> Transaction -> backend.commit ---ok---> wait until the copy has that revision
  ^                          |
  └── wait for the copy <-- conflict        (plain optimistic concurrency, nothing is locked)

backend.changes() -> Copy.take -> State, feeds, waiters      (the only way the copy changes)
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from sampan.aio import Clock, Tasks, within
from sampan.cluster.contract import (
    ALONE_PATIENCE_S,
    FEED_LIMIT,
    PRESENCE_TTL_S,
    UNAVAILABLE_AFTER_S,
    Draft,
    Leadership,
    LeadershipLost,
    NoQuorum,
    Presence,
)
from sampan.cluster.etcd.backend import Backend, Transaction
from sampan.cluster.etcd.copy import Copy
from sampan.cluster.etcd.drafting import Drafting
from sampan.cluster.etcd.failures import LeaseGone
from sampan.cluster.etcd.feeds import ChangeFeed
from sampan.cluster.etcd.keys import LEADER, present_key
from sampan.cluster.etcd.lease import Lease
from sampan.cluster.model import State
from sampan.cluster.schema import SCHEMA, Schema, SchemaTooOld
from sampan.errors import Internal, Unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

CONFLICTS_AT_ONCE = 3
"""Drafts that lose this often in a row wait a few milliseconds, at random, before the next try."""
RETRY_S = 0.2


class HeldLeadership:
    """``Leadership``: lost with its lease, or when its key shows somebody else."""

    def __init__(self, store: ReplicatedStore, revision: int, lease: Lease) -> None:
        self._store, self.revision, self._lease = store, revision, lease
        self.lost = asyncio.Event()

    async def resign(self) -> None:
        """See ``Leadership.resign``. Never fails: without quorum the lease ends by itself."""
        self.lost.set()
        with contextlib.suppress(NoQuorum):
            await self._store.give_up(self)


class ReplicatedStore:
    """Open it with ``async with`` (or ``open`` and ``close``)."""

    def __init__(self, backend: Backend, clock: Clock, schema: Schema = SCHEMA) -> None:
        self._backend, self._clock, self._schema = backend, clock, schema
        self._copy = Copy()
        self._tasks = Tasks()
        self._loaded = asyncio.Event()
        self._lease: Lease | None = None
        self._leasing = asyncio.Lock()
        self._held: HeldLeadership | None = None
        self._presence: Presence | None = None
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> ReplicatedStore:
        try:
            await self.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self, *, deadline_s: float = UNAVAILABLE_AFTER_S) -> None:
        """Load the copy and begin to watch. May be repeated after NoQuorum.

        Raises:
            NoQuorum: nothing could be loaded within ``deadline_s``.
        """
        if self._following is None or self._following.done():
            self._following = self._tasks.spawn(self._follow(), name="store/watch")
        await self._within(deadline_s, self._loaded.wait())

    async def close(self) -> None:
        """Show that this manager is gone: its presence and leadership end at once."""
        lease, self._lease = self._lease, None
        self._presence = None
        if self._held is not None:
            self._held.lost.set()
        await self._tasks.close()
        if lease is not None:
            await lease.revoke()
        self._copy.feeds.close()

    @property
    def state(self) -> State:
        return self._copy.state

    def feed(self, *kinds: str, limit: int = FEED_LIMIT) -> ChangeFeed:
        return self._copy.feeds.feed(frozenset(kinds), limit)

    # -- writing

    async def update(self, draft: Callable[[Draft], T], *, fence: Leadership | None = None) -> T:
        """See ``ClusterStore.update``."""
        conflicts = 0
        while True:
            if fence is not None and fence.lost.is_set():
                raise LeadershipLost
            if fence is not None and self._copy.schema > self._schema.number:
                fence.lost.set()
                raise LeadershipLost
            work = Drafting(self._copy, self._clock.now(), self._schema)
            result = draft(work)
            if inspect.iscoroutine(result):
                result.close()
                raise Internal("a draft must be a plain function, not a coroutine function")
            transaction = work.transaction(_fence_of(fence))
            if transaction is None:
                return result
            outcome = await self._backend.commit(transaction, deadline_s=self._patience_s)
            if outcome.fenced:
                assert fence is not None
                fence.lost.set()
                raise LeadershipLost
            await self._wait_for(outcome.revision)
            if outcome.committed:
                return result
            # No limit: somebody else's commit was the reason, so the cluster as a whole goes on.
            conflicts += 1
            if conflicts >= CONFLICTS_AT_ONCE:
                await self._clock.sleep(random.uniform(0.001, 0.005 * min(conflicts, 20)))

    async def barrier(self) -> None:
        """See ``ClusterStore.barrier``."""
        await self._wait_for(await self._backend.newest(deadline_s=self._patience_s))

    @property
    def _patience_s(self) -> float:
        # By the nodes' records, not by presence alone: a manager that is stopped in order ends its
        # presence at once, and is what is missing all the same.
        managers = self.state.managers.keys() | self.state.present.keys()
        return UNAVAILABLE_AFTER_S if len(managers) > 1 else ALONE_PATIENCE_S

    async def _wait_for(self, revision: int) -> None:
        waiter = self._copy.reached(revision)
        if waiter is not None:
            await self._within(self._patience_s, waiter)

    async def _within(self, seconds: float, work: Awaitable[object]) -> None:
        """Await ``work`` for at most ``seconds`` of the store's clock.

        Raises:
            NoQuorum: it took longer.
        """
        try:
            await within(self._clock, max(seconds, 0.0), work)
        except TimeoutError:
            raise NoQuorum from None

    # -- following

    async def _follow(self) -> None:
        async for news in self._backend.changes():
            self._copy.take(news)
            self._loaded.set()
            held = self._held
            if (
                held is not None
                and news.revision >= held.revision
                and self._copy.revisions.get(LEADER) != held.revision
            ):
                held.lost.set()
                self._held = None

    # -- leading

    async def campaign(self, node_id: str) -> HeldLeadership:
        """See ``ClusterStore.campaign``.

        Raises:
            Unavailable: the store was closed meanwhile.
            SchemaTooOld: see there.
        """
        if self._held is not None and not self._held.lost.is_set():
            raise Internal("this manager campaigns although it leads")
        with self.feed("leader") as feed:
            news = aiter(feed)
            while True:
                if self._copy.schema > self._schema.number:
                    raise SchemaTooOld(self._schema.number, self._copy.schema)
                # Our own name in the key is a life of ours that ended: no need to wait for its
                # lease. The fence tells the two lives apart.
                if self.state.leader in ("", node_id):
                    held = await self._try_to_lead(node_id)
                    if held is not None:
                        return held
                elif await anext(news, None) is None:
                    raise Unavailable("the store was closed")

    async def _try_to_lead(self, node_id: str) -> HeldLeadership | None:
        lease: Lease | None = None
        # of the key as it was judged: by the time there is a lease, somebody else's may be there
        seen = self._copy.revisions.get(LEADER, 0)
        try:
            lease = await self._living_lease()
            outcome = await self._backend.commit(
                Transaction(
                    compares={LEADER: seen},
                    puts={LEADER: f"{node_id} {lease.id:x}".encode()},
                    lease=lease.id,
                ),
                deadline_s=PRESENCE_TTL_S,
            )
            await self._wait_for(outcome.revision)
        except (NoQuorum, LeaseGone):
            await self._clock.sleep(RETRY_S)
            return None
        except asyncio.CancelledError:
            # The key may be ours by now. It goes with its lease; presence takes another.
            if lease is not None:
                self._tasks.spawn(lease.revoke(), name="store/withdraw")
            raise
        if not outcome.committed:
            return None
        held = HeldLeadership(self, outcome.revision, lease)
        self._held = held
        self._tasks.spawn(self._lose_with_lease(held, lease), name="store/leadership")
        if self._copy.revisions.get(LEADER) != held.revision:
            held.lost.set()
        return held

    async def _lose_with_lease(self, held: HeldLeadership, lease: Lease) -> None:
        await lease.ended.wait()
        held.lost.set()
        if self._held is held:
            self._held = None

    async def give_up(self, held: HeldLeadership) -> None:
        """Take the key away if it still is this leadership's."""
        if self._held is held:
            self._held = None
        await self._backend.commit(
            Transaction(compares={LEADER: held.revision}, deletes=frozenset({LEADER})),
            deadline_s=PRESENCE_TTL_S,
        )

    # -- living

    async def announce(self, presence: Presence) -> None:
        """See ``ClusterStore.announce``."""
        first = self._presence is None
        presence = msgspec.structs.replace(presence, schema=self._schema.number)
        self._presence = presence
        lease = await self._living_lease()
        await self._show(presence, lease)
        if first:
            self._tasks.spawn(self._stay_present(lease), name="store/presence")

    @property
    def has_quorum(self) -> bool:
        """See ``ClusterStore.has_quorum``."""
        lease = self._lease
        return self._presence is not None and lease is not None and not lease.ended.is_set()

    async def _show(self, presence: Presence, lease: Lease) -> None:
        key = present_key(presence.node_id)
        outcome = await self._backend.commit(
            Transaction(puts={key: msgspec.json.encode(presence)}, lease=lease.id),
            deadline_s=UNAVAILABLE_AFTER_S,
        )
        await self._wait_for(outcome.revision)

    async def _stay_present(self, lease: Lease) -> None:
        """Show it again under a new lease whenever the old one has ended."""
        while True:
            await lease.ended.wait()
            try:
                lease = await self._living_lease()
                if self._presence is not None:
                    await self._show(self._presence, lease)
            except (NoQuorum, LeaseGone):
                await self._clock.sleep(RETRY_S)

    async def _living_lease(self) -> Lease:
        """One lease serves presence and leadership: one keepalive a manager."""
        async with self._leasing:
            if self._lease is None or self._lease.ended.is_set():
                self._lease = await Lease.grant(self._backend, self._clock, PRESENCE_TTL_S)
                self._tasks.spawn(self._lease.keep(), name="store/lease")
            return self._lease


def _fence_of(fence: Leadership | None) -> int:
    if fence is None:
        return 0
    if not isinstance(fence, HeldLeadership):
        raise Internal("the fence is not a leadership that this store gave")
    return fence.revision
