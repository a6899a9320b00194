"""From a command line's ``-f``, ``-p`` ... to one merged, checked tree: find and merge.

Each file is read, interpolated and checked by itself, so that a complaint names the file and line
that someone wrote; then ``include`` and ``extends`` are followed and the files laid on each other.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from sampan.compose.errors import ComposeFileError, ManyProblems, UsageError, Where
from sampan.compose.file import dotenv
from sampan.compose.file.interpolate import interpolate, substitute
from sampan.compose.file.merge import is_remote, merge, normalise, resolve, without_resets
from sampan.compose.file.schema_types import ANYTHING, MapOf, Obj, Report, check, suggestion
from sampan.compose.file.yaml_tree import Map, Node, Scalar, Seq, parse

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
_OVERRIDES = {
    "compose.yaml": ("compose.override.yaml", "compose.override.yml"),
    "compose.yml": ("compose.override.yml", "compose.override.yaml"),
    "docker-compose.yml": ("docker-compose.override.yml", "docker-compose.override.yaml"),
    "docker-compose.yaml": ("docker-compose.override.yaml", "docker-compose.override.yml"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """What the command line (and COMPOSE_* variables) say about the project."""

    files: tuple[str, ...] = ()
    project: str | None = None
    directory: str | None = None
    env_files: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    cwd: str = "."
    name_is_variable: bool = True
    """Whether the file may use the project's name as ``COMPOSE_PROJECT_NAME``."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A merged tree and where it came from."""

    tree: Map
    name: str
    directory: str
    files: tuple[str, ...]
    variables: Mapping[str, str]
    """The shell's variables over those of ``.env``."""
    warnings: tuple[str, ...]


def find(request: LoadRequest) -> tuple[str, ...]:
    """The files to read: those asked for, else the nearest one upward with its override.

    Raises:
        UsageError: there is none.
    """
    if request.files:
        chosen = [f if f == "-" else os.path.join(request.cwd, f) for f in request.files]
        for path in chosen:
            if path != "-" and not os.path.isfile(path):
                raise UsageError(f"no such compose file: {path}")
        return tuple(chosen)
    start = os.path.abspath(request.directory or request.cwd)
    folder = start
    while True:
        present = [name for name in NAMES if os.path.isfile(os.path.join(folder, name))]
        if present:
            base = present[0]
            over = [n for n in _OVERRIDES[base] if os.path.isfile(os.path.join(folder, n))][:1]
            return tuple(os.path.join(folder, name) for name in [base, *over])
        parent = os.path.dirname(folder)
        if parent == folder:
            raise UsageError(
                f"no compose file in {start} or above it: write a {NAMES[0]}, or name one with -f"
            )
        folder = parent


def load(
    request: LoadRequest,
    environ: Mapping[str, str],
    schema: Obj,
    *,
    interpolated: bool = True,
) -> Loaded:
    """Find, read, interpolate, check and merge.

    Args:
        schema: what a file may say; a cluster honours other keys than one host does.
        interpolated: False leaves variables as they are written.

    Raises:
        ComposeFileError, ManyProblems, UsageError: with file and line where there is one.
    """
    files = find(request)
    first = files[0]
    default = request.cwd if first == "-" else os.path.dirname(os.path.abspath(first))
    directory = os.path.abspath(os.path.join(request.cwd, request.directory or default))
    variables = load_env(request.env_files, directory, request.cwd, environ)
    work = _Work(variables, directory, schema, interpolated=interpolated)
    if not any(work.peek(path).entries for path in files):
        where = Where("stdin" if first == "-" else display(first), 0)
        raise ComposeFileError(where, "empty compose file: write at least `services:`")
    if request.name_is_variable:
        # Known before the files are interpolated, since they may use it.
        variables["COMPOSE_PROJECT_NAME"] = _early_name(request, work, files, directory)
    tree: Node | None = None
    for path in files:
        part = work.file(path, directory)
        tree = part if tree is None else merge(tree, part, schema)
    work.finish()
    tree = without_resets(tree) if tree is not None else None
    assert isinstance(tree, Map)
    name = project_name(request, tree, directory, variables)
    return Loaded(tree, name, directory, files, variables, tuple(work.report.warnings))


