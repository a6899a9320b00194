"""etcd's JSON gateway, as types: base64 for bytes, numbers of 64 bits as strings.

Only what is used is named; msgspec passes over the rest.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class EtcdMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base: zero values are left out, as the gateway does it too."""


# ---------------------------------------------------------------- requests


class Range(EtcdMessage, frozen=True, omit_defaults=True):
    key: bytes
    range_end: bytes = b""
    limit: int = 0
    revision: int = 0
    serializable: bool = False


class Put(EtcdMessage, frozen=True, omit_defaults=True):
    key: bytes
    value: bytes = b""
    lease: int = 0


class DeleteRange(EtcdMessage, frozen=True, omit_defaults=True):
    key: bytes
    range_end: bytes = b""


class Compare(msgspec.Struct, frozen=True):
    """The revision of ``key``'s last change is exactly that; 0: there is no such key.

    Everything is spelled out: what is left out means VERSION and not MOD to etcd.
    """

    key: bytes
    mod_revision: int
    target: str = "MOD"
    result: str = "EQUAL"


class Op(EtcdMessage, frozen=True, omit_defaults=True):
    request_put: Put | None = None
    request_delete_range: DeleteRange | None = None
    request_range: Range | None = None


class Txn(EtcdMessage, frozen=True, omit_defaults=True):
    compare: list[Compare] = []
    success: list[Op] = []
    failure: list[Op] = []


class WatchCreate(EtcdMessage, frozen=True, omit_defaults=True):
    key: bytes
    range_end: bytes = b""
    start_revision: int = 0


class WatchRequest(EtcdMessage, frozen=True, omit_defaults=True):
    create_request: WatchCreate


class LeaseGrant(EtcdMessage, frozen=True, omit_defaults=True):
    TTL: int


class LeaseId(EtcdMessage, frozen=True, omit_defaults=True):
    ID: int


class Compaction(EtcdMessage, frozen=True, omit_defaults=True):
    revision: int
    physical: bool = False


class MemberAdd(EtcdMessage, frozen=True, omit_defaults=True):
    peerURLs: list[str]
    isLearner: bool = False


class MoveLeader(EtcdMessage, frozen=True, omit_defaults=True):
    targetID: int


class Nothing(EtcdMessage, frozen=True, omit_defaults=True):
    pass


# ---------------------------------------------------------------- replies


class Header(EtcdMessage, frozen=True):
    member_id: int = 0
    revision: int = 0
    raft_term: int = 0


class KeyValue(EtcdMessage, frozen=True):
    key: bytes
    value: bytes = b""
    create_revision: int = 0
    mod_revision: int = 0
    lease: int = 0


class RangeReply(EtcdMessage, frozen=True):
    header: Header = Header()
    kvs: list[KeyValue] = []
    more: bool = False


class Answer(EtcdMessage, frozen=True):
    response_range: RangeReply | None = None


class TxnReply(EtcdMessage, frozen=True):
    header: Header = Header()
    succeeded: bool = False
    responses: list[Answer] = []


class Reply(EtcdMessage, frozen=True):
    header: Header = Header()


class WatchEvent(EtcdMessage, frozen=True):
    kv: KeyValue
    type: str = "PUT"


class WatchReply(EtcdMessage, frozen=True):
    header: Header = Header()
    created: bool = False
    canceled: bool = False
    cancel_reason: str = ""
    compact_revision: int = 0
    events: list[WatchEvent] = []


class LeaseReply(EtcdMessage, frozen=True):
    ID: int = 0
    TTL: int = 0


class StatusReply(EtcdMessage, frozen=True):
    header: Header = Header()
    version: str = ""
    dbSize: int = 0
    dbSizeInUse: int = 0
    leader: int = 0
    """Member id; 0: this member knows of none."""
    raftIndex: int = 0
    raftAppliedIndex: int = 0
    raftTerm: int = 0
    errors: list[str] = []
    isLearner: bool = False


class EtcdMember(EtcdMessage, frozen=True):
    ID: int
    name: str = ""
    """Empty until it has started for the first time."""
    peerURLs: list[str] = []
    clientURLs: list[str] = []
    isLearner: bool = False


class MembersReply(EtcdMessage, frozen=True):
    header: Header = Header()
    member: EtcdMember | None = None
    """The one that was added."""
    members: list[EtcdMember] = []


class SnapshotReply(EtcdMessage, frozen=True):
    remaining_bytes: int = 0
    blob: bytes = b""


class Failure(EtcdMessage, frozen=True):
    """A refused call."""

    message: str = ""
    error: str = ""
    code: int = 2


class StreamFailure(EtcdMessage, frozen=True):
    message: str = ""
    grpc_code: int = 2


class Streamed(EtcdMessage, Generic[T], frozen=True):
    """One line of a stream."""

    result: T | None = None
    error: StreamFailure | None = None
