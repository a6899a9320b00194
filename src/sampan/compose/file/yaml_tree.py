"""A compose file as a tree whose every value remembers the file and line that it came from.

The YAML scanner is libyaml's; what a plain scalar means is decided here, by the rules of YAML 1.2
(as Go's compose reads it): ``yes``, ``on`` and ``22:22`` are strings, ``0o17`` is a number. Merge
keys (``<<``) and aliases are resolved; ``!reset`` and ``!override`` stay as tags for the merge.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import yaml

from sampan.compose.errors import ComposeFileError, Where

Kind: TypeAlias = Literal["string", "integer", "number", "boolean", "null"]
Tag: TypeAlias = Literal["", "reset", "override"]

_INT = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z|[-+]?\.(inf|Inf|INF)\Z")
_MAX_DEPTH = 60
_MAX_NODES = 200_000
"""Aliases can make a small file explode; a compose file of this size does not exist."""


@dataclass(slots=True)
class Scalar:
    """One plain or quoted value. ``text`` is as written, without quotes."""

    where: Where
    text: str
    kind: Kind = "string"
    tag: Tag = ""
    interpolated: bool = False
    """A variable was put in: then even a typed field takes the text."""


@dataclass(slots=True)
class Seq:
    where: Where
    items: list[Node] = field(default_factory=list)
    tag: Tag = ""


@dataclass(slots=True)
class Map:
    where: Where
    entries: dict[str, Node] = field(default_factory=dict)
    tag: Tag = ""


Node: TypeAlias = Scalar | Seq | Map


class _Loader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):  # type: ignore[misc]
    """libyaml's composer without YAML 1.1's ideas of what is a number or a boolean."""

    yaml_implicit_resolvers: dict[str, list[object]] = {}


def scalar_kind(text: str) -> Kind:
    """What an unquoted ``text`` is by YAML 1.2's core schema."""
    if text in ("", "~", "null", "Null", "NULL"):
        return "null"
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return "boolean"
    if _INT.match(text):
        return "integer"
    if _FLOAT.match(text):
        return "number"
    return "string"


def parse(text: str, file: str) -> Map:
    """Parse one YAML document whose top must be a mapping; nothing at all is an empty one.

    Raises:
        ComposeFileError: not YAML, more than one document, or not a mapping at the top.
    """
    try:
        root = yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        hint = ""
        if error.problem and "cannot start any token" in error.problem and "\t" in text:
            hint = " (YAML does not allow tabs for indentation)"
        raise ComposeFileError(
            Where(file, line), f"not valid YAML: {error.problem}{hint}"
        ) from None
    except yaml.YAMLError as error:
        raise ComposeFileError(Where(file, 0), f"not valid YAML: {error}") from None
    if root is None:
        return Map(Where(file, 0))
    tree = _Builder(file).build(root, 0)
    if not isinstance(tree, Map):
        raise ComposeFileError(
            tree.where, f"the top of the file must be a mapping, not {describe(tree)}"
        )
    return tree


def describe(node: Node) -> str:
    """``node``'s type in words for an error message."""
    if isinstance(node, Map):
        return "a mapping"
    if isinstance(node, Seq):
        return "a list"
    return {
        "string": "a string",
        "integer": "a number",
        "number": "a number",
        "boolean": "a boolean",
        "null": "empty",
    }[node.kind]


class _Builder:
    def __init__(self, file: str) -> None:
        self._file = file
        self._count = 0

    def build(self, node: yaml.Node, depth: int) -> Node:
        where = Where(self._file, node.start_mark.line + 1)
        self._count += 1
        if depth > _MAX_DEPTH or self._count > _MAX_NODES:
            raise ComposeFileError(where, "nested too deeply or too many aliases")
        tag = self._tag(node, where)
        if isinstance(node, yaml.ScalarNode):
            plain = not node.style
            if node.tag == "tag:yaml.org,2002:str" and plain:
                return Scalar(where, node.value, scalar_kind(node.value), tag)
            return Scalar(where, node.value, self._explicit_kind(node.tag, node.value, plain), tag)
        if isinstance(node, yaml.SequenceNode):
            return Seq(where, [self.build(item, depth + 1) for item in node.value], tag)
        return self._mapping(node, where, tag, depth)

    def _mapping(self, node: yaml.Node, where: Where, tag: Tag, depth: int) -> Map:
        own: dict[str, Node] = {}
        merged: list[Map] = []
        for key_node, value_node in node.value:
            key_where = Where(self._file, key_node.start_mark.line + 1)
            if not isinstance(key_node, yaml.ScalarNode):
                raise ComposeFileError(key_where, "a key must be a string")
            key = str(key_node.value)
            value = self.build(value_node, depth + 1)
            if key == "<<" and not key_node.style:
                merged += self._merge_sources(value)
                continue
            if key in own:
                raise ComposeFileError(key_where, f'the key "{key}" is there twice')
            # An error about a value should point at its key: that is where the eye looks.
            value.where = key_where
            own[key] = value
        entries: dict[str, Node] = {}
        for source in reversed(merged):  # the first of several merge sources wins
            entries.update(source.entries)
        entries.update(own)
        return Map(where, entries, tag)

    def _merge_sources(self, value: Node) -> list[Map]:
        items = value.items if isinstance(value, Seq) else [value]
        for item in items:
            if not isinstance(item, Map):
                raise ComposeFileError(item.where, "`<<` takes a mapping or a list of mappings")
        return [item for item in items if isinstance(item, Map)]

    def _tag(self, node: yaml.Node, where: Where) -> Tag:
        tag = node.tag or ""
        if tag == "!reset":
            return "reset"
        if tag == "!override":
            return "override"
        if tag.startswith("!"):
            raise ComposeFileError(where, f"unknown tag {tag}: only !reset and !override exist")
        return ""

    @staticmethod
    def _explicit_kind(tag: str, text: str, plain: bool) -> Kind:
        kinds: dict[str, Kind] = {"int": "integer", "float": "number", "bool": "boolean"}
        short = tag.rsplit(":", 1)[-1]
        if short in kinds:
            return kinds[short]
        if short == "null":
            return "null"
        if plain and tag in ("!reset", "!override"):
            return scalar_kind(text)
        return "string"


def plain_data(node: Node) -> Any:
    """The tree as YAML's own types, for printing: a plain scalar is what it was read as."""
    if isinstance(node, Map):
        return {key: plain_data(value) for key, value in node.entries.items()}
    if isinstance(node, Seq):
        return [plain_data(item) for item in node.items]
    match node.kind:
        case "null":
            return None
        case "boolean":
            return node.text.lower() == "true"
        case "integer":
            return int(node.text, 0 if node.text[:2] in ("0x", "0o") else 10)
        case "number":
            return float(node.text)
    return node.text
