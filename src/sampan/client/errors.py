"""What can go wrong between a command and the daemon.

SampanError
├── ApiError            the daemon answered, and the answer is no (``status``, ``message``)
│   ├── NotFound        404
│   ├── Conflict        409
│   └── NotModified     304
├── StreamFailed        the answer began well and reported an error on its way (pull, build)
├── Unreachable         nobody answers, or not to you
└── ProtocolError       the other side does not speak HTTP as we know it, or hung up half way
"""

from __future__ import annotations

from sampan.errors import Conflict as ConflictError
from sampan.errors import NotFound as NotFoundError
from sampan.errors import NotModified as NotModifiedError
from sampan.errors import SampanError, Unavailable


class ApiError(SampanError):
    """The daemon refused; ``str(error)`` is the daemon's own sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class NotFound(ApiError, NotFoundError):
    """404: no such object."""


class Conflict(ApiError, ConflictError):
    """409: the object's state (or a name that is taken) excludes the request."""


class NotModified(ApiError, NotModifiedError):
    """304: it already is as asked."""


class StreamFailed(SampanError):
    """An error inside of a progress stream, which began with status 200.

    ``code`` is the exit code of the step that failed, where the daemon says it (build), else 0.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class Unreachable(Unavailable):
    """No daemon at that address, or no permission to talk to it."""


class ProtocolError(Unavailable):
    """The answer is not HTTP/1.1 as we know it, or ended in the middle."""


_BY_STATUS: dict[int, type[ApiError]] = {304: NotModified, 404: NotFound, 409: Conflict}


def api_error(status: int, message: str) -> ApiError:
    """The exception for a status of 300 or more."""
    return _BY_STATUS.get(status, ApiError)(status, message)
