"""Variables in a Dockerfile's words: ``$v ${v} ${v:-x} ${v:+x} ${v:?x}``, the same without the
colon, ``${v#p} ${v##p} ${v%p} ${v%%p} ${v/p/x} ${v//p/x}``, quotes, escapes.

Docker's own little language, not a shell's: an undefined variable is empty, single quotes stop
replacement, an escape takes the next character as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sampan.build.dockerfile.patterns import Pattern
from sampan.errors import InvalidArgument

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-]")
_MODIFIERS = "-+?"


class BadSubstitution(InvalidArgument):
    """A ``${...}`` that makes no sense, or a quote that never ends."""


def expand(
    word: str, env: Mapping[str, str], *, escape: str = "\\", keep_quotes: bool = False
) -> str:
    """``word`` with variables replaced and quotes and escapes taken off.

    ``keep_quotes``: for heredoc bodies, where quotes are text and only variables count.

    Raises:
        BadSubstitution
    """
    if not keep_quotes and not any(char in word for char in ("$", "'", '"', escape)):
        return word
    return _Expander(word, env, escape, keep_quotes).until("")


class _Expander:
    def __init__(self, text: str, env: Mapping[str, str], escape: str, raw: bool) -> None:
        self._text, self._env, self._escape, self._raw = text, env, escape, raw
        self._at = 0

    def _trimmed(self, value: str, end: str) -> str:
        """Without the shortest part, or for a doubled sign the longest, that fits the pattern."""
        longest = self._text.startswith(end, self._at)
        self._at += longest
        pattern = Pattern(self.until("}", escapes=True), self._escape)
        if end == "#":
            return pattern.without_prefix(value, longest=longest)
        return pattern.without_suffix(value, longest=longest)

    def _replaced(self, value: str) -> str:
        everywhere = self._text.startswith("/", self._at)
        self._at += everywhere
        pattern = Pattern(self.until("/", escapes=True), self._escape)
        return pattern.replaced(value, self.until("}"), everywhere=everywhere)

    def until(self, stop: str, *, escapes: bool = False) -> str:
        """Consume up to (and with) the character ``stop``; ``""`` is the end of the text.
        ``escapes``: they stay, for who reads what is consumed as a pattern."""
        out: list[str] = []
        while self._at < len(self._text):
            char = self._take()
            if char == stop:
                return "".join(out)
            if char == "$":
                out.append(self._dollar())
            elif char == self._escape and escapes and self._at < len(self._text):
                out.append(char + self._take())
            elif char == self._escape:
                out.append(self._escaped())
            elif char == "'" and not self._raw:
                out.append(self._single())
            elif char == '"' and not self._raw:
                out.append(self._double())
            else:
                out.append(char)
        if stop:
            raise BadSubstitution(f"syntax error: missing '{stop}' in {self._text!r}")
        return "".join(out)

    def _take(self) -> str:
        char = self._text[self._at]
        self._at += 1
        return char

    def _escaped(self) -> str:
        if self._at == len(self._text):
            return self._escape  # a lone escape at the very end stands for itself
        char = self._take()
        if self._raw and char not in ("$", self._escape):
            return self._escape + char
        return char

    def _single(self) -> str:
        end = self._text.find("'", self._at)
        if end < 0:
            raise BadSubstitution(
                f"unexpected end of statement while looking for matching single-quote in "
                f"{self._text!r}"
            )
        part, self._at = self._text[self._at : end], end + 1
        return part

    def _double(self) -> str:
        out: list[str] = []
        while self._at < len(self._text):
            char = self._take()
            if char == '"':
                return "".join(out)
            if char == "$":
                out.append(self._dollar())
            elif char == self._escape and self._at < len(self._text):
                following = self._take()
                # Inside double quotes an escape is only one before these.
                if following not in ('"', "$", self._escape):
                    out.append(char)
                out.append(following)
            else:
                out.append(char)
        raise BadSubstitution(
            f"unexpected end of statement while looking for matching double-quote in {self._text!r}"
        )

    def _dollar(self) -> str:
        if self._text.startswith("{", self._at):
            self._at += 1
            return self._braced()
        match = _NAME.match(self._text, self._at)
        if match is None:
            return "$"
        self._at = match.end()
        return self._env.get(match[0], "")

    def _braced(self) -> str:
        match = _NAME.match(self._text, self._at)
        if match is None:
            raise BadSubstitution(f"bad substitution in {self._text!r}")
        self._at = match.end()
        name = match[0]
        value = self._env.get(name)
        if self._at == len(self._text):
            raise BadSubstitution(f"syntax error: missing '}}' in {self._text!r}")
        modifier = self._take()
        if modifier == "}":
            return value or ""
        if modifier in "#%":
            return self._trimmed(value or "", modifier)
        if modifier == "/":
            return self._replaced(value or "")
        empty_counts = modifier != ":"
        if not empty_counts and self._at < len(self._text):
            modifier = self._take()
        if modifier not in _MODIFIERS:
            raise BadSubstitution(
                f"unsupported modifier ({modifier}) in substitution in {self._text!r}: "
                "use one of :- :+ :? - + ? # ## % %% / //"
            )
        word = self.until("}")
        given = value is not None and (empty_counts or value != "")
        if modifier == "-":
            return value if given and value is not None else word
        if modifier == "+":
            return word if given else ""
        if not given:
            raise BadSubstitution(f"{name}: {word or 'is not allowed to be unset'}")
        return value or ""
