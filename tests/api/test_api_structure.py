"""Docker's routes stand on contracts alone: what they may import and reach for."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sampan.api import routes, types
from sampan.api.docker_request import DockerRequest
from sampan.api.engine_like import EngineLike

API = Path(routes.__file__).parent.parent
ROUTES = sorted(API.glob("routes/*.py"))
TRANSLATE = sorted(API.glob("translate/*.py"))
DATA = {"sampan.store.records", "sampan.store.events"}
"""What of the store is data, whoever keeps it."""
PARTS = {"store", "config", "snapshots", "drivers", "plugins"}
"""What a daemon has and an ``EngineLike`` has not."""
PURE = {"", "types", "translate", "filters", "timestamps", "versions"}
"""Of ``sampan.api``: what translation may import."""


def modules(path: Path) -> Iterator[str]:
    """What a module imports, at whatever depth of its code; of a package, its modules."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def reaches(tree: ast.AST) -> Iterator[str]:
    """``services.store`` and its like, written in any way."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in PARTS:
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if name == "services":
                yield ast.unparse(node)


@pytest.mark.parametrize("path", ROUTES, ids=lambda p: p.name)
def test_no_route_knows_the_store(path: Path) -> None:
    found = {name for name in modules(path) if name.startswith("sampan.store")}
    allowed = {name for name in found if any(name == d or name.startswith(f"{d}.") for d in DATA)}
    assert found - allowed - {"sampan.store"} == set()
    assert not any(
        name.startswith(("sampan.config", "sampan.api.services")) for name in modules(path)
    )
    assert list(reaches(ast.parse(path.read_text()))) == []


def test_the_check_finds_what_it_is_for() -> None:
    for text in ("call.services.store.images", "services.config", "x = services.snapshots"):
        assert list(reaches(ast.parse(text)))
    assert not list(reaches(ast.parse("parts.store.state")))


def test_a_call_has_nothing_but_an_engine_like() -> None:
    assert DockerRequest.__init__.__annotations__["services"] == "EngineLike"
    assert not PARTS & set(dir(EngineLike))


@pytest.mark.parametrize("path", TRANSLATE, ids=lambda p: p.name)
def test_translation_is_from_records_to_the_wire_and_back(path: Path) -> None:
    """Pure functions: no engine, no request, no HTTP, no clock of their own."""
    for name in modules(path):
        if name.startswith("sampan.api"):
            rest = name.removeprefix("sampan.api").removeprefix(".")
            assert rest.split(".")[0] in PURE, f"{path.name} imports {name}"
        assert not name.startswith(("aiohttp", "asyncio", "sampan.http.server", "sampan.aio"))
        assert not name.startswith(("sampan.store.contract", "sampan.store.database"))
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.AsyncFunctionDef), f"{path.name}: {node.name} waits"  # type: ignore[attr-defined]


def test_a_body_leaves_out_nothing_but_zero_values() -> None:
    """A client takes what is left out for its zero value. What msgspec leaves out is a default, so
    that no other default may be left out; and it does so by identity, and thus not every time."""
    bodies = {
        body
        for module in pkgutil.iter_modules(types.__path__, f"{types.__name__}.")
        for _, body in inspect.getmembers(importlib.import_module(module.name), inspect.isclass)
        if issubclass(body, msgspec.Struct) and body.__struct_config__.omit_defaults
    }
    assert len(bodies) > 10
    wrong = [
        f"{body.__name__}.{field.name} = {field.default!r}"
        for body in bodies
        for field in msgspec.structs.fields(body)
        if field.default not in (msgspec.NODEFAULT, msgspec.UNSET) and field.default
    ]
    assert wrong == []
