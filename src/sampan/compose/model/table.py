"""The mechanism behind the tables of keys: one line says everything about one key of a file.

A ``Key`` names its *kind* (how a file may write the value, how it is read into the typed field of a
class, how ``config`` prints it, how two files' values merge) and two *targets*: where the value
goes in the engine's create request, and where in the specification of a cluster's service. A
``Section`` is a class and the keys of its fields; a section may be the kind of a key.

The classes are written out, so that the type checker knows every field;
``tests/compose/model/test_compose_keys.py`` proves that tables and classes agree, and that the
tables know every key of the published specification.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from sampan.compose.file.node_reader import NodeReader
from sampan.compose.file.schema_types import Form, MapOf, Obj, Shape, alternatives
from sampan.compose.file.yaml_tree import Map

NO_FORM = Form()


def put(out: dict[str, Any], path: str, value: Any) -> None:
    """Set the member at the dotted ``path``; what is on the way is made."""
    *outer, last = path.split(".")
    for name in outer:
        out = out.setdefault(name, {})
    out[last] = value


def plain(value: Any) -> Any:
    """Tuples as lists: what JSON and YAML know."""
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


class Reading(NamedTuple):
    """What a reader may look at besides its own value."""

    owner: NodeReader
    """The mapping that the key stands in."""
    variables: Mapping[str, str]


class Kind(NamedTuple):
    """What the value of a key is."""

    shape: Shape
    read: Callable[[NodeReader, Reading], Any]
    type: str
    """The annotation of the field that takes what ``read`` answers (without ``| None``)."""
    show: Callable[[Any], Any] = plain
    form: Form = NO_FORM
    section: Section | None = None
    """The keys of the mappings that the value is made of."""
    wrap: Callable[[Obj], Shape] = lambda obj: obj

    keep_empty: bool = False
    """Whether an empty value is not the same as none."""

    def shape_for(self, cluster: bool) -> Shape:
        """A cluster honours other keys than an engine: those of a section differ."""
        if self.section is None:
            return self.shape
        return self.wrap(self.section.shape(cluster=cluster))

    def printed(self, show: Callable[[Any], Any]) -> Kind:
        """The same, printed in another way."""
        return self._replace(show=show)


class To(NamedTuple):
    """One place in a request, and how the value looks there."""

    path: str
    convert: Callable[[Any], Any]


class Elsewhere(NamedTuple):
    """Not in the request: ``by`` names who honours it."""

    by: str


class NoEffect(NamedTuple):
    """Accepted with a warning that gives this reason."""

    reason: str


class RefusedKey(NamedTuple):
    """An error that gives this reason."""

    reason: str


class Ignored(NamedTuple):
    """A cluster does not honour it: all such keys of a file are named in one warning."""

    deprecated: bool = False


Placing: TypeAlias = Callable[[Any, Any], Iterable[tuple[str, Any]]]
"""(value, what the request is made for) -> (path, value) for every place it goes to."""
Target: TypeAlias = str | To | Placing | Elsewhere | NoEffect | RefusedKey | Ignored


class Key(NamedTuple):
    """One key of a mapping in a compose file."""

    name: str
    kind: Kind
    engine: Target
    cluster: Target
    field: str | None = ""
    """The field when it is called otherwise; None: no field keeps it."""
    also: str = ""
    """Where the value stands when the key itself is absent: ``deploy.replicas``."""
    always: bool = False
    """Read even when absent: something else of the file counts, too."""

    @property
    def kept_in(self) -> str | None:
        """The name of the field, None when there is none."""
        return self.name if self.field == "" else self.field


class Section(NamedTuple):
    """A mapping of a compose file: the class that holds it, and its keys."""

    make: Callable[..., Any]
    keys: tuple[Key, ...]
    required: frozenset[str] = frozenset()

    def shape(self, *, cluster: bool = False) -> Obj:
        """What a file may say here. What a cluster ignores is told elsewhere, in one sentence."""
        targets = {k.name: k.cluster if cluster else k.engine for k in self.keys}
        return Obj(
            {key.name: key.kind.shape_for(cluster) for key in self.keys},
            {n: t.reason for n, t in targets.items() if isinstance(t, NoEffect)},
            {n: t.reason for n, t in targets.items() if isinstance(t, RefusedKey)},
            self.required,
            {key.name: key.kind.form for key in self.keys if key.kind.form != NO_FORM},
        )

    def fields(self, cur: NodeReader, variables: Mapping[str, str]) -> dict[str, Any]:
        """The typed values of the mapping at ``cur``, by field. Raises ComposeFileError."""
        found: dict[str, Any] = {}
        reading = Reading(cur, variables)
        for key in self.keys:
            name = key.kept_in
            if name is None:
                continue
            value = cur[key.name]
            if not value and key.also:
                value = cur.at(key.also)
            if value or key.always:
                found[name] = key.kind.read(value, reading)
        return found

    def read(self, cur: NodeReader, variables: Mapping[str, str]) -> Any:
        """The value of the mapping at ``cur``. Raises ComposeFileError."""
        return self.make(**self.fields(cur, variables))

    def data(self, owner: Any) -> dict[str, Any]:
        """What is said, under the file's keys, as ``config`` prints it."""
        found: dict[str, Any] = {}
        for key in self.keys:
            if (name := key.kept_in) is not None:
                shown = key.kind.show(getattr(owner, name))
                if shown is not None and (key.kind.keep_empty or shown not in ("", [], {})):
                    found[key.name] = shown
        return found

    def request(self, owner: Any, made_for: Any, *, cluster: bool = False) -> dict[str, Any]:
        """The part of the request that these keys make: ``A.B`` is a member of a member."""
        out: dict[str, Any] = {}
        for key in self.keys:
            target = key.cluster if cluster else key.engine
            name = key.kept_in
            if name is None or isinstance(target, (Elsewhere, NoEffect, RefusedKey, Ignored)):
                continue
            value = getattr(owner, name)
            if value is None or (value in ("", (), {}) and not key.kind.keep_empty):
                continue
            if isinstance(target, To):
                put(out, target.path, target.convert(value))
            elif not isinstance(target, str):
                for path, item in target(value, made_for):
                    put(out, path, item)
            elif key.kind.section is not None:
                inner = key.kind.section.request(value, made_for, cluster=cluster)
                put(out, target, inner)
            else:
                put(out, target, plain(value))
        return out

    def ignored(self, cur: NodeReader, *, deprecated: bool = False) -> set[str]:
        """Dotted names of what stands at ``cur`` and means nothing to a cluster."""
        found: set[str] = set()
        for key in self.keys:
            # Said is what is written, also when nothing stands behind it.
            if isinstance(cur.node, Map) and key.name in cur.node.entries:
                if isinstance(key.cluster, Ignored):
                    if key.cluster.deprecated is deprecated:
                        found.add(key.name)
                elif key.kind.section is not None:
                    for one in _each(key.kind, cur[key.name]):
                        inner = key.kind.section.ignored(one, deprecated=deprecated)
                        found |= {f"{key.name}.{name}" for name in inner}
        return found


def _each(kind: Kind, cur: NodeReader) -> Iterable[NodeReader]:
    """The mappings of a section: the value, each item of a list, or each value of a mapping."""
    if cur.is_list:
        return cur
    if any(isinstance(option, MapOf) for option in alternatives(kind.shape)):
        return [value for _, value in cur.items()]
    return (cur,)


def section_kind(
    section: Section,
    type_: str,
    *,
    wrap: Callable[[Obj], Shape] = lambda obj: obj,
    read: Callable[[NodeReader, Reading], Any] | None = None,
    show: Callable[[Any], Any] | None = None,
    form: Form = NO_FORM,
) -> Kind:
    """The kind of a key whose value is, or holds, mappings with keys of their own.

    ``wrap``: the value's whole shape around the section's object.
    """
    return Kind(
        wrap(section.shape()),
        read or (lambda cur, reading: section.read(cur, reading.variables)),
        type_,
        show or (lambda value: None if value is None else section.data(value)),
        form,
        section,
        wrap,
    )
