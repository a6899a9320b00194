"""The shapes that arguments come in: flags, JSON or shell form, NAME=VALUE pairs, durations."""

from __future__ import annotations

import difflib
import json
import re

from sampan import units
from sampan.build.dockerfile.instructions import Command

STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*")
_FLAG = re.compile(r"--([A-Za-z][A-Za-z0-9-]*)(?:=(\"[^\"]*\"|'[^']*'|\S*))?(?=\s|$)")
_HEREDOC_WORD = re.compile(r"\d*<<-?['\"]?([^'\"<\s]+)['\"]?")
_KNOWN_FLAGS = (
    *("from", "chown", "chmod", "link", "platform", "mount", "network", "security", "checksum"),
    *("interval", "timeout", "start-period", "start-interval", "retries"),
)
_NOT_YET = frozenset(("parents", "exclude", "keep-git-dir", "unpack"))


class Malformed(ValueError):
    """What is wrong with one instruction's arguments; the caller knows file and line."""


class Flags:
    """``--name=value`` words before the arguments. Each is taken once; what is left is wrong."""

    def __init__(self, given: list[tuple[str, str | None]]) -> None:
        self._given = given

    def take(self, name: str, default: str = "") -> str:
        """The value of a flag that may be given once."""
        values = self.take_all(name)
        if len(values) > 1:
            raise Malformed(f"duplicate flag specified: {name}")
        return values[0] if values else default

    def take_all(self, name: str) -> tuple[str, ...]:
        """Every value of a flag that may be repeated."""
        values: list[str] = []
        for flag, value in self._given:
            if flag == name:
                if not value:
                    raise Malformed(f"missing a value on flag: --{name}: write --{name}=VALUE")
                values.append(value)
        self._given = [item for item in self._given if item[0] != name]
        return tuple(values)

    def take_bool(self, name: str) -> bool:
        values = [value for flag, value in self._given if flag == name]
        self._given = [item for item in self._given if item[0] != name]
        if values and values[-1] not in (None, "true", "false"):
            raise Malformed(f"expecting boolean value for flag --{name}, not: {values[-1]}")
        return bool(values) and values[-1] != "false"

    def done(self, keyword: str) -> None:
        """Raises Malformed when a flag is left that ``keyword`` does not know."""
        for name, _ in self._given:
            if name in _NOT_YET:
                raise Malformed(f"{keyword} --{name} is not supported yet")
            near = difflib.get_close_matches(name, _KNOWN_FLAGS, n=1)
            hint = f" (did you mean --{near[0]}?)" if near and near[0] != name else ""
            raise Malformed(f"unknown flag: --{name} for {keyword}{hint}")


def flags(rest: str) -> tuple[Flags, str]:
    """Split leading flags off."""
    given: list[tuple[str, str | None]] = []
    while (match := _FLAG.match(rest)) is not None:
        value = match[2]
        if value is not None and value[:1] in ('"', "'"):
            value = value[1:-1]
        given.append((match[1], value))
        rest = rest[match.end() :].lstrip()
    if rest.startswith("-- "):
        rest = rest[3:].lstrip()
    return Flags(given), rest


def _json_strings(rest: str) -> tuple[str, ...] | None:
    """The JSON form; None when it is no JSON list at all, which makes it shell form."""
    if not rest.startswith("["):
        return None
    try:
        value = json.loads(rest)
    except ValueError:
        return None
    if not isinstance(value, list):
        return None
    if not all(isinstance(item, str) for item in value):
        raise Malformed("when using JSON array syntax, arrays must be comprised of strings only")
    return tuple(value)


def command(rest: str) -> Command:
    """Exec form, or else one string for the shell."""
    args = _json_strings(rest)
    if args is not None:
        return Command(args, shell=False)
    return Command((rest,) if rest else (), shell=bool(rest))


def strings_or_words(rest: str) -> tuple[str, ...]:
    """JSON list, or words between white space (quotes mean nothing: use JSON for spaces)."""
    args = _json_strings(rest)
    return tuple(rest.split()) if args is None else args


def heredoc_name(word: str) -> str:
    """The delimiter of ``<<NAME``, or empty."""
    match = _HEREDOC_WORD.fullmatch(word)
    return match[1] if match else ""


def quoted_words(rest: str, escape: str) -> list[str]:
    """Words between white space, where quotes and escapes hold a word together (and stay on)."""
    words: list[str] = []
    word, quote, at = "", "", 0
    while at < len(rest):
        char = rest[at]
        at += 1
        if char == escape and quote != "'" and at < len(rest):
            word += char + rest[at]
            at += 1
        elif quote:
            word += char
            if char == quote:
                quote = ""
        elif char in " \t":
            if word:
                words.append(word)
            word = ""
        else:
            word += char
            if char in "'\"":
                quote = char
    if word:
        words.append(word)
    return words


def pairs(rest: str, escape: str, keyword: str) -> tuple[tuple[str, str], ...]:
    """``a=b c="d e"`` or, the old form, ``a the rest``. Values keep their quotes: replacing
    variables takes them off."""
    words = quoted_words(rest, escape)
    if not words:
        raise Malformed(f"{keyword} requires at least one argument")
    if "=" not in words[0]:
        old = rest.split(None, 1)
        if len(old) < 2:
            raise Malformed(f"{keyword} must have two arguments: write {keyword} {old[0]}=VALUE")
        return ((old[0], old[1]),)
    found: list[tuple[str, str]] = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise Malformed(
                f"Syntax error - can't find = in {word!r}. Must be of the form: name=value"
            )
        if not name:
            raise Malformed(f"{keyword} names can not be blank")
        found.append((name, value))
    return tuple(found)


def duration_ns(text: str, flag: str) -> int:
    """``1m30s`` in nanoseconds; empty is 0 (the default). At least 1 ms, as Docker asks."""
    if text in ("", "0", "0s"):
        return 0
    try:
        total = units.duration_ns(text)
    except ValueError:
        raise Malformed(f"invalid duration {text!r} for {flag}: write 30s, 1m30s, 500ms") from None
    if total < 10**6:
        raise Malformed(f"Interval {flag!r} cannot be less than 1ms")
    return total
