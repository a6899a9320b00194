"""``script/check --structure``: the measures of the code's structure, a line each.

What a number is made of is said beside it, so that a change that moves one can be judged. Nothing
here fails: the rules that must hold are tests (``tests/test_import_direction.py``).
"""

from __future__ import annotations

import ast
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))

from test_import_direction import ALLOWED, FLOORS, FOUNDATION, SOURCE, imported, modules  # noqa: E402

PASSAGE = 6
"""Lines that make a passage."""

WITNESSES = {
    "log driver": (r"[\"']json-file[\"']",),
    "volume driver": (r"(?i)driver\w*[\"']?[^\n.\[]{0,30}[\"']local[\"']",),
    "network driver": (
        r"(?i)driver\w*[\"']?[^\n.\[]{0,30}[\"']overlay[\"']",
        r"register\([\"']overlay",
    ),
    "OCI runtime": (r"[\"']runc[\"']",),
    "compose key": (r"[\"']mem_limit[\"']",),
    "engine record": (r"\bBuildCacheEntry\b", r"[\"']build_cache[\"']"),
    "API route": (r"containers/\{[^}]*\}/top",),
}
"""What is added -> how modules that must know one of its kind are recognised: by the name of one
that is there. Modules of the kind's own folder that only define it count, too."""


def named(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)


def sizes() -> Iterator[str]:
    lines = {path: len(path.read_text().splitlines()) for path in modules()}
    largest = max(lines, key=lines.__getitem__)
    yield f"modules: {len(lines)}, {sum(lines.values())} lines"
    yield f"median module: {statistics.median(lines.values()):.0f} lines"
    yield f"largest module: {lines[largest]} lines ({named(largest)})"


def upward() -> Iterator[str]:
    """Imports against the drawing, package by package."""
    between: dict[str, int] = defaultdict(int)
    inside: dict[str, int] = defaultdict(int)
    for path in modules():
        parts = path.relative_to(SOURCE).with_suffix("").parts
        package = parts[0]
        floors = {room: at for at, rooms in enumerate(FLOORS.get(package, ())) for room in rooms}
        for name in imported(path):
            into = name.split(".")
            if into[0] != "sampan" or len(into) < 2 or into[1] in FOUNDATION | {"__version__"}:
                continue
            if package in ALLOWED and into[1] not in ALLOWED[package] | {package}:
                between[package] += 1
            if into[1] == package and len(into) > 2 and len(parts) > 1:
                here, there = floors.get(parts[1]), floors.get(into[2])
                if here is not None and there is not None and into[2] != parts[1] and there >= here:
                    inside[package] += 1
    yield f"imports upwards between packages: {sum(between.values())}"
    drawn = ", ".join(f"{package} {inside[package]}" for package in sorted(FLOORS))
    yield f"imports upwards inside packages: {drawn}"


def code_only(text: str) -> str:
    """The text without its docstrings and comments: naming something there is not knowing it."""
    tree = ast.parse(text)
    lines = text.splitlines()
    for node in ast.walk(tree):
        is_prose = (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        )
        if is_prose:
            assert isinstance(node, ast.Expr)
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] = ""
    return "\n".join(re.sub(r"(^|\s)#.*", "", line) for line in lines)


def touches() -> Iterator[str]:
    texts = {path: code_only(path.read_text()) for path in modules()}
    for kind, patterns in WITNESSES.items():
        found = sorted(
            named(path)
            for path, text in texts.items()
            if any(re.search(pattern, text) for pattern in patterns)
        )
        yield f"modules that know a {kind} by name: {len(found)} ({', '.join(found)})"


def house_words() -> Iterator[str]:
    page = REPOSITORY / "docs" / "design" / "words.md"
    own = page.read_text().partition("## Our own")[2] if page.exists() else ""
    rows = re.findall(r"(?m)^\| (?!---|our word)", own) if own else None
    yield f"house words in words.md: {len(rows) if rows is not None else 'no page'}"


def passages() -> Iterator[str]:
    """Runs of ``PASSAGE`` lines of code that stand twice, imports and blank lines aside."""
    places: dict[tuple[str, ...], list[tuple[Path, int]]] = defaultdict(list)
    for path in modules():
        lines = [line.strip() for line in code_only(path.read_text()).splitlines()]
        kept = [
            (number, line)
            for number, line in enumerate(lines)
            if len(line) > 2 and not line.startswith(("import ", "from ", "@"))
        ]
        for at in range(len(kept) - PASSAGE + 1):
            window = tuple(line for _, line in kept[at : at + PASSAGE])
            places[window].append((path, kept[at][0]))
    twice = [spots for spots in places.values() if len(spots) > 1]
    pairs = {(spots[0][0], other[0]) for spots in twice for other in spots[1:]}
    yield f"passages of {PASSAGE} lines that stand twice: {len(twice)}, in {len(pairs)} pairs"


def main() -> None:
    for measure in (sizes, upward, touches, house_words, passages):
        for line in measure():
            print(line)


if __name__ == "__main__":
    main()