def _early_name(request: LoadRequest, work: _Work, files: tuple[str, ...], directory: str) -> str:
    """The project's name, as ``project_name`` will find it in the merged files."""
    said = Map(Where("", 0))
    for path in files:
        name = work.peek(path).entries.get("name")
        if isinstance(name, Scalar):
            text = substitute(name.text, work.variables) if "$" in name.text else name.text
            said.entries["name"] = Scalar(name.where, text)
    return project_name(request, said, directory, work.variables)


def surroundings(
    env_files: tuple[str, ...], directory: str | None, cwd: str, environ: Mapping[str, str]
) -> Mapping[str, str]:
    """The variables that say which files to read, before any is: the shell's over those of .env.

    Raises:
        ComposeFileError, UsageError: as ``load_env``.
    """
    return load_env(env_files, os.path.join(cwd, directory or ""), cwd, environ)


def load_env(
    env_files: tuple[str, ...], directory: str, cwd: str, environ: Mapping[str, str]
) -> dict[str, str]:
    """Variables for interpolation: the shell's win over the files'; later files win over earlier.

    Raises:
        ComposeFileError, UsageError: a file is broken, or was named and is missing.
    """
    named = [os.path.join(cwd, path) for path in env_files]
    usual = os.path.join(directory, ".env")
    found: dict[str, str] = {}
    for path in named or ([usual] if os.path.isfile(usual) else []):
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read()
        except FileNotFoundError:
            raise UsageError(f"no such environment file: {path}") from None
        values = dotenv.parse(text, display(path), {**found, **environ})
        found.update({key: value for key, value in values.items() if value is not None})
    return {**found, **environ}


def project_name(
    request: LoadRequest, tree: Map, directory: str, variables: Mapping[str, str]
) -> str:
    """-p, COMPOSE_PROJECT_NAME, ``name:``, else the directory's name. Raises UsageError."""
    said = request.project or variables.get("COMPOSE_PROJECT_NAME")
    if said:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", said):
            raise UsageError(
                f"invalid project name {said!r}: lower-case letters, digits, - and _ only, "
                "beginning with a letter or digit"
            )
        return said
    inside = tree.entries.get("name")
    if isinstance(inside, Scalar) and inside.text:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", inside.text):
            raise ComposeFileError(
                inside.where, f"name: {inside.text!r} must be lower-case letters, digits, - and _"
            )
        return inside.text
    return folder_name(directory)


def folder_name(directory: str) -> str:
    """The project's name that follows from a directory. Raises UsageError."""
    plain = re.sub(r"[^a-z0-9_-]", "", os.path.basename(directory).lower()).lstrip("_-")
    if not plain:
        raise UsageError(f"no project name follows from {directory}: give one with -p")
    return plain


