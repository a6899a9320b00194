"""The replicated store's backend on a member of etcd.

An answer that does not come is the hard case: the transaction may have been committed. It is sent
again as it is. Every transaction compares what it changes, so it cannot be done twice; and when the
second try finds its comparison broken, one key that it would have written tells whether that was
the first try's doing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from sampan.aio import Clock
from sampan.cluster.backoff import backoff_s
from sampan.cluster.contract import NoQuorum
from sampan.cluster.etcd import wire
from sampan.cluster.etcd.backend import Everything, KeyChange, Step, Transaction, TransactionOutcome
from sampan.cluster.etcd.client import EtcdClient
from sampan.cluster.etcd.copy import steps
from sampan.cluster.etcd.failures import Compacted, LeaderUnknown, NoAnswer, Unreachable
from sampan.cluster.etcd.keys import LEADER
from sampan.cluster.etcd.replicated import ReplicatedStore
from sampan.cluster.schema import SCHEMA, Schema
from sampan.errors import Unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

ATTEMPT_S = 1.2
"""A proposal that went to a leader which has just died is never answered: after this time it is
sent again, to the next leader (an election takes about a second)."""
PAUSE_S = 0.05
LONGEST_PAUSE_S = 0.5
LEASE_CALL_S = 2.0
IN_FLIGHT = 32
"""Transactions under way at once; more make etcd slower, not faster, until they time out."""


class EtcdBackend:
    """``Backend`` on one member."""

    def __init__(self, client: EtcdClient, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._gave_up = -math.inf
        """When a transaction last found no quorum."""

    async def commit(self, transaction: Transaction, *, deadline_s: float) -> TransactionOutcome:
        proof = _proof_key(transaction)
        request = _request(transaction, proof)
        unanswered = False

        async def attempt(left: float) -> wire.TxnReply:
            nonlocal unanswered
            try:
                return await self._client.txn(request, deadline_s=left)
            except NoAnswer:
                unanswered = True
                raise

        came = self._clock.monotonic()
        # The wait for a slot does not count: those before it are being answered. If they are not,
        # nobody behind them needs to find that out again.
        async with self._slots:
            if self._gave_up > came:
                raise NoQuorum
            try:
                reply = await self._until_answered(attempt, deadline_s)
            except NoQuorum:
                self._gave_up = self._clock.monotonic()
                raise
        revision = reply.header.revision
        if reply.succeeded:
            return TransactionOutcome(committed=True, revision=revision)
        found = [_first(answer.response_range) for answer in reply.responses]
        if unanswered and proof:
            done = _proves(transaction, proof, found[0])
            if done is not None:
                return TransactionOutcome(committed=True, revision=done or revision)
        fenced = False
        if transaction.fence:
            holder = found[-1]
            now = 0 if holder is None else holder.mod_revision
            fenced = now != transaction.compares[transaction.fence]
        return TransactionOutcome(committed=False, revision=revision, fenced=fenced)

    async def newest(self, *, deadline_s: float) -> int:
        request = wire.Range(LEADER.encode())
        reply = await self._until_answered(
            lambda left: self._client.range(request, deadline_s=left), deadline_s
        )
        return reply.header.revision

    async def changes(self) -> AsyncIterator[Everything | Step]:
        revision = 0
        failures = 0
        while True:
            try:
                if not revision:
                    reply = await self._client.everything()
                    revision = reply.header.revision
                    yield Everything(revision, tuple(_change(kv) for kv in reply.kvs))
                async with contextlib.aclosing(self._client.watch(revision + 1)) as replies:
                    async for news in replies:
                        failures = 0
                        for step in steps(_event(event) for event in news.events):
                            revision = step.revision
                            yield step
            except Compacted as error:
                log.info(
                    "revision %d was compacted: reading everything again (%s)", revision, error
                )
                revision = 0
            except Unavailable as error:
                log.debug("the watch ended after revision %d: %s", revision, error)
                failures += 1
                await self._clock.sleep(backoff_s(failures, PAUSE_S, LONGEST_PAUSE_S))

    async def lease_grant(self, ttl_s: float) -> int:
        return await self._until_answered(
            lambda left: self._client.lease_grant(math.ceil(ttl_s), deadline_s=left), LEASE_CALL_S
        )

    async def lease_keepalive(self, lease: int, *, deadline_s: float) -> None:
        await self._client.lease_keepalive(lease, deadline_s=deadline_s)

    async def lease_revoke(self, lease: int) -> None:
        await self._client.lease_revoke(lease)

    async def _until_answered(self, call: Callable[[float], Awaitable[T]], deadline_s: float) -> T:
        """Repeat ``call`` (which gets its own deadline in seconds) until it is answered.

        Raises:
            NoQuorum: not within ``deadline_s``.
        """
        end = self._clock.monotonic() + deadline_s
        while (left := end - self._clock.monotonic()) > 0:
            try:
                return await call(min(left, ATTEMPT_S))
            except (Unreachable, NoAnswer, LeaderUnknown) as error:
                log.debug("etcd: %s", error)
                await self._clock.sleep(min(PAUSE_S, left))
        raise NoQuorum


class EtcdStore(ReplicatedStore):
    """``ClusterStore`` on the etcd member behind ``client`` (which stays the caller's)."""

    def __init__(self, client: EtcdClient, clock: Clock, schema: Schema = SCHEMA) -> None:
        super().__init__(EtcdBackend(client, clock), clock, schema)


def _request(transaction: Transaction, proof: str) -> wire.Txn:
    lease = transaction.lease
    success = [
        wire.Op(request_put=wire.Put(key.encode(), value, lease))
        for key, value in transaction.puts.items()
    ]
    success += [
        wire.Op(request_delete_range=wire.DeleteRange(key.encode())) for key in transaction.deletes
    ]
    failure = [
        wire.Op(request_range=wire.Range(key.encode())) for key in (proof, transaction.fence) if key
    ]
    compare = [
        wire.Compare(key.encode(), revision) for key, revision in transaction.compares.items()
    ]
    return wire.Txn(compare, success, failure)


def _proof_key(transaction: Transaction) -> str:
    """The key that best tells afterwards whether the transaction was done: one that it creates,
    else one that it changes, else one that it deletes."""
    compares = transaction.compares
    puts = [key for key in transaction.puts if transaction.puts[key]]
    created = (key for key in puts if key.startswith("/object/") and not compares.get(key, 1))
    return next(created, None) or next(iter(puts), None) or next(iter(transaction.deletes), "")


def _proves(transaction: Transaction, key: str, found: wire.KeyValue | None) -> int | None:
    """The commit's revision (0: not known) if ``found`` shows that it was done, else None."""
    value = transaction.puts.get(key)
    if value is None:
        return 0 if found is None else None
    if found is None:
        return None
    if found.value == value:
        return found.mod_revision
    if key.startswith("/object/") and not transaction.compares.get(key, 1):
        # Nobody else makes an object with this random id; it has been changed since.
        return found.create_revision
    return None


def _first(reply: wire.RangeReply | None) -> wire.KeyValue | None:
    return reply.kvs[0] if reply is not None and reply.kvs else None


def _change(kv: wire.KeyValue) -> KeyChange:
    return KeyChange(kv.key.decode(), kv.value, kv.mod_revision)


def _event(event: wire.WatchEvent) -> KeyChange:
    kv = event.kv
    value = None if event.type == "DELETE" else kv.value
    return KeyChange(kv.key.decode(), value, kv.mod_revision)
