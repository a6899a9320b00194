"""What a user reads is plain present-tense English, subject first; and the pages tell the truth.

The patterns are those that this house has fallen into: German word order, "is no" for "is not a",
"any more" for "no longer". A list of words finds no good style; it keeps these from coming back.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
SOURCE = REPOSITORY / "src" / "sampan"

STRANGE = {
    "inverted": r"\bmust (it|they) be\b|\b(it|they) must be$",
    "say 'is not one of', 'must be one of'": r"\b(is|are|was) none\b",
    "say 'is not a'": r"(?<!there )\b(is|are|was|were) no (?!longer\b|more\b)",
    "say 'no longer'": r"\bany ?more\b",
    "say what it is, not that it is understood": r"\bthat (is|are) understood\b",
    "say who, or 'anyone who'": r"\bwho(so)?ever\b",
    "say what it belongs to": r"\bnobody's\b",
    "archaic": r"\bin vain\b|\bof itself\b|\bto be had\b|\bwhence\b|\bhas it not\b",
    "say 'removing ...'": r": (it|they) (goes|go)$",
}
"""What to say instead, and the pattern. "There is no X" is good English."""


def strange(text: str) -> list[str]:
    """What is to be said instead, for each pattern that ``text`` falls into."""
    return [
        advice for advice, pattern in STRANGE.items() if re.search(pattern, text, re.IGNORECASE)
    ]


def spoken(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of every string that is not a docstring: errors, log lines, helps, reasons.

    The fields of an f-string are an X each.
    """
    silent: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            silent.add(node.value)
        if isinstance(node, ast.JoinedStr):
            silent.update(node.values)
            parts = [v.value if isinstance(v, ast.Constant) else "X" for v in node.values]
            yield node.lineno, "".join(str(part) for part in parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in silent:
            yield node.lineno, node.value


def test_what_a_user_reads_is_plain_english() -> None:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for line, text in spoken(ast.parse(path.read_text())):
            found += [
                f"{path.relative_to(REPOSITORY)}:{line}: {text[:100]!r}: {advice}"
                for advice in strange(text)
            ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "invalid port in address X: a number from 1 to 65535 it must be",
        "X is no size, as 64M is one",
        "X sent no HTTP that is understood: Y",
        "log-level: X is none of debug, info",
        "this manager does not lead any more",
        "whoever reaches the port owns the host",
        "member X of the store is nobody's: it goes",
    ],
)
def test_what_this_house_once_said_is_found(text: str) -> None:
    assert strange(text)


@pytest.mark.parametrize(
    "text",
    [
        "there is no Dockerfile at X: name one with -f",
        "node X is no longer part of this swarm",
        "It must be demoted to worker before removal",
        "there is no host X: say 1 to 3, or client",
    ],
)
def test_good_english_is_let_be(text: str) -> None:
    assert not strange(text)
