"""A small language for the shape of a compose file, and the check of a tree against it.

A shape is a scalar class (``STRING`` ...), ``ListOf``, ``MapOf``, ``Obj`` or a tuple of
alternatives. The check reports everything that it finds, not only the first thing. A mapping also
says which of its keys have forms and merge rules of their own: ``merge`` walks the same shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias, Union

from sampan.compose.errors import Where
from sampan.compose.file.yaml_tree import Map, Node, Scalar, Seq, describe


class Leaf(NamedTuple):
    """A scalar whose kind is one of ``kinds``. An interpolated one is accepted as text."""

    kinds: frozenset[str]
    words: str


class ListOf(NamedTuple):
    item: Shape


class MapOf(NamedTuple):
    value: Shape


class Form(NamedTuple):
    """What is special about a key's value when files are brought together."""

    normal: Callable[[Node, str], Node] | None = None
    """(value, folder that paths start from) -> the value in its one form."""
    merge: Callable[[Node, Node], Node] | None = None
    """(base, over) -> the value when two files have one; None: by the general rules."""


class Obj(NamedTuple):
    """Known keys. Those in ``no_effect`` and ``refused`` are valid in the specification, but not
    honoured here: a warning or an error says why."""

    keys: dict[str, Shape]
    no_effect: Mapping[str, str] = {}
    refused: Mapping[str, str] = {}
    required: frozenset[str] = frozenset()
    forms: Mapping[str, Form] = {}


class Anything(NamedTuple):
    """Not looked into."""


Shape: TypeAlias = Union[Leaf, ListOf, MapOf, Obj, Anything, "tuple[Shape, ...]"]

STRING = Leaf(frozenset({"string"}), "a string")
NUMBER = Leaf(frozenset({"integer", "number", "string"}), "a number")
BOOLEAN = Leaf(frozenset({"boolean", "string"}), "true or false")
SCALAR = Leaf(frozenset({"string", "integer", "number", "boolean", "null"}), "a single value")
NULL = Leaf(frozenset({"null"}), "empty")
ANYTHING = Anything()

STRINGS = ListOf(STRING)
STRING_OR_LIST: Shape = (STRING, STRINGS)
LIST_OR_MAP: Shape = (MapOf(SCALAR), STRINGS)


class Report:
    """What a check found: errors stop the command, warnings are printed once."""

    def __init__(self) -> None:
        self.errors: list[tuple[Where, str]] = []
        self.warnings: list[str] = []

    def error(self, where: Where, message: str) -> None:
        self.errors.append((where, message))

    def warn(self, where: Where, message: str) -> None:
        text = f"{where}: {message}"
        if text not in self.warnings:
            self.warnings.append(text)


def check(node: Node, shape: Shape, path: str, report: Report) -> None:
    """Report where ``node`` is not of ``shape``. Keys ``x-...`` may be anywhere."""
    if node.tag == "reset" or isinstance(shape, Anything):
        return
    fitting = fitting_shape(node, shape)
    if fitting is None:
        wanted = " or ".join(dict.fromkeys(_words(option) for option in alternatives(shape)))
        report.error(node.where, f"{path} must be {wanted}, not {describe(node)}")
    elif isinstance(fitting, ListOf) and isinstance(node, Seq):
        for index, item in enumerate(node.items):
            check(item, fitting.item, f"{path}[{index}]", report)
    elif isinstance(fitting, MapOf) and isinstance(node, Map):
        for key, value in node.entries.items():
            if not key.startswith("x-"):
                check(value, fitting.value, f"{path}.{key}", report)
    elif isinstance(fitting, Obj) and isinstance(node, Map):
        _check_keys(node, fitting, path, report)


def _check_keys(node: Map, shape: Obj, path: str, report: Report) -> None:
    for key, value in node.entries.items():
        if key.startswith("x-"):
            continue
        full = f"{path}.{key}" if path else key
        if key not in shape.keys:
            report.error(value.where, f"{full}: unknown key{suggestion(key, shape.keys)}")
            continue
        if key in shape.refused:
            report.error(value.where, f"{full} is not supported: {shape.refused[key]}")
            continue
        if key in shape.no_effect:
            report.warn(value.where, f"{full} has no effect: {shape.no_effect[key]}")
        if isinstance(value, Scalar) and value.kind == "null" and not value.tag:
            # `ports:` with nothing behind it says nothing, as in Compose.
            continue
        check(value, shape.keys[key], full, report)
    for key in shape.required - set(node.entries):
        report.error(node.where, f'{path} needs "{key}"')


def fitting_shape(node: Node, shape: Shape) -> Shape | None:
    """The alternative of ``shape`` that ``node`` is of, if any."""
    return next((option for option in alternatives(shape) if _fits(node, option)), None)


def alternatives(shape: Shape) -> tuple[Shape, ...]:
    """A tuple's shapes, or the one shape."""
    return shape if isinstance(shape, tuple) and not hasattr(shape, "_fields") else (shape,)


def _fits(node: Node, shape: Shape) -> bool:
    if isinstance(shape, Leaf):
        return isinstance(node, Scalar) and (node.kind in shape.kinds or node.interpolated)
    if isinstance(shape, ListOf):
        return isinstance(node, Seq)
    if isinstance(shape, (MapOf, Obj)):
        return isinstance(node, Map)
    return isinstance(shape, Anything)


def _words(shape: Shape) -> str:
    if isinstance(shape, Leaf):
        return shape.words
    return "a list" if isinstance(shape, ListOf) else "a mapping"


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean "image"?`` when something known is close, else nothing."""
    import difflib  # only when there is an error to explain

    close = difflib.get_close_matches(word.replace("-", "_"), list(known), 1, 0.7)
    return f'; did you mean "{close[0]}"?' if close else ""
