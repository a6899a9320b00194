"""Forms of values: how the ways to write one thing become one way. Each is a ``Form.normal``."""

from __future__ import annotations

from collections.abc import Callable

from sampan.compose.file.merge import is_path, is_remote, merge, resolve
from sampan.compose.file.schema_types import ANYTHING
from sampan.compose.file.yaml_tree import Map, Node, Scalar, Seq, scalar_kind


def pairs(node: Node, _base: str) -> Node:
    """``["K=V", "K"]`` as a mapping; a bare K means: from outside."""
    if not isinstance(node, Seq):
        return node
    entries: dict[str, Node] = {}
    for item in node.items:
        if isinstance(item, Scalar):
            key, equals, text = item.text.partition("=")
            entries[key] = Scalar(item.where, text, "string" if equals else scalar_kind(""))
    return Map(node.where, entries, node.tag)


def names(value_of: Callable[[Scalar], Node]) -> Callable[[Node, str], Node]:
    """``[a, b]`` as a mapping whose values ``value_of`` makes."""

    def normal(node: Node, _base: str) -> Node:
        if not isinstance(node, Seq):
            return node
        entries = {item.text: value_of(item) for item in node.items if isinstance(item, Scalar)}
        return Map(node.where, entries, node.tag)

    return normal


def nothing(name: Scalar) -> Node:
    """A value for ``names`` that says nothing."""
    return Scalar(name.where, "", "null")


def started(name: Scalar) -> Node:
    """A value for ``names``: what a plain dependency waits for."""
    return Map(name.where, {"condition": Scalar(name.where, "service_started")})


def as_list(node: Node, _base: str) -> Node:
    """A single value as a list of one."""
    if isinstance(node, Scalar) and node.kind != "null":
        return Seq(node.where, [node], node.tag)
    return node


def path(node: Node, base: str) -> Node:
    """An absolute path."""
    if isinstance(node, Scalar) and node.kind != "null":
        node.text = resolve(node.text, base)
    return node


def paths(node: Node, base: str) -> Node:
    """A list of absolute paths; an item may be a mapping with a ``path``."""
    node = as_list(node, base)
    for item in node.items if isinstance(node, Seq) else ():
        if isinstance(item, Map) and "path" in item.entries:
            path(item.entries["path"], base)
        else:
            path(item, base)
    return node


def build(node: Node, base: str) -> Node:
    """A mapping with a context, which is absolute or remote."""
    if isinstance(node, Scalar) and node.kind != "null":
        context = Scalar(node.where, node.text, interpolated=node.interpolated)
        node = Map(node.where, {"context": context}, node.tag)
    if isinstance(node, Map):
        said = node.entries.get("context")
        if said is None:
            node.entries["context"] = Scalar(node.where, base)
        elif isinstance(said, Scalar) and not is_remote(said.text):
            path(said, base)
    return node


def mounts(node: Node, base: str) -> Node:
    """Mounts whose sources are absolute where they are paths."""
    for item in node.items if isinstance(node, Seq) else ():
        if isinstance(item, Scalar):
            source, colon, rest = item.text.partition(":")
            if colon and is_path(source):
                item.text = f"{resolve(source, base)}:{rest}"
        elif isinstance(item, Map):
            kind = item.entries.get("type")
            if isinstance(kind, Scalar) and kind.text == "bind" and "source" in item.entries:
                path(item.entries["source"], base)
    return node


def replaced(_base: Node, over: Node) -> Node:
    """A ``Form.merge``: the later file's value stands alone."""
    return over


def hosts(base: Node, over: Node) -> Node:
    """A ``Form.merge`` of ``NAME: ADDRESS``, also when one file has a list and one a mapping."""
    if type(base) is not type(over):
        base, over = (_hosts(node) if isinstance(node, Seq) else node for node in (base, over))
    return merge(base, over, ANYTHING)


def _hosts(node: Seq) -> Map:
    entries: dict[str, Node] = {}
    for item in node.items:
        if isinstance(item, Scalar):
            name, _, address = item.text.partition("=" if "=" in item.text else ":")
            scalar = Scalar(item.where, address)
            known = entries.setdefault(name, Seq(item.where))
            if isinstance(known, Seq):
                known.items.append(scalar)
    return Map(node.where, entries, node.tag)


def logging(base: Node, over: Node) -> Node:
    """A ``Form.merge``: options of one driver mean nothing to another."""
    old, new = _text(base, "driver"), _text(over, "driver")
    return over if old != (new or old) else merge(base, over, ANYTHING)


def _text(node: Node, key: str) -> str:
    value = node.entries.get(key) if isinstance(node, Map) else None
    return value.text if isinstance(value, Scalar) else ""
