"""Which files of a build's directory stay at home: ``.dockerignore``.

Pure: patterns and slash-separated relative paths in, answers out. A pattern is one of Go's
``filepath.Match`` plus ``**`` for any number of directories; it also takes everything below what
it matches. The last pattern that matches decides, and ``!`` brings a path back.
"""

from __future__ import annotations

import posixpath
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class BadPattern(ValueError):
    """A pattern that Go's matcher would refuse."""

    def __init__(self, pattern: str) -> None:
        super().__init__(f"the ignore pattern {pattern!r} is malformed")
        self.pattern = pattern


def read_patterns(text: str) -> list[str]:
    """The patterns of a ``.dockerignore`` file, cleaned: comments and empty lines are gone."""
    found = []
    for line in text.removeprefix("\ufeff").split("\n"):
        if line.startswith("#"):
            continue
        pattern = line.strip()
        if not pattern:
            continue
        back = pattern.startswith("!")
        if back:
            pattern = pattern[1:].strip()
        if pattern:
            pattern = posixpath.normpath(pattern)
            if pattern.startswith("//"):  # POSIX lets two slashes stand for something special
                pattern = pattern[1:]
            if len(pattern) > 1:
                pattern = pattern.removeprefix("/")
        found.append("!" + pattern if back else pattern)
    return found


class IgnoreRules:
    """A list of patterns, ready to be asked."""

    __slots__ = ("_backs", "_rules")

    def __init__(self, patterns: Iterable[str]) -> None:
        """``patterns`` as ``read_patterns`` answers them. Raises BadPattern."""
        self._rules: list[tuple[bool, re.Pattern[str]]] = []
        self._backs: list[list[str]] = []
        for pattern in patterns:
            back = pattern.startswith("!")
            plain = pattern[1:] if back else pattern
            if not plain:
                raise BadPattern(pattern)
            self._rules.append((back, _compile(plain)))
            if back:
                self._backs.append(plain.split("/"))

    def ignores(self, path: str) -> bool:
        """Whether ``path`` stays out; it may still have something below that does not."""
        parts = path.split("/")
        ways = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        ignored = False
        for back, pattern in self._rules:
            # A pattern can only change the answer in one direction: most need not be tried.
            if back == ignored and any(pattern.fullmatch(way) for way in ways):
                ignored = not back
        return ignored

    def prunes(self, directory: str) -> bool:
        """Whether the whole directory can be passed by: ignored, and nothing in it comes back."""
        return self.ignores(directory) and not any(
            _may_be_below(pattern, directory.split("/")) for pattern in self._backs
        )


def _may_be_below(pattern: list[str], directory: list[str]) -> bool:
    """Whether a path that ``pattern`` matches can lie in ``directory``."""
    for position, part in enumerate(directory):
        if position >= len(pattern):
            return True  # the pattern matches a parent, and so everything below
        if "**" in pattern[position]:
            return True
        if not _compile(pattern[position]).fullmatch(part):
            return False
    return True


def _compile(pattern: str) -> re.Pattern[str]:
    """Translate to a regular expression for ``fullmatch``. Raises BadPattern."""
    out = []
    at, size = 0, len(pattern)
    while at < size:
        char = pattern[at]
        at += 1
        if char == "*":
            if not pattern.startswith("*", at):
                out.append("[^/]*")
                continue
            at += 1
            if pattern.startswith("/", at):
                at += 1
            # At the end everything below matches; in front of a name any number of directories.
            out.append(".*" if at >= size else "(?:.*/)?")
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            piece, at = _character_class(pattern, at)
            out.append(piece)
        elif char == "\\":
            if at >= size:
                raise BadPattern(pattern)
            out.append(re.escape(pattern[at]))
            at += 1
        else:
            out.append(re.escape(char))
    try:
        return re.compile("".join(out), re.DOTALL)
    except re.error as error:
        raise BadPattern(pattern) from error


def _character_class(pattern: str, at: int) -> tuple[str, int]:
    """The class that starts behind ``[``: (regular expression, position behind ``]``)."""
    negated = pattern.startswith("^", at)
    if negated:
        at += 1
    ranges: list[str] = []
    while not (ranges and pattern.startswith("]", at)):
        low, at = _class_char(pattern, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _class_char(pattern, at + 1)
        # Go lets a reversed range match nothing; a regular expression would not compile.
        ranges.append(f"{re.escape(low)}-{re.escape(high)}" if low <= high else "")
    inside = "".join(ranges)
    if negated:
        return f"[^/{inside}]", at + 1
    return (f"(?!/)[{inside}]" if inside else "(?!)"), at + 1


def _class_char(pattern: str, at: int) -> tuple[str, int]:
    if at >= len(pattern) or pattern[at] in "-]":
        raise BadPattern(pattern)
    if pattern[at] == "\\":
        at += 1
        if at >= len(pattern):
            raise BadPattern(pattern)
    if at + 1 >= len(pattern):
        raise BadPattern(pattern)  # the closing bracket is missing
    return pattern[at], at + 1
