"""The patterns of ``${v#p}``, ``${v%p}`` and ``${v/p/x}``: ``*`` is any text, ``?`` any character.

Not regular expressions: ``*a*a*a*b`` would keep one busy for ever, and a Dockerfile is somebody
else's text. All the ends that a match may have are the bits of one number, moved on by each part of
the pattern: that costs no more than the text's length times the pattern's.
"""

from __future__ import annotations

from collections.abc import Iterator

_ANY_TEXT, _ANY_CHARACTER = object(), object()


class Pattern:
    """One pattern. ``escape`` before a character takes it as it is."""

    def __init__(self, text: str, escape: str) -> None:
        self._parts: list[object] = []
        at = 0
        while at < len(text):
            char = text[at]
            if char == escape and at + 1 < len(text):
                at += 1
                self._parts.append(text[at])
            else:
                self._parts.append({"*": _ANY_TEXT, "?": _ANY_CHARACTER}.get(char, char))
            at += 1

    def without_prefix(self, value: str, *, longest: bool) -> str:
        """``value`` without the shortest or longest beginning that fits."""
        return value[_length(self._ends(value, _places(value), self._parts), longest) :]

    def without_suffix(self, value: str, *, longest: bool) -> str:
        """The same at the end."""
        back = value[::-1]
        ends = self._ends(back, _places(back), self._parts[::-1])
        return value[: len(value) - _length(ends, longest)]

    def replaced(self, value: str, by: str, *, everywhere: bool) -> str:
        """``by`` for the first part of ``value`` that fits, or for all; each as long as it can be.
        An empty part fits nothing."""
        places = _places(value)
        out, at = [], 0
        while at < len(value):
            end = at + _length(self._ends(value, places, self._parts, at), longest=True)
            if end == at:
                out.append(value[at])
                at += 1
                continue
            out.append(by)
            at = end
            if not everywhere:
                break
        return "".join((*out, value[at:]))

    @staticmethod
    def _ends(
        value: str, places: dict[str, int], parts: list[object], start: int = 0
    ) -> Iterator[int]:
        """The lengths that a match from ``start`` may have, shortest first."""
        whole = (1 << (len(value) + 1)) - 1
        ends = 1 << start
        for part in parts:
            if part is _ANY_TEXT:
                ends = -(ends & -ends) & whole if ends else 0
            elif part is _ANY_CHARACTER:
                ends = (ends << 1) & whole
            else:
                ends = (ends & places.get(str(part), 0)) << 1
        ends >>= start
        while ends:
            yield (ends & -ends).bit_length() - 1
            ends &= ends - 1


def _places(value: str) -> dict[str, int]:
    """Character -> where it is, as bits."""
    found: dict[str, int] = {}
    for at, char in enumerate(value):
        found[char] = found.get(char, 0) | 1 << at
    return found


def _length(ends: Iterator[int], longest: bool) -> int:
    if longest:
        return max(ends, default=0)
    return next(ends, 0)
