"""What etcd can refuse, as types: by what the caller should do next.

Unavailable
├── Unreachable     nothing was sent: try again
└── NoAnswer        sent, and no answer: whether it was done is unknown
LeaderUnknown       the member answered that it has no leader; nothing was done
Compacted           history is gone: load everything
LeaseGone           the lease ran out: take a new one
MemberNotReady      a learner that has not caught up: promote it later
QuorumAtRisk        the change of members would cost the quorum
"""

from __future__ import annotations

from sampan.cluster.etcd.wire import Failure
from sampan.errors import (
    Conflict,
    Exhausted,
    Internal,
    InvalidArgument,
    NotFound,
    SampanError,
    Unavailable,
)


class Unreachable(Unavailable):
    """The member takes no connections: it is starting, or dead."""


class NoAnswer(Unavailable):
    """No answer in time, or the connection broke under way. What was asked may yet be done."""


class LeaderUnknown(Unavailable):
    """The member knows of no leader and did nothing."""


class Compacted(NotFound):
    """Revisions before ``revision`` (0: not said) are gone."""

    def __init__(self, message: str, revision: int = 0) -> None:
        super().__init__(message)
        self.revision = revision


class LeaseGone(NotFound):
    pass


class NoSuchMember(NotFound):
    pass


class MemberNotReady(Conflict):
    """The learner is not in step with its leader yet."""


class MemberExists(Conflict):
    pass


class QuorumAtRisk(Conflict):
    """Not enough healthy members for this change of members."""


class TooLarge(InvalidArgument):
    """More operations or bytes than one transaction may have."""


class StoreFull(Exhausted):
    pass


_BY_TEXT: tuple[tuple[str, type[SampanError]], ...] = (
    ("has been compacted", Compacted),
    ("requested lease not found", LeaseGone),
    ("member not found", NoSuchMember),
    ("can only promote a learner member which is in sync with leader", MemberNotReady),
    ("too many learner members", QuorumAtRisk),
    ("unhealthy cluster", QuorumAtRisk),
    ("re-configuration failed due to not enough started members", QuorumAtRisk),
    ("Peer URLs already exists", MemberExists),
    ("member ID already exist", MemberExists),
    ("database space exceeded", StoreFull),
    ("too many operations in txn request", TooLarge),
    ("request is too large", TooLarge),
    ("no leader", LeaderUnknown),
    ("raft proposal dropped", LeaderUnknown),
    ("not leader", LeaderUnknown),
    ("request timed out", NoAnswer),
    ("server stopped", NoAnswer),
    ("connection", NoAnswer),
    ("too many requests", NoAnswer),
)
_UNAVAILABLE, _DEADLINE, _CANCELLED = 14, 4, 1


def refused(failure: Failure) -> SampanError:
    """The exception for a refusal that etcd put in words and a gRPC code."""
    text = failure.message or failure.error
    for part, kind in _BY_TEXT:
        if part in text:
            return kind(text)
    if failure.code in (_UNAVAILABLE, _DEADLINE, _CANCELLED):
        return NoAnswer(text)
    return Internal(f"etcd refused: {text} (code {failure.code})")
