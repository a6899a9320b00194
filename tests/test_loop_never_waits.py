"""What blocks says so in its docstring, and no coroutine calls it: it runs in a thread.

The watchdog sees a call that takes long, and only on a machine where it does; this sees every call.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "sampan"
BLOCKS = re.compile(r"(^|[.\n] *)(Blocks|Blocking)\b")
"""The word by which a function, or a module of functions, says that it may take long."""


EXCUSED = {
    "sampan.network.overlay.tunnels.bridge_name": "of a module that blocks, and does not itself",
}


def trees() -> dict[str, ast.Module]:
    return {
        ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts): ast.parse(path.read_text())
        for path in sorted(SOURCE.rglob("*.py"))
    }


def blocking(modules: dict[str, ast.Module]) -> set[str]:
    """Dotted names of the functions that say they block, by themselves or with their module."""
    found = set()
    for name, tree in modules.items():
        all_of_it = bool(BLOCKS.search(ast.get_docstring(tree) or ""))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                own = bool(BLOCKS.search(ast.get_docstring(node) or ""))
                if own or (all_of_it and not node.name.startswith("_")):
                    found.add(f"{name}.{node.name}")
    return found


def meanings(name: str, tree: ast.Module) -> dict[str, str]:
    """What words of a module stand for: imported modules and functions, and its own."""
    known = {n.name: f"{name}.{n.name}" for n in tree.body if isinstance(n, ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            known |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return known


def calls(body: list[ast.stmt]) -> Iterator[ast.Call]:
    """Calls that a coroutine makes itself: none of functions and lambdas that it hands on."""
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(node, ast.Call):
            yield node
        waiting.extend(ast.iter_child_nodes(node))


def waits(modules: dict[str, ast.Module]) -> list[str]:
    """MODULE.COROUTINE, line N: what it calls."""
    known = blocking(modules)
    found = []
    for name, tree in modules.items():
        words = meanings(name, tree)
        for node in ast.walk(tree):
            if not isinstance(node, ast.AsyncFunctionDef):
                continue
            for call in calls(node.body):
                head, _, rest = ast.unparse(call.func).partition(".")
                called = f"{words.get(head, head)}.{rest}" if rest else words.get(head, head)
                if called in known:
                    found.append(f"{name}.{node.name}, line {call.lineno}: {called}")
    return found


def test_no_coroutine_calls_what_blocks() -> None:
    modules = {n: t for n, t in trees().items() if not n.startswith("sampan.testing")}
    assert len(blocking(modules)) > 20
    found = {called: where for where in waits(modules) for called in [where.rpartition(" ")[2]]}
    assert found.keys() == EXCUSED.keys(), found


def test_a_call_is_seen() -> None:
    modules = {
        "sampan.a": ast.parse('def read() -> str:\n    """Reads. Blocks."""\n'),
        "sampan.b": ast.parse(
            "from sampan import a\nfrom sampan.a import read\n"
            "async def one() -> None:\n    read()\n    a.read()\n    await in_thread(read)\n"
            "    await in_thread(lambda: a.read())\n"
        ),
    }
    assert [line.partition(":")[0] for line in waits(modules)] == [
        "sampan.b.one, line 5",
        "sampan.b.one, line 4",
    ]
