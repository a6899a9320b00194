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


ROOMS: dict[str, tuple[str, ...]] = {
    "agent.md": ("cluster/agent", "cluster/dispatcher", "cluster"),
    "api.md": ("api",),
    "build.md": ("build",),
    "cluster.md": ("cluster",),
    "compose.md": ("compose", "compose/model"),
    "drivers.md": ("runtime", "testing/contracts"),
    "engine.md": ("engine",),
    "image.md": ("image",),
    "membership.md": ("cluster",),
    "network.md": ("network", "testing/contracts"),
    "overlay.md": ("network/overlay",),
}
"""Page of ``docs/design`` -> packages of ``sampan`` whose files it names by their last part."""
ON_DISK = {
    "NODE/NAME": "a container of many engines",
    "INSTANCE/monitors": "a cgroup",
    "application/json": "a media type",
    "text/json": "a media type",
    "blobs/": "of an image store",
    "manager/": "of a member's directory",
    "manager/cluster.key": "of a member's directory",
    "netns/": "of the state directory",
    "store/store.json": "a plugin's specification",
    "store/store.spec": "a plugin's specification",
    "tmp/": "of an image store",
}
"""What looks like a path of the source and is something else."""


def pages() -> list[Path]:
    front = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SCOPE.md")]
    return front + sorted((REPOSITORY / "docs").rglob("*.md"))


def named(text: str) -> set[str]:
    """What ``text`` names between backticks that looks like a file, a folder or package/module."""
    quoted = re.findall(r"`([\w.-]+(?:/[\w.-]+)*/?)`", text)
    return {name for name in quoted if name.endswith(".py") or "/" in name}


def is_there(name: str, page: Path) -> bool:
    rooms = [SOURCE / room for room in ROOMS.get(page.name, ())]
    for place in [REPOSITORY, REPOSITORY / "src", SOURCE, *rooms]:
        path = place / name
        if path.is_dir() or (not name.endswith("/") and path.is_file()):
            return True
        if not name.endswith("/") and path.with_name(path.name + ".py").is_file():
            return True
    return False


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: Path) -> None:
    missing = {name for name in named(page.read_text()) if not is_there(name, page)}
    assert not missing - ON_DISK.keys()


def test_no_exception_is_kept_for_nothing() -> None:
    assert ON_DISK.keys() <= {name for page in pages() for name in named(page.read_text())}
    for page, rooms in ROOMS.items():
        assert (REPOSITORY / "docs" / "design" / page).is_file()
        assert all((SOURCE / room).is_dir() for room in rooms)


def test_the_page_of_the_engine_names_each_of_its_files() -> None:
    page = (REPOSITORY / "docs" / "design" / "engine.md").read_text()
    where = page[page.index("## Where things are") :]
    words = set(re.findall(r"[a-z_]+", where))
    files = {path.stem for path in (SOURCE / "engine").rglob("*.py")} - {"__init__"}
    assert not files - words


def test_the_drawing_of_the_package_names_each_part() -> None:
    drawing = (SOURCE / "__init__.py").read_text()
    parts = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert not {part for part in parts if not re.search(rf"\b{part}\b", drawing)}
