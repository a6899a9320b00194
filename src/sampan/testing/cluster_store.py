"""The cluster's store without etcd: one hub of keys, and a store for each manager on it.

    async with MemoryCluster(clock) as hub:
        one, two = await hub.store(), await hub.store()

It keeps keys, revisions and leases as etcd does, on the clock it is given, and everything above
(copy, drafts, conflicts, fences, feeds) is the real store's own code. What fails on demand:

    hub.member(store).cut()      a manager without a way to the quorum; ``heal``
    hub.member(store).delay_s    seconds that its watch is late
    hub.member(store).lose_answers = n    the next n commits are done but not answered
    hub.lose_quorum()            nobody reaches anybody; ``regain_quorum``
    hub.compact()                history is gone: who was cut off must read everything again
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from sampan.aio import Clock, Tasks
from sampan.cluster.contract import NoQuorum
from sampan.cluster.etcd.backend import Everything, KeyChange, Step, Transaction, TransactionOutcome
from sampan.cluster.etcd.failures import LeaseGone, NoAnswer
from sampan.cluster.etcd.replicated import ReplicatedStore
from sampan.cluster.schema import SCHEMA, Schema


@dataclass(slots=True)
class _Lease:
    ttl_s: float
    ends: float
    """On the clock's monotonic scale."""


@dataclass(frozen=True, slots=True)
class _Stored:
    value: bytes
    revision: int
    lease: int


class MemoryStore(ReplicatedStore):
    """A manager's store on a ``MemoryCluster``."""

    def __init__(self, member: MemoryMember, clock: Clock, schema: Schema) -> None:
        super().__init__(member, clock, schema)
        self.member = member


class MemoryCluster:
    """The keys of one cluster, and its members."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.revision = 1
        self.quorum = True
        self._keys: dict[str, _Stored] = {}
        self._history: dict[int, Step] = {}
        self._compacted = 0
        self._leases: dict[int, _Lease] = {}
        self._next_lease = 1
        self._members: list[MemoryMember] = []
        self._stores: list[MemoryStore] = []
        self._tasks = Tasks()
        self._expiring = False

    async def __aenter__(self) -> MemoryCluster:
        return self

    async def __aexit__(self, *_: object) -> None:
        for store in self._stores:
            if not store.member.reachable:
                store.member.closed = True  # nothing to wait for
            await store.close()
        await self._tasks.close()

    async def store(self, schema: Schema = SCHEMA) -> MemoryStore:
        """One more manager's store, open. ``schema``: what its version knows."""
        member = MemoryMember(self)
        self._members.append(member)
        store = MemoryStore(member, self.clock, schema)
        self._stores.append(store)
        await store.open()
        return store

    @staticmethod
    def member(store: MemoryStore) -> MemoryMember:
        return store.member

    def lose_quorum(self) -> None:
        self.quorum = False
        self.wake()

    def regain_quorum(self) -> None:
        """All leases begin anew, as under etcd's next leader."""
        self.quorum = True
        for lease in self._leases.values():
            lease.ends = self.clock.monotonic() + lease.ttl_s
        self.wake()

    def compact(self) -> None:
        """Forget history up to now."""
        self._compacted = self.revision
        self._history.clear()

    # -- the members' side

    def everything(self) -> Everything:
        return Everything(
            self.revision,
            tuple(KeyChange(key, kept.value, kept.revision) for key, kept in self._keys.items()),
        )

    def step_after(self, revision: int) -> Everything | Step | None:
        """What comes next for who is at ``revision``; None: nothing yet."""
        if revision >= self.revision:
            return None
        if revision < self._compacted:
            return self.everything()
        return self._history[revision + 1]

    def commit(self, transaction: Transaction) -> TransactionOutcome:
        for key, revision in transaction.compares.items():
            kept = self._keys.get(key)
            if (0 if kept is None else kept.revision) != revision:
                fence = transaction.fence
                holder = self._keys.get(fence)
                now = 0 if holder is None else holder.revision
                return TransactionOutcome(
                    committed=False,
                    revision=self.revision,
                    fenced=bool(fence) and now != transaction.compares[fence],
                )
        if transaction.lease and transaction.lease not in self._leases:
            raise LeaseGone("requested lease not found")
        self._write(transaction.puts, transaction.deletes, transaction.lease)
        return TransactionOutcome(committed=True, revision=self.revision)

    def _write(self, puts: Mapping[str, bytes], deletes: frozenset[str], lease: int) -> None:
        gone = [key for key in deletes if key in self._keys]
        if not puts and not gone:
            return
        self.revision += 1
        changes: list[KeyChange] = []
        for key, value in puts.items():
            self._keys[key] = _Stored(value, self.revision, lease)
            changes.append(KeyChange(key, value, self.revision))
        for key in gone:
            del self._keys[key]
            changes.append(KeyChange(key, None, self.revision))
        self._history[self.revision] = Step(self.revision, tuple(changes))
        self.wake()

    def wake(self) -> None:
        """Every member looks again."""
        for member in self._members:
            member.news.set()

    # -- leases

    def grant(self, ttl_s: float) -> int:
        lease, self._next_lease = self._next_lease, self._next_lease + 1
        self._leases[lease] = _Lease(ttl_s, self.clock.monotonic() + ttl_s)
        if not self._expiring:
            self._expiring = True
            self._tasks.spawn(self._expire(), name="memory-cluster/leases")
        return lease

    def keep_alive(self, lease: int) -> None:
        kept = self._leases.get(lease)
        if kept is None:
            raise LeaseGone("requested lease not found")
        kept.ends = self.clock.monotonic() + kept.ttl_s

    def revoke(self, lease: int) -> None:
        if self._leases.pop(lease, None) is not None:
            bound = frozenset(key for key, kept in self._keys.items() if kept.lease == lease)
            self._write({}, bound, 0)

    async def _expire(self) -> None:
        while self._leases:
            now = self.clock.monotonic()
            if self.quorum:
                for lease in [id for id, kept in self._leases.items() if kept.ends <= now]:
                    self.revoke(lease)
            first = min((kept.ends for kept in self._leases.values()), default=now)
            await self.clock.sleep(max(first - now, 0.05))
        self._expiring = False


