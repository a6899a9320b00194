"""A Dockerfile's physical lines become logical ones: directives, comments, continuations, heredocs.

Pure: text in, values out. What a logical line means is ``grammar``'s business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sampan.build.contract import DockerfileError

_DIRECTIVE = re.compile(r"#[ \t]*([A-Za-z][A-Za-z0-9]*)[ \t]*=[ \t]*(.+?)[ \t]*")
_KNOWN_DIRECTIVES = frozenset(("syntax", "escape", "check"))
_HEREDOC = re.compile(r"\d*<<(-?)(?:'([^'<\s]+)'|\"([^\"<\s]+)\"|([^<\s'\"]+))")
_TAKES_HEREDOCS = frozenset(("RUN", "COPY", "ADD"))
_BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class Heredoc:
    """``<<NAME`` and the lines up to ``NAME``."""

    name: str
    content: str
    """Newline-terminated unless empty; leading tabs gone when it was ``<<-``."""
    expand: bool
    """The delimiter was not quoted: variables in ``COPY``'s content are replaced."""
    raw: str
    """As written, delimiter line included: what a shell must see after the command."""


@dataclass(frozen=True, slots=True)
class Line:
    """One instruction's text, continuations joined."""

    number: int
    """Of its first physical line, from 1."""
    text: str
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    name: str
    """For error messages."""
    escape: str
    lines: tuple[Line, ...]


def read(text: str, name: str = "Dockerfile") -> Source:
    """Split ``text``.

    Raises:
        DockerfileError: a bad or repeated directive, or a heredoc without an end.
    """
    physical = [line.removesuffix("\r") for line in text.removeprefix(_BOM).split("\n")]
    directives = _directives(physical, name)
    escape = directives.get("escape", "\\")
    if escape not in ("\\", "`"):
        raise DockerfileError(f"{name}: invalid escape token '{escape}': use ` or \\")
    return Source(name, escape, tuple(_logical(physical, escape, name)))


def _directives(lines: list[str], name: str) -> dict[str, str]:
    """They count only at the very top: the first line that is not one ends them."""
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _DIRECTIVE.fullmatch(line.strip())
        if match is None or (key := match[1].lower()) not in _KNOWN_DIRECTIVES:
            break
        if key in found:
            raise DockerfileError(f"{name}:{number}: only one {key} parser directive can be used")
        found[key] = match[2]
    return found


def _logical(physical: list[str], escape: str, name: str) -> Iterator[Line]:
    esc = re.escape(escape)
    # An escaped escape character at the end of a line does not continue it.
    continued = re.compile(rf"(?:(?<!{esc})|^){esc}[ \t]*$")
    at = 0
    while at < len(physical):
        start = at
        line = physical[at].lstrip()
        at += 1
        if not line or line.startswith("#"):
            continue
        parts: list[str] = []
        while (match := continued.search(line)) is not None:
            parts.append(line[: match.start()])
            # Comments and empty lines inside a continuation vanish.
            while at < len(physical) and physical[at].lstrip()[:1] in ("", "#"):
                at += 1
            if at == len(physical):
                line = ""
                break
            line = physical[at]
            at += 1
        parts.append(line)
        joined = "".join(parts).strip()
        heredocs, at = _heredocs(joined, physical, at, name, start + 1)
        if joined:
            yield Line(start + 1, joined, heredocs)


def _heredocs(
    text: str, physical: list[str], at: int, name: str, number: int
) -> tuple[tuple[Heredoc, ...], int]:
    words = text.split(None, 2)
    if words and words[0].upper() == "ONBUILD":
        words = words[1:]
    if len(words) < 2 or "<<" not in text or words[0].upper() not in _TAKES_HEREDOCS:
        return (), at
    rest = text.partition(words[0])[2]
    found: list[Heredoc] = []
    for word in _shell_words(rest):
        if (match := _HEREDOC.fullmatch(word)) is None:
            continue
        delimiter = match[2] or match[3] or match[4]
        begin = at
        while True:
            if at == len(physical):
                raise DockerfileError(
                    f"{name}:{number}: unterminated heredoc: end it with a line {delimiter}"
                )
            line = physical[at].lstrip("\t") if match[1] else physical[at]
            at += 1
            if line == delimiter:
                break
        body = physical[begin : at - 1]
        if match[1]:
            body = [line.lstrip("\t") for line in body]
        found.append(
            Heredoc(
                delimiter,
                "".join(f"{line}\n" for line in body),
                expand=match[4] is not None,
                raw="\n".join(physical[begin:at]),
            )
        )
    return tuple(found), at


def _shell_words(text: str) -> Iterator[str]:
    """Words of a shell command with their quotes left on; an arithmetic ``1<<2`` in quotes or a
    here-string ``<<<`` is no heredoc."""
    for match in re.finditer(r"(?:\\.|'[^']*'|\"(?:\\.|[^\"\\])*\"|[^\s'\"\\])+", text):
        yield match[0]
