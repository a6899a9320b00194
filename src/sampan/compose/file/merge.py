"""Bring a file's short forms into one form, and lay one file over another.

Both walk the shapes that the file was checked against. ``normalise`` turns what is a mapping in
disguise (``environment: [A=1]``) into a mapping and makes paths absolute, by the ``Form`` of each
key; so ``merge`` needs three general rules: mappings merge by key, lists append without repeating,
everything else is replaced. A key that merges in another way says so in its ``Form``.
"""

from __future__ import annotations

import os

from sampan.compose.file.schema_types import ANYTHING, ListOf, MapOf, Obj, Shape, fitting_shape
from sampan.compose.file.yaml_tree import Map, Node, Scalar, Seq


def normalise(node: Node, shape: Shape, base: str) -> None:
    """Bring ``node`` (checked, interpolated) into its one form. ``base``: where paths start."""
    fitting = fitting_shape(node, shape)
    if isinstance(fitting, Obj) and isinstance(node, Map):
        for key, form in fitting.forms.items():
            if form.normal is not None and key in node.entries:
                node.entries[key] = form.normal(node.entries[key], base)
        for key, value in node.entries.items():
            normalise(value, fitting.keys.get(key, ANYTHING), base)
    elif isinstance(fitting, MapOf) and isinstance(node, Map):
        for value in node.entries.values():
            normalise(value, fitting.value, base)
    elif isinstance(fitting, ListOf) and isinstance(node, Seq):
        for item in node.items:
            normalise(item, fitting.item, base)


def merge(base: Node, over: Node, shape: Shape) -> Node:
    """``over`` laid on ``base``; neither is changed."""
    if over.tag == "override" or type(base) is not type(over):
        return over
    if isinstance(base, Map) and isinstance(over, Map):
        fitting = fitting_shape(over, shape)
        entries = dict(base.entries)
        for name, value in over.entries.items():
            if value.tag == "reset":
                entries.pop(name, None)
            elif name in entries:
                entries[name] = _merge_key(entries[name], value, name, fitting)
            else:
                entries[name] = value
        return Map(over.where, entries)
    if isinstance(base, Seq) and isinstance(over, Seq):
        known = {i.text for i in base.items if isinstance(i, Scalar)}
        fresh = [i for i in over.items if not (isinstance(i, Scalar) and i.text in known)]
        return Seq(over.where, base.items + fresh)
    return over


def _merge_key(base: Node, over: Node, key: str, shape: Shape | None) -> Node:
    if isinstance(shape, Obj):
        own = shape.forms.get(key)
        if own is not None and own.merge is not None and not over.tag:
            return own.merge(base, over)
        return merge(base, over, shape.keys.get(key, ANYTHING))
    return merge(base, over, shape.value if isinstance(shape, MapOf) else ANYTHING)


def without_resets(node: Node) -> Node:
    """``node`` without what is tagged ``!reset``: a single file may use the tag as well."""
    if isinstance(node, Map):
        kept = {k: without_resets(v) for k, v in node.entries.items() if v.tag != "reset"}
        return Map(node.where, kept, node.tag)
    if isinstance(node, Seq):
        return Seq(node.where, [without_resets(item) for item in node.items], node.tag)
    return node


def resolve(path: str, base: str) -> str:
    """``path`` as seen from ``base``, absolute; ``~`` is the user's home directory."""
    return os.path.normpath(os.path.join(base, os.path.expanduser(path)))


def is_path(source: str) -> bool:
    """Whether a volume's source is a path of the host and not the name of a volume."""
    return source.startswith((".", "/", "~"))


def is_remote(context: str) -> bool:
    """Whether a build's context is something that the daemon fetches."""
    return (
        "://" in context or context.startswith(("git@", "github.com/")) or context.endswith(".git")
    )
