"""How Docker's API tells of errors: which statuses differ from the table of ``sampan.http.status``,
and the sentence that the client reads. An error that is not a ``SampanError`` is a bug:
the client reads one sentence, the log has the traceback.
"""

from __future__ import annotations

import asyncio
import errno
import logging

import msgspec

from sampan import errors
from sampan.cluster.contract import OutOfSequence
from sampan.http.status import NoSuchRoute, Statuses
from sampan.network.contract import NoSubnetLeft

log = logging.getLogger(__name__)

STATUSES = Statuses(
    {
        # Clients know no 507; dockerd reports a full disk or a used-up pool as 500.
        errors.Exhausted: 500,
        # Nothing is broken: networks are in the way, which the user can remove.
        NoSubnetLeft: 409,
        # dockerd passes on what its store says without having understood it
        OutOfSequence: 500,
    }
)

INTERNAL = "internal error in sampand: the daemon's log has the details"


def status_of(error: BaseException) -> int:
    """HTTP status of an error."""
    return STATUSES.of(error)


def sentence_of(error: BaseException) -> str:
    """What the client reads. A surprise is logged with its traceback here."""
    if isinstance(error, NoSuchRoute):
        return "page not found"  # which clients look for
    if isinstance(error, errors.SampanError):
        if isinstance(error, errors.Internal):
            # A subclass is a failure of the host that somebody has foreseen and has a sentence for.
            surprise = type(error) is errors.Internal
            log.error("internal error: %s", error, exc_info=error if surprise else None)
        return str(error) or INTERNAL
    if isinstance(error, msgspec.ValidationError):
        return f"invalid JSON: {error}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" of {error.filename}" if error.filename else ""
        return f"no space left on the disk{where}: free some and try again"
    log.error("unexpected error", exc_info=error)
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where} ({INTERNAL})"
    if isinstance(error, asyncio.TimeoutError):
        return f"timed out ({INTERNAL})"
    return INTERNAL
