"""Errors on their way from one node to another: category and sentence, nothing of the inside."""

from __future__ import annotations

import json
from urllib.parse import quote, unquote

import msgspec

from sampan import errors
from sampan.cluster.peer.contract import NotMember
from sampan.http.status import CATEGORIES, Statuses

ERROR_TYPE = "application/vnd.sampan.error+json"
ERROR_HEADER = "x-sampan-error"
"""Where a refused WebSocket says why: its body never reaches the caller."""

STATUSES = Statuses({errors.NotModified: 409})  # a 304 has no body
_KNOWN: dict[str, type[errors.SampanError]] = {kind.__name__: kind for kind in CATEGORIES}


def travels(kind: type[errors.SampanError]) -> type[errors.SampanError]:
    """Let ``kind``, which is made of its sentence alone, arrive as itself, not as its category."""
    assert _KNOWN.get(kind.__name__, kind) is kind, f"two errors are called {kind.__name__}"
    _KNOWN[kind.__name__] = kind
    return kind


travels(NotMember)


class WireError(msgspec.Struct, frozen=True):
    code: str
    message: str


def dump(error: Exception) -> tuple[int, bytes]:
    """HTTP status and body that tell of ``error``. What is not ours only says so."""
    if not isinstance(error, errors.SampanError):
        error = errors.Internal("the other node failed at this: its log says why")
    code = next(
        (k.__name__ for k in type(error).__mro__ if _KNOWN.get(k.__name__) is k), "Internal"
    )
    return STATUSES.of(error), msgspec.json.encode(WireError(code, str(error)))


def load(body: bytes) -> errors.SampanError:
    """The error that ``dump`` was given, as its category."""
    try:
        found = msgspec.json.decode(body, type=WireError)
    except msgspec.DecodeError:
        return errors.Internal("the other node answered with an error that is not understood")
    return _KNOWN.get(found.code, errors.Internal)(found.message)


def to_header(body: bytes) -> str:
    """An error's body as the value of a header."""
    return quote(json.dumps(json.loads(body)), safe=" ")[:8000]


def from_header(value: str) -> errors.SampanError:
    """The reverse of ``to_header``."""
    return load(unquote(value).encode())
