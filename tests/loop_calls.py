"""Who calls what blocks, read from the source: with enough of types to follow ``self.x.y()``.

What blocks says so in its docstring, or is in a module or class that does. A plain function that
calls such a one blocks as well, whether it says so or not. What it cannot follow it lets pass: an
element of a container, what an untyped decorator returns, a function that was handed on.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

BLOCKS = re.compile(r"(^|[.:\n] *)(Blocks|Blocking)\b(?! of )")
"""The word by which a function, or a class or module of functions, says that it may take long."""
KEEPS_TO = re.compile(r"^``(\w+)``")
"""How the docstring of a class names the Protocol that it is one of."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def says_so(node: ast.Module | ast.ClassDef | Function) -> bool:
    return bool(BLOCKS.search(ast.get_docstring(node) or ""))


@dataclass
class Class:
    name: str
    """Dotted, as every name here."""
    bases: list[str] = field(default_factory=list)
    keeps_to: str = ""
    """The last word of a Protocol's name."""
    methods: dict[str, Function] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    """Attribute -> its class."""


@dataclass(frozen=True)
class Call:
    caller: str
    line: int
    called: str
    coroutine: bool
    """The caller is one."""


class Source:
    """The functions and classes of ``modules``, which are named by their dotted names."""

    def __init__(self, modules: dict[str, ast.Module]) -> None:
        self.modules = modules
        self.words = {name: _meanings(name, tree) for name, tree in modules.items()}
        self.functions: dict[str, Function] = {}
        self.classes: dict[str, Class] = {}
        self.said: set[str] = set()
        """Functions and methods that say they block, by themselves or with what they are in."""
        for name, tree in modules.items():
            self._module(name, tree)
        for each in self.classes.values():
            self._attributes(each)
        self._inherit()
        self.calls = [*self._calls()]

    @classmethod
    def of(cls, directory: Path) -> Source:
        """The modules beneath the package ``directory``, but those for tests."""
        found = {}
        for path in sorted(directory.rglob("*.py")):
            name = ".".join(path.relative_to(directory.parent).with_suffix("").parts)
            if not name.startswith("sampan.testing"):
                found[name] = ast.parse(path.read_text())
        return cls(found)

    # -- what there is

    def _module(self, name: str, tree: ast.Module) -> None:
        for node in tree.body:
            if isinstance(node, Function):
                self.functions[f"{name}.{node.name}"] = node
                self._note(f"{name}.{node.name}", node, says_so(tree))
            elif isinstance(node, ast.ClassDef):
                made = Class(f"{name}.{node.name}", [self._named(name, b) for b in node.bases])
                self.classes[made.name] = made
                if match := KEEPS_TO.match(ast.get_docstring(node) or ""):
                    made.keeps_to = match[1]
                for part in node.body:
                    if isinstance(part, Function):
                        made.methods[part.name] = part
                        whole = says_so(tree) or says_so(node)
                        self._note(f"{made.name}.{part.name}", part, whole)
                    elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                        made.types[part.target.id] = self._named(name, part.annotation)

    def _note(self, name: str, node: Function, whole: bool) -> None:
        if isinstance(node, ast.AsyncFunctionDef) or "property" in _decorators(node):
            return
        if says_so(node) or (whole and not node.name.startswith("_")):
            self.said.add(name)

    def _inherit(self) -> None:
        """What a method of a Protocol or a base says holds for those that say nothing."""
        by_word: dict[str, list[str]] = {}
        for name in self.classes:
            by_word.setdefault(name.rpartition(".")[2], []).append(name)
        for each in self.classes.values():
            for above in (*by_word.get(each.keeps_to, ()), *each.bases):
                known = self.classes.get(above)
                for method, node in each.methods.items() if known is not None else ():
                    if ast.get_docstring(node) is None and f"{above}.{method}" in self.said:
                        self.said.add(f"{each.name}.{method}")

    def _attributes(self, of: Class) -> None:
        module = of.name.rpartition(".")[0]
        for method in of.methods.values():
            if "property" in _decorators(method):
                of.types[method.name] = self._named(module, method.returns)
                continue
            known = self._parameters(module, of, method)
            for target, value, said in _assignments(method):
                if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
                    found = self._named(module, said) or self._type(module, of, known, value)
                    if found:
                        of.types.setdefault(target.attr, found)

    # -- what an expression is

    def _named(self, module: str, annotation: ast.expr | None) -> str:
        """The class that an annotation names; that of X for ``X | None`` and ``X[Y]``."""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = ast.parse(annotation.value, mode="eval").body
        if isinstance(annotation, ast.BinOp):
            return self._named(module, annotation.left) or self._named(module, annotation.right)
        if isinstance(annotation, ast.Subscript):
            wrapper = ast.unparse(annotation.value)
            if wrapper in ("Final", "ClassVar", "type"):
                return self._named(module, annotation.slice)
            return self._named(module, annotation.value)
        if isinstance(annotation, ast.Name | ast.Attribute):
            head, _, rest = ast.unparse(annotation).partition(".")
            known = self.words[module].get(head, "")
            return f"{known}.{rest}" if known and rest else known
        return ""

    def _parameters(self, module: str, of: Class | None, function: Function) -> dict[str, str]:
        args = function.args
        every = [*args.posonlyargs, *args.args, *args.kwonlyargs]
        known = {each.arg: self._named(module, each.annotation) for each in every}
        if of is not None and every and "staticmethod" not in _decorators(function):
            known[every[0].arg] = of.name
        return known

    def _type(
        self, module: str, of: Class | None, known: dict[str, str], node: ast.expr | None
    ) -> str:
        """The class of a value, or of what a call returns; empty: nobody knows."""
        if isinstance(node, ast.Await):
            return self._type(module, of, known, node.value)
        if isinstance(node, ast.BoolOp):
            found = (self._type(module, of, known, each) for each in node.values)
            return next(filter(None, found), "")
        if isinstance(node, ast.Name):
            return known.get(node.id, "")
        if isinstance(node, ast.Attribute):
            return self._attribute(self._type(module, of, known, node.value), node.attr)
        if isinstance(node, ast.Call):
            called = self.called(module, of, known, node)
            if called in self.classes:
                return called
            owner, _, word = called.rpartition(".")
            if owner in self.classes:
                method = self.classes[owner].methods.get(word)
                return self._named(owner.rpartition(".")[0], method.returns if method else None)
            function = self.functions.get(called)
            return self._named(owner, function.returns if function else None)
        return ""

    def _attribute(self, owner: str, name: str) -> str:
        each = self.classes.get(owner)
        if each is None:
            return ""
        return each.types.get(name) or next(
            filter(None, (self._attribute(base, name) for base in each.bases)), ""
        )

    def _method(self, owner: str, name: str) -> str:
        """Where a method of ``owner`` is defined."""
        each = self.classes.get(owner)
        if each is None:
            return ""
        if name in each.methods:
            return f"{owner}.{name}"
        return next(filter(None, (self._method(base, name) for base in each.bases)), "")

    def called(self, module: str, of: Class | None, known: dict[str, str], call: ast.Call) -> str:
        """The function, method or class that is called; empty: nobody knows."""
        target = call.func
        if isinstance(target, ast.Attribute):
            owner = self._type(module, of, known, target.value)
            if owner:
                return self._method(owner, target.attr)
        head, _, rest = ast.unparse(target).partition(".")
        found = self.words[module].get(head, "")
        return f"{found}.{rest}" if found and rest else found

    # -- who calls

    def _functions(self) -> Iterator[tuple[str, str, Class | None, Function]]:
        """Name, module, class and node of every function and method, and of nested ones."""
        for module, tree in self.modules.items():
            owners: dict[ast.AST, Class] = {}
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    each = self.classes[f"{module}.{node.name}"]
                    owners |= dict.fromkeys(ast.walk(node), each)
            for node in ast.walk(tree):
                if isinstance(node, Function):
                    of = owners.get(node)
                    yield f"{of.name if of else module}.{node.name}", module, of, node

    def _calls(self) -> Iterator[Call]:
        for name, module, of, node in self._functions():
            method = of is not None and of.methods.get(node.name) is node
            nested = not method and self.functions.get(name) is not node
            if nested and isinstance(node, ast.FunctionDef):
                continue  # called by whoever it is handed to
            known = self._parameters(module, of if method else None, node)
            if of is not None:
                known.setdefault("self", of.name)
            for target, value, said in _assignments(node):
                if isinstance(target, ast.Name) and target.id not in known:
                    found = self._named(module, said) or self._type(module, of, known, value)
                    known[target.id] = found
            for call in _calls(node.body):
                if called := self.called(module, of, known, call):
                    waits = isinstance(node, ast.AsyncFunctionDef)
                    yield Call(name, call.lineno, called, coroutine=waits)

    def blocks(self, excused: Iterable[str] = ()) -> set[str]:
        """What says so, and the plain functions that call what blocks; without ``excused``."""
        found, before, never = self.said - {*excused}, 0, {*excused}
        while before != len(found):
            before = len(found)
            callers = (c.caller for c in self.calls if not c.coroutine and c.called in found)
            found |= {*callers} - never
        return found

    def waits(self, excused: Iterable[str] = ()) -> list[Call]:
        """What coroutines call that blocks; ``excused`` does not, whatever a docstring says."""
        found = self.blocks(excused)
        return [call for call in self.calls if call.coroutine and call.called in found]


