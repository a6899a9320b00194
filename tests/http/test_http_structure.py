"""The HTTP floor knows no front, and nothing of a front is global."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import sampan.http

HTTP = Path(sampan.http.__file__).parent
SOURCE = HTTP.parent
MODULES = sorted(HTTP.rglob("*.py"))
FRONTS = sorted((*(SOURCE / "api").rglob("*.py"), *(SOURCE / "cluster/peer").rglob("*.py")))
CHANGES = {"update", "append", "add", "setdefault", "extend", "pop", "clear", "insert", "remove"}


def name(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def written_at_import(tree: ast.Module) -> Iterator[str]:
    """Module-level objects that a module changes: when it is imported, or by ``global`` later."""
    made = {
        target.id
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield f"global {', '.join(node.names)}"
    for node in tree.body:
        for inner in ast.walk(node) if isinstance(node, ast.Expr) else ():
            if (
                isinstance(inner, ast.Call)
                and isinstance(inner.func, ast.Attribute)
                and inner.func.attr in CHANGES
                and isinstance(inner.func.value, ast.Name)
                and inner.func.value.id in made | imported
            ):
                yield ast.unparse(inner)
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Subscript) for t in node.targets):
            yield ast.unparse(node)


def changed_in_functions(tree: ast.Module) -> Iterator[str]:
    """Module-level dictionaries, lists and sets that a function changes."""
    mutable = {
        target.id
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        and isinstance(node.value, (ast.Dict, ast.List, ast.Set))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in CHANGES
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in mutable
        ):
            yield ast.unparse(node)
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Subscript) and getattr(target.value, "id", "") in mutable:
                    yield ast.unparse(node)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_the_floor_has_no_word_of_a_front(path: Path) -> None:
    text = path.read_text().lower()
    for word in ("docker", "container", "swarm", "consul", "cluster"):
        assert word not in text, f"{name(path)} says {word}"


@pytest.mark.parametrize("path", [*MODULES, *FRONTS], ids=name)
def test_nothing_global_is_filled(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert [*written_at_import(tree), *changed_in_functions(tree)] == []


def test_the_check_finds_what_it_is_for() -> None:
    for text in (
        "A: dict[str, str] = {}\nA.update(b=1)",
        "from x import A\nA.update(b=1)",
        "A = {}\nA['b'] = 1",
        "A = 0\ndef f():\n    global A\n    A = 1",
        "A = {}\ndef f():\n    A['b'] = 1",
        "A = []\ndef f():\n    A.append(1)",
    ):
        tree = ast.parse(text)
        assert [*written_at_import(tree), *changed_in_functions(tree)], text


def test_only_fronts_stand_on_the_floor() -> None:
    users = {
        path.relative_to(SOURCE).parts[: 2 if path.relative_to(SOURCE).parts[0] == "cluster" else 1]
        for path in SOURCE.rglob("*.py")
        if "sampan.http" in path.read_text()
        and path.relative_to(SOURCE).parts[0] not in ("http", "testing")
        and path.name != "errors.py"
    }
    assert users == {("api",), ("cluster", "peer")}
