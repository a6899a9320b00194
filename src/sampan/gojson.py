"""JSON as programs in Go read it.

Names match whatever their case, and null stands for "not said". Docker's clients and plugins were
only ever tested against programs in Go, and some rely on both. Of a list and of a map null is an
item all the same: the zero value of its type, as ``{"/data": null}`` among volumes, or docker-py's
``{"EndpointsConfig": {"net": null}}``.
"""

from __future__ import annotations

import types
from functools import lru_cache
from typing import Any, Union, get_args, get_origin

import msgspec
from msgspec import UnsetType, structs


def spelled(value: Any, kind: Any) -> Any:
    """``value`` (of ``json.decode``) with the names that ``kind`` has for them, for
    ``msgspec.convert``. Fields that are null or that ``kind`` does not have are left out."""
    if isinstance(value, dict):
        fields = _fields(kind)
        if fields is None:
            inner = _inner(kind, 1)
            return {key: _item(item, inner) for key, item in value.items()}
        found = {}
        for key, item in value.items():
            known = fields.get(key.lower())
            if known is not None and item is not None:
                found[known[0]] = spelled(item, known[1])
        return found
    if isinstance(value, list):
        inner = _inner(kind, 0)
        return [_item(item, inner) for item in value]
    return value


def _item(value: Any, kind: Any) -> Any:
    """Of a list or a map: null is the zero value of ``kind``, where that does not know null."""
    return spelled(value if value is not None else _zero(kind), kind)


def _zero(kind: Any) -> Any:
    choices = _choices(kind)
    if Any in choices or type(None) in choices or object in choices:
        return None
    for one in choices:
        base = get_origin(one) or one
        if isinstance(base, type):
            if issubclass(base, (str, bool, int, float)):
                return base()
            if issubclass(base, (dict, msgspec.Struct)):
                return {}
            if issubclass(base, (list, tuple, set, frozenset)):
                return []
    return None


@lru_cache(maxsize=1024)
def _fields(kind: Any) -> dict[str, tuple[str, Any]] | None:
    """Lower-case name -> name on the wire and type; None: not a struct."""
    for one in _choices(kind):
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            return {f.encode_name.lower(): (f.encode_name, f.type) for f in structs.fields(one)}
    return None


@lru_cache(maxsize=1024)
def _inner(kind: Any, position: int) -> Any:
    """Type of the items of a list (0) or of the values of an object (1)."""
    for one in _choices(kind):
        arguments = [inner for inner in get_args(one) if inner is not Ellipsis]
        if arguments:
            return arguments[min(position, len(arguments) - 1)]
    return Any


def _choices(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(one for one in get_args(kind) if one is not UnsetType)
    return (kind,)