class MemoryMember:
    """``Backend``: one manager's way to the hub."""

    def __init__(self, hub: MemoryCluster) -> None:
        self._hub = hub
        self._cut = False
        self.closed = False
        self.delay_s = 0.0
        self.lose_answers = 0
        self.news = asyncio.Event()
        """There may be something to see: a step, a cut, a healing."""

    @property
    def reachable(self) -> bool:
        return self._hub.quorum and not self._cut

    def cut(self) -> None:
        """From now on this manager reaches nobody."""
        self._cut = True
        self.news.set()

    def heal(self) -> None:
        self._cut = False
        self._hub.wake()

    async def commit(self, transaction: Transaction, *, deadline_s: float) -> TransactionOutcome:
        await self._reach(deadline_s)
        outcome = self._hub.commit(transaction)
        if self.lose_answers and outcome.committed:
            self.lose_answers -= 1
            await self._hub.clock.sleep(max(deadline_s, 0.0))
            raise NoQuorum
        return outcome

    async def newest(self, *, deadline_s: float) -> int:
        await self._reach(deadline_s)
        return self._hub.revision

    async def changes(self) -> AsyncIterator[Everything | Step]:
        revision = 0
        while True:
            self.news.clear()
            news: Everything | Step | None = None
            if self.reachable:
                news = self._hub.step_after(revision) if revision else self._hub.everything()
            if news is None:
                await self.news.wait()
                continue
            if self.delay_s:
                await self._hub.clock.sleep(self.delay_s)
            revision = news.revision
            yield news

    async def lease_grant(self, ttl_s: float) -> int:
        await self._reach(ttl_s)
        return self._hub.grant(ttl_s)

    async def lease_keepalive(self, lease: int, *, deadline_s: float) -> None:
        try:
            await self._reach(deadline_s)
        except NoQuorum:
            raise NoAnswer("nobody answers") from None
        self._hub.keep_alive(lease)

    async def lease_revoke(self, lease: int) -> None:
        await self._reach(1.0)
        self._hub.revoke(lease)

    async def _reach(self, deadline_s: float) -> None:
        """One turn for the others, as any way over a network; then NoQuorum or not."""
        await asyncio.sleep(0)
        if self.reachable:
            return
        end = self._hub.clock.monotonic() + deadline_s
        while not self.reachable:
            left = end - self._hub.clock.monotonic()
            if left <= 0 or self.closed:
                raise NoQuorum
            await self._hub.clock.sleep(min(left, 0.1))
