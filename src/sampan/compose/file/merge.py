"""Bring a file's short forms into one form, and lay one file over another.

``normalise`` turns lists that are mappings in disguise (``environment``, ``labels``, ``networks``,
``depends_on`` ...) into mappings and makes paths absolute, so that ``merge`` has three rules only:
mappings merge by key, lists append without repeating, everything else (and ``command``,
``entrypoint`` and a health check's ``test``) is replaced.
"""

from __future__ import annotations

import os

from sampan.compose.file.yaml_tree import Map, Node, Scalar, Seq, scalar_kind

_PAIRS = (
    ("environment",),
    ("labels",),
    ("annotations",),
    ("sysctls",),
    ("build", "args"),
    ("build", "labels"),
    ("deploy", "labels"),
)
_REPLACED = frozenset({"command", "entrypoint", "test"})


def normalise(tree: Map, base: str) -> None:
    """Bring ``tree`` (checked, interpolated) into its one form. ``base``: where paths start."""
    services = tree.entries.get("services")
    if isinstance(services, Map):
        for service in services.entries.values():
            if isinstance(service, Map):
                normalise_service(service, base)
    for kind in ("networks", "volumes", "secrets", "configs"):
        section = tree.entries.get(kind)
        if isinstance(section, Map):
            for item in section.entries.values():
                if isinstance(item, Map):
                    _pairs(item, ("labels",))
                    if kind in ("secrets", "configs"):
                        _absolute(item, "file", base)


def normalise_service(service: Map, base: str) -> None:
    """As ``normalise``, of one service."""
    build = service.entries.get("build")
    if isinstance(build, Scalar) and build.kind != "null":
        context = Scalar(build.where, build.text, interpolated=build.interpolated)
        service.entries["build"] = build = Map(build.where, {"context": context}, build.tag)
    for path in _PAIRS:
        _pairs(service, path)
    _names_to_map(service, "networks", lambda where: Scalar(where, "", "null"))
    _names_to_map(
        service,
        "depends_on",
        lambda where: Map(where, {"condition": Scalar(where, "service_started")}),
    )
    for key in ("env_file", "label_file", "dns", "dns_search", "tmpfs"):
        value = service.entries.get(key)
        if isinstance(value, Scalar) and value.kind != "null":
            service.entries[key] = Seq(value.where, [value], value.tag)
    _paths(service, base)


def _paths(service: Map, base: str) -> None:
    build = service.entries.get("build")
    if isinstance(build, Map):
        context = build.entries.get("context")
        if context is None:
            build.entries["context"] = Scalar(build.where, base)
        elif isinstance(context, Scalar) and not is_remote(context.text):
            context.text = resolve(context.text, base)
    for key in ("env_file", "label_file"):
        value = service.entries.get(key)
        for item in value.items if isinstance(value, Seq) else ():
            if isinstance(item, Scalar):
                item.text = resolve(item.text, base)
            elif isinstance(item, Map):
                _absolute(item, "path", base)
    volumes = service.entries.get("volumes")
    for item in volumes.items if isinstance(volumes, Seq) else ():
        if isinstance(item, Scalar):
            source, colon, rest = item.text.partition(":")
            if colon and is_path(source):
                item.text = f"{resolve(source, base)}:{rest}"
        elif isinstance(item, Map):
            kind = item.entries.get("type")
            if isinstance(kind, Scalar) and kind.text == "bind":
                _absolute(item, "source", base)


def is_path(source: str) -> bool:
    """Whether a volume's source is a path of the host and not the name of a volume."""
    return source.startswith((".", "/", "~"))


def is_remote(context: str) -> bool:
    """Whether a build's context is something that the daemon fetches."""
    return (
        "://" in context or context.startswith(("git@", "github.com/")) or context.endswith(".git")
    )


def resolve(path: str, base: str) -> str:
    """``path`` as seen from ``base``, absolute; ``~`` is the user's home directory."""
    return os.path.normpath(os.path.join(base, os.path.expanduser(path)))


def _absolute(item: Map, key: str, base: str) -> None:
    value = item.entries.get(key)
    if isinstance(value, Scalar) and value.kind != "null":
        value.text = resolve(value.text, base)


def _pairs(node: Map, path: tuple[str, ...]) -> None:
    """Turn the list ``["K=V", "K"]`` at ``path`` into a mapping; a bare K means: from outside."""
    for key in path[:-1]:
        below = node.entries.get(key)
        if not isinstance(below, Map):
            return
        node = below
    value = node.entries.get(path[-1])
    if not isinstance(value, Seq):
        return
    entries: dict[str, Node] = {}
    for item in value.items:
        if isinstance(item, Scalar):
            key, equals, text = item.text.partition("=")
            entries[key] = Scalar(item.where, text, "string" if equals else scalar_kind(""))
    node.entries[path[-1]] = Map(value.where, entries, value.tag)


def _names_to_map(service: Map, key: str, value_of: object) -> None:
    value = service.entries.get(key)
    if isinstance(value, Seq):
        assert callable(value_of)
        entries = {i.text: value_of(i.where) for i in value.items if isinstance(i, Scalar)}
        service.entries[key] = Map(value.where, entries, value.tag)


def merge(base: Node, over: Node, key: str = "") -> Node:
    """``over`` laid on ``base``; neither is changed."""
    if over.tag == "override" or type(base) is not type(over) or key in _REPLACED:
        return over
    if isinstance(base, Map) and isinstance(over, Map):
        if key == "logging" and _text(base, "driver") != (
            _text(over, "driver") or _text(base, "driver")
        ):
            return over  # options of one driver mean nothing to another
        entries = dict(base.entries)
        for name, value in over.entries.items():
            if value.tag == "reset":
                entries.pop(name, None)
            elif name in entries:
                entries[name] = merge(entries[name], value, name)
            else:
                entries[name] = value
        return Map(over.where, entries)
    if isinstance(base, Seq) and isinstance(over, Seq):
        seen = {i.text for i in base.items if isinstance(i, Scalar)}
        fresh = [i for i in over.items if not (isinstance(i, Scalar) and i.text in seen)]
        return Seq(over.where, base.items + fresh)
    return over


def without_resets(node: Node) -> Node:
    """``node`` without what is tagged ``!reset``: a single file may use the tag as well."""
    if isinstance(node, Map):
        kept = {k: without_resets(v) for k, v in node.entries.items() if v.tag != "reset"}
        return Map(node.where, kept, node.tag)
    if isinstance(node, Seq):
        return Seq(node.where, [without_resets(item) for item in node.items], node.tag)
    return node


def _text(node: Map, key: str) -> str:
    value = node.entries.get(key)
    return value.text if isinstance(value, Scalar) else ""
