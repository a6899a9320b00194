"""What travels between the daemon and a plugin, without the travelling.

A call is ``POST /KIND.METHOD`` with a JSON body (none for a call without arguments); the answer is
200 with a JSON object whose ``Err`` is empty, or anything else with an error in it.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from sampan.gojson import spelled
from sampan.plugins.errors import BadAnswer, NoSuchMethod, PluginRefused

MEDIA_TYPE = "application/vnd.docker.plugins.v1.2+json"
"""Sent as ``Accept``, as Docker does, and as the type of a body, which Docker leaves out."""
ANSWER_LIMIT = 16 << 20
"""Bytes of an answer that is read as a whole."""
_SHOWN = 200
"""Characters of an answer that was not understood, in an error's sentence."""


class Answer(msgspec.Struct, frozen=True, rename="pascal", kw_only=True):
    """What every answer may have."""

    err: str = ""


class Manifest(Answer, frozen=True, rename="pascal", kw_only=True):
    """The answer to ``Plugin.Activate``."""

    implements: tuple[str, ...] | None = None


A = TypeVar("A", bound=Answer)

_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def encode(request: msgspec.Struct | None) -> bytes:
    """A call's body; nothing for a call without arguments."""
    return b"" if request is None else _encode(request)


def decode(plugin: str, method: str, status: int, body: bytes, kind: type[A]) -> A:
    """A call's answer.

    Raises:
        NoSuchMethod: 404.
        Refused: another status than 200, or an ``Err``.
        BadAnswer: 200, and not the JSON that this call answers with.
    """
    if status != 200:
        problem = refusal(status, body)
        raise (NoSuchMethod if status == 404 else PluginRefused)(plugin, method, problem)
    try:
        answer = msgspec.convert(spelled(_decode_object(body), kind), kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(
            plugin, method, f"the answer is not understood: {error}: {_shown(body)}"
        ) from error
    if answer.err:
        raise PluginRefused(plugin, method, answer.err)
    return answer


def refusal(status: int, body: bytes) -> str:
    """The words of an answer that is not 200: its ``Err``, or else what there is."""
    try:
        words = msgspec.convert(spelled(_decode_object(body), Answer), Answer).err
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        words = ""
    return words or _shown(body) or f"HTTP status {status}"


def _shown(body: bytes) -> str:
    text = " ".join(body[: 4 * _SHOWN].decode("utf-8", "replace").split())
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return printable if len(printable) <= _SHOWN else f"{printable[:_SHOWN]}..."
