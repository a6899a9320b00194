"""JSON as programs in Go read it.

Names match whatever their case, and null stands for "not said". Docker's clients and plugins were
only ever tested against programs in Go, and some rely on both.
"""

from __future__ import annotations

import types
from functools import cache
from typing import Any, Union, get_args, get_origin

import msgspec
from msgspec import structs


def spelled(value: Any, kind: Any) -> Any:
    """``value`` (of ``json.decode``) with the names that ``kind`` has for them, without nulls, for
    ``msgspec.convert``. Names that ``kind`` does not have are left out."""
    if isinstance(value, dict):
        fields = _fields(kind)
        if fields is None:
            inner = _inner(kind, 1)
            return {k: spelled(v, inner) for k, v in value.items() if v is not None}
        known: dict[str, Any] = {}
        for key, item in value.items():
            if item is None:
                continue
            field = fields.get(key.lower())
            if field is not None:
                known[field[0]] = spelled(item, field[1])
        return known
    if isinstance(value, list):
        inner = _inner(kind, 0)
        return [spelled(item, inner) for item in value if item is not None]
    return value


@cache
def _fields(kind: Any) -> dict[str, tuple[str, Any]] | None:
    """Lower-case name -> name on the wire and type; None: not a struct."""
    for one in _choices(kind):
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            return {f.encode_name.lower(): (f.encode_name, f.type) for f in structs.fields(one)}
    return None


@cache
def _inner(kind: Any, position: int) -> Any:
    """Type of the items of a list (0) or of the values of an object (1)."""
    for one in _choices(kind):
        arguments = get_args(one)
        if arguments:
            return arguments[min(position, len(arguments) - 1)]
    return Any


def _choices(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) in (Union, types.UnionType):
        return get_args(kind)
    return (kind,)
