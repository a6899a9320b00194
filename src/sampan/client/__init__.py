"""The API client that ``cli`` and ``compose`` share: synchronous, small, quick to import.

It knows nothing of the daemon's side and works against Docker's daemon as well.
"""

from sampan.client.client import Client
from sampan.client.connection import Hijacked, Response
from sampan.client.errors import (
    ApiError,
    Conflict,
    NotFound,
    NotModified,
    ProtocolError,
    StreamFailed,
    Unreachable,
)

__all__ = [
    "ApiError",
    "Client",
    "Conflict",
    "Hijacked",
    "NotFound",
    "NotModified",
    "ProtocolError",
    "Response",
    "StreamFailed",
    "Unreachable",
]
