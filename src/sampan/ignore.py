"""Which files of a build context stay out of it: ``.dockerignore``.

The daemon and the client both apply it and must never disagree, so this is the one copy; it
imports next to nothing because the command line pays for every import.

The rules: Go's ``filepath.Match`` wildcards plus ``**`` for any number of directories, a leading
``!`` brings back, the last matching line wins, and a directory's verdict holds for all beneath it
unless a later line says otherwise.
"""

from __future__ import annotations

import os.path
import re

from sampan.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_BOM = "\ufeff"


class BadIgnorePattern(InvalidArgument):
    """A line of ``.dockerignore`` is not a pattern."""


class Ignore:
    """The lines of one ``.dockerignore``, compiled."""

    def __init__(
        self, lines: Iterable[str], *, source: str = ".dockerignore", always: Iterable[str] = ()
    ) -> None:
        """``source`` is the file's name in messages; the paths ``always`` (names, not patterns)
        are kept whatever the lines say.

        Raises:
            BadIgnorePattern: a line has an unclosed ``[``, a trailing backslash or is a bare ``!``.
        """
        self._rules = [
            rule
            for number, line in enumerate(lines, 1)
            if (rule := _Rule.of(line, f"{source}:{number}", first=number == 1)) is not None
        ]
        if self._rules:
            self._rules += [_Rule(_literal(name), True) for name in always]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def excludes(self, path: str) -> bool:
        """Is ``path`` (relative to the context, '/'-separated, no leading './') left out?"""
        excluded = False
        for rule in self._rules:
            # A line that could not change the verdict is not even tried.
            if rule.back == excluded and rule.matches(path):
                excluded = not rule.back
        return excluded

    def may_skip_dir(self, path: str) -> bool:
        """Is the directory ``path`` left out, and can nothing beneath it be brought back?"""
        excluded, later_back = False, list[_Rule]()
        for rule in self._rules:
            if rule.back:
                later_back.append(rule)
                if excluded and rule.matches(path):
                    excluded = False
            elif rule.matches(path):
                # What was brought back by an earlier line is excluded again with the directory.
                excluded, later_back = True, []
        return excluded and not any(rule.reaches_below(path) for rule in later_back)


class _Rule:
    """One line: ``back`` is true for ``!pattern``."""

    def __init__(self, pattern: str, back: bool, where: str = "") -> None:
        self.back = back
        self._pattern = pattern
        # Matching a parent is as good as matching the path itself.
        self._match = re.compile(translate(pattern, where) + r"(?:/.*)?", re.DOTALL).fullmatch

    @classmethod
    def of(cls, line: str, where: str, *, first: bool) -> _Rule | None:
        if first:
            line = line.removeprefix(_BOM)
        if line.startswith("#") or not (line := line.strip()):
            return None
        back = line.startswith("!")
        if back and not (line := line[1:].strip()):
            raise BadIgnorePattern(
                f'{where}: illegal exclusion pattern: "!": name what to bring back'
            )
        return cls(os.path.normpath(line).lstrip("/"), back, where)

    def matches(self, path: str) -> bool:
        return self._match(path) is not None

    def reaches_below(self, directory: str) -> bool:
        """Could something strictly beneath ``directory`` match? Errs on the side of yes."""
        theirs = directory.split("/")
        for depth, part in enumerate(self._pattern.split("/")):
            if depth >= len(theirs) or "**" in part:
                return True
            try:
                if not re.fullmatch(translate(part), theirs[depth]):
                    return False
            except BadIgnorePattern:
                return True  # a character class with a slash in it
        return False


def translate(pattern: str, where: str = "") -> str:
    """The regular expression (to be full-matched, DOTALL) of one cleaned pattern.

    Raises:
        BadIgnorePattern: it says ``where`` the pattern stands.
    """
    out: list[str] = []
    at, end = 0, len(pattern)
    while at < end:
        char = pattern[at]
        at += 1
        if char == "*":
            if not pattern.startswith("*", at):
                out.append("[^/]*")
                continue
            at += 1
            if pattern.startswith("/", at):
                at += 1
            out.append(".*" if at >= end else "(?:.*/)?")
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            part, at = _char_class(pattern, at, where)
            out.append(part)
        elif char == "\\":
            if at >= end:
                raise _bad(pattern, where)
            out.append(re.escape(pattern[at]))
            at += 1
        else:
            out.append(re.escape(char))
    return "".join(out)


def _char_class(pattern: str, at: int, where: str) -> tuple[str, int]:
    """The class that starts after ``[`` at ``at``: its expression and where it ends."""
    negated = pattern.startswith("^", at)
    at += negated
    ranges: list[str] = []
    while not (ranges and pattern.startswith("]", at)):
        low, at = _class_char(pattern, at, where)
        high = low
        if pattern.startswith("-", at):
            high, at = _class_char(pattern, at + 1, where)
        # A reversed range matches nothing, and says so in no regular expression's syntax.
        if low <= high:
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            ranges.append("")
    body = "".join(ranges)
    if negated:
        return f"[^/{body}]", at + 1
    return (f"(?!/)[{body}]" if body else "(?!)"), at + 1


def _class_char(pattern: str, at: int, where: str) -> tuple[str, int]:
    if pattern.startswith("\\", at):
        at += 1
    elif at < len(pattern) and pattern[at] in "-]":
        raise _bad(pattern, where)
    if at >= len(pattern):
        raise _bad(pattern, where)
    return pattern[at], at + 1


def _literal(name: str) -> str:
    """A pattern that matches exactly ``name``."""
    return "".join("\\" + char if char in "*?[\\" else char for char in name)


def _bad(pattern: str, where: str) -> BadIgnorePattern:
    return BadIgnorePattern(
        f"{where}{': ' if where else ''}syntax error in pattern {pattern!r}: close every '[' and "
        "escape with '\\' only what follows it"
    )
