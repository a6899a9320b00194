"""The one place where sampan's error categories become HTTP.

Nothing below ``sampan.api`` knows a status code. An error that is not a ``SampanError`` is a bug:
the client reads one sentence, the log has the traceback.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec

from sampan import errors
from sampan.cluster.contract import OutOfSequence

log = logging.getLogger(__name__)

STATUS: dict[type[BaseException], int] = {
    errors.NotModified: 304,
    errors.InvalidArgument: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Unsupported: 501,
    errors.Exhausted: 507,
    errors.Unavailable: 503,
    errors.Cancelled: 503,
    errors.Internal: 500,
    # dockerd passes on what its store says without having understood it
    OutOfSequence: 500,
}
_MOST_CODES = {507: 500}
"""Clients know no 507; dockerd reports a full disk or a used-up pool as 500."""

INTERNAL = "internal error in sampand: the daemon's log has the details"


class PageNotFound(errors.NotFound):
    """No such route; the sentence is what clients look for."""

    def __init__(self) -> None:
        super().__init__("page not found")


def status_of(error: BaseException) -> int:
    """HTTP status of an error: that of the nearest category among its classes."""
    for cls in type(error).__mro__:
        if (status := STATUS.get(cls)) is not None:
            return _MOST_CODES.get(status, status)
    return 500


def sentence_of(error: BaseException) -> str:
    """What the client reads. A surprise is logged with its traceback here."""
    if isinstance(error, errors.SampanError):
        if isinstance(error, errors.Internal):
            log.error("internal error", exc_info=error)
        return str(error) or INTERNAL
    if isinstance(error, msgspec.ValidationError):
        return f"invalid JSON: {error}"
    log.error("unexpected error", exc_info=error)
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where} ({INTERNAL})"
    if isinstance(error, asyncio.TimeoutError):
        return f"timed out ({INTERNAL})"
    return INTERNAL
