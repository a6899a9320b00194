"""The grammar of ``.env`` files.

    # comment              KEY=value # comment      export KEY=value
    KEY='as it is'         KEY="with ${VARIABLES}, \\n and
    several lines"         KEY: value               KEY   (taken from the environment)

Unquoted and double-quoted values are interpolated with what stands above them in the file and with
the surrounding variables, which win; single-quoted ones are not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sampan.compose.errors import ComposeFileError, Where
from sampan.compose.file.interpolate import substitute
from sampan.errors import InvalidArgument

_KEY = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "b": "\b", "a": "\a", "v": "\v"}


def parse(text: str, file: str, outside: Mapping[str, str]) -> dict[str, str | None]:
    """Variables in the order of the file; None for a key without ``=`` that ``outside`` lacks.

    Raises:
        ComposeFileError: a line that is neither a comment nor an assignment, an open quote, or
            a substitution that cannot be done.
    """
    found: dict[str, str | None] = {}
    at = 0
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    while at < len(text):
        end = _line_end(text, at)
        line = text[at:end]
        where = Where(file, text.count("\n", 0, at) + 1)
        if not line.strip() or line.lstrip().startswith("#"):
            at = end + 1
            continue
        match = _KEY.match(line)
        if not match:
            raise ComposeFileError(where, f"expected NAME=VALUE, not {line.strip()!r}")
        key, rest = match[1], line[match.end() :]
        if not rest or rest.startswith("#"):
            found[key] = outside.get(key)
            at = end + 1
            continue
        if rest[0] not in "=:":
            raise ComposeFileError(where, f'after "{key}" comes "=", not {rest[0]!r}')
        start = at + match.end() + 1
        while start < end and text[start] in " \t":
            start += 1
        try:
            found[key], at = _value(text, start, end, {**_known(found), **outside})
        except InvalidArgument as error:
            raise ComposeFileError(where, f"{key}: {error}") from None
    return found


def _known(found: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in found.items() if value is not None}


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _value(text: str, start: int, end: int, variables: Mapping[str, str]) -> tuple[str, int]:
    """The value that begins at ``start``, and where the next line begins."""
    quote = text[start : start + 1]
    if quote not in ("'", '"') or start >= end:
        raw = text[start:end]
        comment = re.search(r"(^|[ \t])#", raw)
        if comment:
            raw = raw[: comment.start()]
        return substitute(raw.rstrip(), variables), end + 1
    raw, close = _quoted(text, start + 1, quote)
    after = text[close : _line_end(text, close)].strip()
    if after and not after.startswith("#"):
        raise InvalidArgument(f"after the closing quote comes {after!r}: nothing may follow it")
    value = raw if quote == "'" else substitute(raw, variables)
    return value, _line_end(text, close) + 1


def _quoted(text: str, at: int, quote: str) -> tuple[str, int]:
    """What is between quotes, and the place behind the closing one. It may span lines."""
    out: list[str] = []
    while at < len(text):
        char = text[at]
        if char == quote:
            return "".join(out), at + 1
        if char == "\\" and at + 1 < len(text):
            following = text[at + 1]
            if following == quote or (quote == '"' and following == "\\"):
                out.append(following)
            elif quote == '"' and following == "$":
                out.append("$$")  # an escaped dollar sign must survive the substitution
            elif quote == '"' and following in _ESCAPES:
                out.append(_ESCAPES[following])
            else:
                out.append(char + following)
            at += 2
            continue
        out.append(char)
        at += 1
    raise InvalidArgument(f"the closing {quote} is missing")
