"""Bodies of the cluster's endpoints, read as Go reads them.

Names match whatever their case, and null stands for "not said": clients were only ever tested
against a server in Go, and some rely on both.
"""

from __future__ import annotations

import re
import types
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import structs

from sampan.api.call import Call
from sampan.errors import InvalidArgument

T = TypeVar("T", bound=msgspec.Struct)

_RAW = msgspec.json.Decoder(dict[str, Any])
_BAD_WORD = re.compile(r"Invalid enum value ['\"](.*)['\"] - at `\$\.?(?:.*\.)?(\w*)`", re.DOTALL)
_SENTENCES = {
    "FailureAction": "unrecognized update failure action {}",
    "Mode": 'invalid resolution mode: "{}"',
    "Order": "unrecognized update order {}",
}
"""Docker's own for a word that a field does not know; of other fields it says ``invalid NAME``."""


async def body(call: Call, kind: type[T], *, needs: tuple[str, ...] = ()) -> T:
    """The body as a ``kind``. ``needs`` are wire names that must be there.

    Raises:
        InvalidArgument: not JSON, a field of a wrong type (named by its path), one missing.
    """
    return read(await call.body(_RAW), kind, needs=needs)


def read(raw: dict[str, Any], kind: type[T], *, needs: tuple[str, ...] = ()) -> T:
    """The same from an object that was read already."""
    plain = _spelled(raw, kind)
    for name in needs:
        if plain.get(name) in (None, ""):
            raise InvalidArgument(f'invalid {name}: ""')
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        raise InvalidArgument(_in_dockers_words(str(error))) from error


def _in_dockers_words(said: str) -> str:
    found = _BAD_WORD.fullmatch(said)
    if found is None:
        return f"invalid JSON: {said}"
    word, field = found.groups()
    return _SENTENCES.get(field, f'invalid {field}: "{{}}"').format(word)


def _spelled(value: Any, kind: Any) -> Any:
    """``value`` with the names that ``kind`` has for them, without nulls."""
    if isinstance(value, dict):
        fields = _fields(kind)
        if fields is None:
            inner = _inner(kind, 1)
            return {k: _spelled(v, inner) for k, v in value.items() if v is not None}
        spelled = {}
        for key, item in value.items():
            if item is None:
                continue
            known = fields.get(key.lower())
            if known is not None:
                spelled[known[0]] = _spelled(item, known[1])
        return spelled
    if isinstance(value, list):
        inner = _inner(kind, 0)
        return [_spelled(item, inner) for item in value if item is not None]
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