def _meanings(name: str, tree: ast.Module) -> dict[str, str]:
    """What words of a module stand for: imported modules and functions, and its own."""
    own = (n for n in tree.body if isinstance(n, Function | ast.ClassDef))
    known = {node.name: f"{name}.{node.name}" for node in own}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            known |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return known


def _decorators(function: Function) -> set[str]:
    return {ast.unparse(each).rpartition(".")[2] for each in function.decorator_list}


def _assignments(
    function: Function,
) -> Iterator[tuple[ast.expr, ast.expr | None, ast.expr | None]]:
    """Target, value, annotation; of tuples each by itself."""
    for node in ast.walk(function):
        if isinstance(node, ast.AnnAssign):
            yield node.target, node.value, node.annotation
        elif isinstance(node, ast.NamedExpr):
            yield node.target, node.value, None
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            yield node.optional_vars, node.context_expr, None
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    if len(target.elts) == len(node.value.elts):
                        for one, value in zip(target.elts, node.value.elts, strict=True):
                            yield one, value, None
                else:
                    yield target, node.value, None


def _calls(body: list[ast.stmt]) -> Iterator[ast.Call]:
    """Calls that a coroutine makes itself: none of functions and lambdas that it hands on."""
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, Function | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(node, ast.Call):
            yield node
        waiting.extend(ast.iter_child_nodes(node))
