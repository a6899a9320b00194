"""Bodies of the cluster's endpoints: what must be there, and errors in Docker's own words."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from sampan.api.docker_request import DockerRequest
from sampan.errors import InvalidArgument
from sampan.gojson import spelled

T = TypeVar("T", bound=msgspec.Struct)

_RAW = msgspec.json.Decoder(dict[str, Any])
_BAD_WORD = re.compile(r"Invalid enum value ['\"](.*)['\"] - at `\$\.?(?:.*\.)?(\w*)`", re.DOTALL)
_SENTENCES = {
    "FailureAction": "unrecognized update failure action {}",
    "Mode": 'invalid resolution mode: "{}"',
    "Order": "unrecognized update order {}",
}
"""Docker's own for a word that a field does not know; of other fields it says ``invalid NAME``."""


async def body(call: DockerRequest, kind: type[T], *, needs: tuple[str, ...] = ()) -> T:
    """The body as a ``kind``. ``needs`` are wire names that must be there.

    Raises:
        InvalidArgument: not JSON, a field of a wrong type (named by its path), one missing.
    """
    return read(await call.body(_RAW), kind, needs=needs)


def read(raw: dict[str, Any], kind: type[T], *, needs: tuple[str, ...] = ()) -> T:
    """The same from an object that was read already."""
    plain = spelled(raw, kind)
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
