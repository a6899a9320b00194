"""From keys to ``State``: decoding, differences, and who waits for which revision."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections.abc import Iterable

import msgspec

from sampan.cluster.contract import Batch, Presence
from sampan.cluster.etcd.backend import Everything, KeyChange, Step
from sampan.cluster.etcd.feeds import FeedHub
from sampan.cluster.etcd.keys import LEADER, SCHEMA_KEY
from sampan.cluster.model import KINDS, Change, State
from sampan.cluster.records import Object

log = logging.getLogger(__name__)

_DECODERS = {kind: msgspec.json.Decoder(record) for kind, record in KINDS.items()}
_PRESENCE = msgspec.json.Decoder(Presence)


class Copy:
    """A manager's copy of the cluster. Only ``take`` changes it."""

    def __init__(self) -> None:
        self.state = State()
        self.feeds = FeedHub()
        self.schema = 0
        """Number of the schema that the objects are in; 0: nobody has said."""
        self.revisions: dict[str, int] = {}
        """Of the keys that are no objects (names, serials, the leader): last change."""
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def take(self, news: Everything | Step) -> None:
        """Move on by one step, or to a whole new picture; readers hear of the differences."""
        if isinstance(news, Everything):
            changes = self._replace_all(news)
        else:
            changes = [c for key in news.keys if (c := self._change(key)) is not None]
        self.state.apply(changes, news.revision)
        self.feeds.publish(Batch(news.revision, tuple(changes)))
        while self._waiters and self._waiters[0][0] <= news.revision:
            _, _, waiter = heapq.heappop(self._waiters)
            if not waiter.done():
                waiter.set_result(None)

    def reached(self, revision: int) -> asyncio.Future[None] | None:
        """None when the copy is at ``revision`` or further; else await this."""
        if self.state.revision >= revision:
            return None
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (revision, next(self._order), waiter))
        return waiter

    def _replace_all(self, news: Everything) -> list[Change]:
        changes: list[Change] = []
        self.revisions.clear()
        self.schema = 0
        seen: set[tuple[str, str]] = set()
        for key in news.keys:
            change = self._change(key)
            if change is None:
                continue
            seen.add((change.kind, change.id if change.kind != "leader" else ""))
            if change.before != change.after:
                changes.append(change)
        gone: list[Change] = []
        for kind, record in KINDS.items():
            gone += [
                Change(kind, id, old, None)
                for id, old in self.state.all(record).items()
                if (kind, id) not in seen
            ]
        for id, presence in self.state.present.items():
            if ("presence", id) not in seen:
                gone.append(Change("presence", id, presence, None))
        if self.state.leader and ("leader", "") not in seen:
            gone.append(Change("leader", self.state.leader, self.state.leader, None))
        # What is gone goes first: a name may have moved to another object meanwhile.
        return gone + changes

    def _change(self, key: KeyChange) -> Change | None:
        _, top, *rest = key.key.split("/", 3)
        if top == "object" and len(rest) == 2:
            return self._object(rest[0], rest[1], key)
        if key.value is None:
            self.revisions.pop(key.key, None)
        else:
            self.revisions[key.key] = key.revision
        if top == "present":
            node = rest[0]
            after = None if key.value is None else _PRESENCE.decode(key.value)
            return Change("presence", node, self.state.present.get(node), after)
        if key.key == SCHEMA_KEY:
            self.schema = int(key.value or b"0")
            return None
        if key.key == LEADER:
            leader = leader_in(key.value)
            before = self.state.leader or None
            return Change("leader", leader or before or "", before, leader)
        return None

    def _object(self, kind: str, id: str, key: KeyChange) -> Change | None:
        decoder = _DECODERS.get(kind)
        if decoder is None:
            log.error("the store has %s, which this version does not know", key.key)
            return None
        before = self.state.all(KINDS[kind]).get(id)
        if key.value is None:
            return Change(kind, id, before, None)
        try:
            record: Object = decoder.decode(key.value)
        except msgspec.MsgspecError as error:
            # One bad record must not stop a manager from seeing all others.
            log.error("the store's %s cannot be read and is passed over: %s", key.key, error)
            return None
        msgspec.structs.force_setattr(record, "version", key.revision)
        return Change(kind, id, before, record)


def leader_in(value: bytes | None) -> str | None:
    """The node id in the leader's key."""
    return None if value is None else value.decode().partition(" ")[0]


def encode_record(record: Object) -> bytes:
    """As it is stored: the version is the store's own business."""
    if record.version:
        record = msgspec.structs.replace(record, version=0)
    return msgspec.json.encode(record)


def steps(keys: Iterable[KeyChange]) -> list[Step]:
    """Cut a run of changes into revisions."""
    return [
        Step(revision, tuple(group))
        for revision, group in itertools.groupby(keys, key=lambda key: key.revision)
    ]
