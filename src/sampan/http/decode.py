"""JSON bodies, read as ``sampan.gojson`` says.

The common body has every name in its proper case and is decoded in one go. Only one that has not,
or that does not fit, is decoded as plain JSON and spelled anew, which costs some ten times as much.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, TypeVar, cast, get_args

import msgspec
from msgspec import structs

from sampan.errors import InvalidArgument
from sampan.gojson import spelled

T = TypeVar("T")

LONGEST_NAME = 64
"""A field of ours has no longer one, so that what is longer needs no looking at."""
_NAMES = re.compile(rb'"(\w{1,%d}+)"\s*+:' % LONGEST_NAME, re.ASCII)
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""An escape that is not escaped itself."""
_LARGE = re.compile(rb"[:\[,]\s{0,64}-?[0-9]{19}")
"""What may be a number beyond 64 bits, or a text that looks like it."""
_PIECE = 1 << 16
"""Bytes looked through in one go: some 0.5 ms with the interpreter's lock."""
_plain = msgspec.json.Decoder().decode


def decode(raw: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """``raw`` as the type of ``decoder``.

    Raises:
        InvalidArgument: not JSON, nested too deeply, a string with a NUL in it, or a field of a
        wrong type (named by its path).
    """
    if b"\\u0000" in raw and _NUL.search(raw):
        # No name, path or text of ours has one: C ends its strings with it.
        raise InvalidArgument("invalid JSON: a string has a NUL character (\\u0000): leave it out")
    try:
        if _has_large(raw):
            _check_numbers(_plain(raw))
        proper, loose = _words(cast(Any, decoder.type))
        names = _names(raw) - proper
        if not names or loose.isdisjoint(name.lower() for name in names):
            try:
                return decoder.decode(raw)
            except msgspec.ValidationError:
                if b"null" not in raw:
                    raise
        return msgspec.convert(spelled(_plain(raw), decoder.type), decoder.type)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # ValidationError is one
        raise InvalidArgument(f"invalid JSON: {error}") from error
    except RecursionError as error:
        raise InvalidArgument("invalid JSON: nested too deeply") from error


def _has_large(raw: bytes) -> bool:
    return any(
        _LARGE.search(raw, at, at + _PIECE + 128) is not None for at in range(0, len(raw), _PIECE)
    )


def _check_numbers(value: Any) -> None:
    """Raises InvalidArgument: one that no field of ours can hold; Python's can, and the kernel's
    cannot."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            _check_numbers(one)
    elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise InvalidArgument(f"invalid JSON: the number {str(value)[:40]} is out of range")


def _names(raw: bytes) -> set[bytes]:
    """Everything that may be a field's name."""
    found: set[bytes] = set()
    at = 0
    while at < len(raw):
        # What is a name ends with its colon, and has no other: none is cut in two.
        end = raw.find(b":", at + _PIECE) + 1 or len(raw)
        found.update(_NAMES.findall(raw, at, end))
        at = end
    return found


@lru_cache(maxsize=1024)
def _words(kind: Any) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """Every name of a field in ``kind`` and below it: as it is, and in lower case."""
    names: set[str] = set()
    seen: set[Any] = set()

    def walk(one: Any) -> None:
        if one in seen:
            return
        seen.add(one)
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            for known in structs.fields(one):
                names.add(known.encode_name)
                walk(known.type)
        for inner in get_args(one):
            if not isinstance(inner, (str, int)):
                walk(inner)

    walk(kind)
    return (
        frozenset(name.encode() for name in names),
        frozenset(name.lower().encode() for name in names),
    )