def display(path: str) -> str:
    """How a file is called in messages: relative when it is below the working directory."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


class _Work:
    """One load: the variables, the report, and what was read already."""

    def __init__(
        self,
        variables: Mapping[str, str],
        directory: str,
        schema: Obj,
        *,
        interpolated: bool = True,
    ) -> None:
        self.variables = variables
        self.schema = schema
        services = schema.keys["services"]
        self.service = services.value if isinstance(services, MapOf) else ANYTHING
        self._interpolated = interpolated
        self.directory = directory
        self.report = Report()
        self._trees: dict[tuple[str, str], Map] = {}
        self._parsed: dict[str, Map] = {}
        self._reading: list[str] = []
        self._unset: set[str] = set()

    def finish(self) -> None:
        if self.report.errors:
            raise ManyProblems(list(dict.fromkeys(self.report.errors)))

    def file(self, path: str, base: str) -> Map:
        """One file with its includes and extends resolved; relative paths start at ``base``."""
        known = self._trees.get((path, base))
        if known is not None:
            return known
        if path in self._reading:
            raise UsageError(f"include goes in circles: {' -> '.join([*self._reading, path])}")
        self._reading.append(path)
        tree = self.peek(path)
        self._parsed.pop(path, None)  # it is changed from here on
        if self._interpolated:
            interpolate(tree, self.variables, self._on_unset)
        self._legacy(tree)
        check(tree, self.schema, "", self.report)
        self.finish()
        normalise(tree, self.schema, base)
        result: Node = self._include(tree, base)
        services = tree.entries.get("services")
        if isinstance(services, Map):
            for name in list(services.entries):
                services.entries[name] = self._extended(name, services, path, base, ())
        result = merge(result, tree, self.schema)
        self._reading.pop()
        assert isinstance(result, Map)
        self._trees[(path, base)] = result
        return result

    def peek(self, path: str) -> Map:
        """The file as it is written; a file of comments only is an empty mapping."""
        if path not in self._parsed:
            name = "stdin" if path == "-" else display(path)
            self._parsed[path] = parse(self._read(path), name)
        return self._parsed[path]

    def _read(self, path: str) -> str:
        try:
            if path == "-":
                return sys.stdin.read()
            with open(path, encoding="utf-8") as file:
                return file.read()
        except UnicodeDecodeError as error:
            raise ComposeFileError(Where(display(path), 0), f"not UTF-8: {error}") from None
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from None

    def _on_unset(self, name: str) -> None:
        if name not in self._unset:
            self._unset.add(name)
            self.report.warnings.append(
                f'the variable "{name}" is not set: an empty string stands for it'
            )

    def _legacy(self, tree: Map) -> None:
        if not tree.entries or "services" in tree.entries or "include" in tree.entries:
            return
        known = set(self.schema.keys)
        unknown = [k for k in tree.entries if k not in known and not k.startswith("x-")]
        if unknown and all(not suggestion(k, known) for k in unknown):
            raise ComposeFileError(
                tree.where,
                'no "services:" at the top: this is the format of docker-compose 1.x without a '
                f"version; put {', '.join(unknown[:3])} below a `services:` key",
            )

    def _include(self, tree: Map, base: str) -> Node:
        """The files that ``tree`` includes, merged; an empty mapping when there are none."""
        result: Node = Map(tree.where)
        listed = tree.entries.pop("include", None)
        for item in listed.items if isinstance(listed, Seq) else ():
            paths = [item] if isinstance(item, Scalar) else _scalars(item, "path")
            if not paths:
                raise ComposeFileError(item.where, "include needs a path")
            full = [resolve(path.text, base) for path in paths]
            folder = next((s.text for s in _scalars(item, "project_directory")), "")
            inner = resolve(folder, base) if folder else os.path.dirname(full[0])
            before = self.variables
            env = tuple(resolve(s.text, base) for s in _scalars(item, "env_file"))
            self.variables = load_env(env, inner, base, before)
            part: Node | None = None
            for path, scalar in zip(full, paths, strict=True):
                if not os.path.isfile(path):
                    raise ComposeFileError(scalar.where, f"include: no such file: {path}")
                one = self.file(path, inner)
                part = one if part is None else merge(part, one, self.schema)
            self.variables = before
            assert part is not None
            if isinstance(part, Map):
                part = Map(part.where, {k: v for k, v in part.entries.items() if k != "name"})
            result = merge(result, part, self.schema)
        return result

    def _extended(
        self, name: str, services: Map, path: str, base: str, trail: tuple[str, ...]
    ) -> Node:
        service = services.entries[name]
        if not isinstance(service, Map) or "extends" not in service.entries:
            return service
        extends = service.entries["extends"]
        here = f"{path}:{name}"
        if here in trail:
            raise ComposeFileError(extends.where, f"services.{name}.extends goes in circles")
        if isinstance(extends, Scalar):
            other, file = extends.text, None
        else:
            other = next((s.text for s in _scalars(extends, "service")), "")
            file = next((s.text for s in _scalars(extends, "file")), None)
        own = Map(service.where, {k: v for k, v in service.entries.items() if k != "extends"})
        if file is not None and not is_remote(file):
            other_path = resolve(file, base)
            if not os.path.isfile(other_path):
                raise ComposeFileError(
                    extends.where, f"services.{name}.extends: no such file: {other_path}"
                )
            if other_path != path:
                tree = self.file(other_path, os.path.dirname(other_path))
                found = tree.entries.get("services")
                candidates = found if isinstance(found, Map) else Map(tree.where)
                parent = candidates.entries.get(other)
                if parent is None:
                    raise _no_base(extends, name, other, candidates)
                return merge(parent, own, self.service)
        if other not in services.entries:
            raise _no_base(extends, name, other, services)
        parent = self._extended(other, services, path, base, (*trail, here))
        return merge(parent, own, self.service)


def _no_base(extends: Node, name: str, other: str, known: Map) -> ComposeFileError:
    return ComposeFileError(
        extends.where,
        f'services.{name}.extends: there is no service "{other}"{suggestion(other, known.entries)}',
    )


def _scalars(item: Node, key: str) -> list[Scalar]:
    value = item.entries.get(key) if isinstance(item, Map) else None
    if isinstance(value, Seq):
        return [s for s in value.items if isinstance(s, Scalar)]
    return [value] if isinstance(value, Scalar) else []
