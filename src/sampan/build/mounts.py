"""``RUN --mount``: ``bind``, ``cache`` and ``tmpfs``. ``secret`` and ``ssh`` need a session with
the client that the classic protocol lacks, and are refused by name.

A cache is a directory of the daemon that outlives builds; what is in it never decides whether a
step is cached. A bind shows files of the context or of another stage, read only for the sources:
what a step writes there with ``rw`` is thrown away with a copy of its own.
"""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from sampan.build.copier import Copier
from sampan.build.dockerfile.instructions import Run
from sampan.build.job import Job
from sampan.build.metadata import Scope
from sampan.build.state import StageState, digest
from sampan.build.tree import Picked, Tree
from sampan.store.records import MountPoint

_KEYS = {
    "type": "type",
    **dict.fromkeys(("target", "dst", "destination"), "target"),
    **dict.fromkeys(("source", "src"), "source"),
    **{name: name for name in ("from", "id", "sharing", "size", "mode", "uid", "gid")},
    **dict.fromkeys(("ro", "readonly"), "ro"),
    **dict.fromkeys(("rw", "readwrite"), "rw"),
}
CACHES = "build-mounts"
"""Directory of the cache mounts under the daemon's root."""

FindTree = Callable[[str], Awaitable[Tree]]
"""The file system of a stage or image named by ``from=``."""


@dataclass(frozen=True, slots=True)
class RunMount:
    """One ``--mount``, understood; ``content`` digests what a bind shows."""

    type: str
    target: str
    options: dict[str, str]
    tree: Tree | None = None
    picked: Picked | None = None
    content: str = ""


def read_mount(text: str, state: StageState, step: Run, scope: Scope) -> RunMount:
    """Raises DockerfileError: an unknown type or option, no target."""
    options: dict[str, str] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name.strip().lower() not in _KEYS:
            raise scope.wrong(step, f"unexpected key {name!r} in --mount={text}")
        options[_KEYS[name.strip().lower()]] = scope.expand(step, value, state)
    kind = options.setdefault("type", "bind")
    if kind not in ("bind", "cache", "tmpfs"):
        raise scope.wrong(
            step, f"RUN --mount=type={kind} is not supported yet: use bind, cache or tmpfs"
        )
    if not options.get("target"):
        raise scope.wrong(step, f"--mount={text} names no target: add target=/path")
    target = posixpath.join("/", state.config.working_dir, options["target"])
    for name, base in (("mode", 8), ("uid", 10), ("gid", 10), ("size", 10)):
        try:
            int(options.get(name) or "0", base)
        except ValueError:
            raise scope.wrong(step, f"{name}={options[name]} in --mount is not a number") from None
    return RunMount(kind, posixpath.normpath(target), options)


async def look(
    job: Job, state: StageState, step: Run, scope: Scope, find: FindTree
) -> tuple[RunMount, ...]:
    """Understand every mount, and digest what binds show.

    Raises:
        DockerfileError
    """
    run_mounts: list[RunMount] = []
    for text in step.mounts:
        one = read_mount(text, state, step, scope)
        if one.type == "bind":
            ref = one.options.get("from", "")
            tree = await find(ref) if ref else job.context
            source = one.options.get("source") or "."

            def work(_: Event, tree: Tree = tree, source: str = source) -> tuple[Picked, str]:
                picked = tree.pick(source)[0]
                return picked, tree.digest(picked)

            picked, content = await job.in_thread(work)
            one = RunMount(one.type, one.target, one.options, tree, picked, content)
        run_mounts.append(one)
    return tuple(run_mounts)


def key_of(run_mounts: tuple[RunMount, ...]) -> str:
    """What a step's key takes from its mounts."""
    return digest(*(f"{one.type} {one.target} {one.content}" for one in run_mounts))


def materialise(
    job: Job, run_mounts: tuple[RunMount, ...], scratch: Path
) -> tuple[MountPoint, ...]:
    """Make the host's side; copies go into ``scratch``. Blocking."""
    points: list[MountPoint] = []
    for number, one in enumerate(run_mounts):
        options = one.options
        if one.type == "tmpfs":
            size = options.get("size", "")
            points.append(
                MountPoint(
                    type="tmpfs",
                    source="",
                    target=one.target,
                    mode=f"size={size}" if size else "",
                )
            )
            continue
        writable = "rw" in options or (one.type == "cache" and "ro" not in options)
        if one.type == "cache":
            name = digest(options.get("id") or one.target)[:32]
            source = job.parts.config.paths.root / CACHES / name
            if not source.exists():
                source.mkdir(parents=True)
                os.chown(source, int(options.get("uid") or 0), int(options.get("gid") or 0))
                source.chmod(int(options.get("mode") or "755", 8))
        else:
            source = _shown(one, writable, scratch / f"mount-{number}")
        points.append(
            MountPoint(
                type="bind",
                source=str(source),
                target=one.target,
                read_write=writable,
                propagation="rprivate",
            )
        )
    return tuple(sorted(points, key=lambda point: point.target.count("/")))


def forget_caches(root: Path) -> None:
    """Empty every cache mount (``builder prune --all``). Blocking."""
    shutil.rmtree(root / CACHES, ignore_errors=True)


def _shown(one: RunMount, writable: bool, scratch: Path) -> Path:
    """What is bound: the files themselves where nothing of them must be hidden or protected."""
    assert one.tree is not None
    assert one.picked is not None
    if not writable and not one.tree.ignore:
        return Path(one.picked.path)
    scratch.mkdir(parents=True, exist_ok=True)
    owner = None if one.tree.keeps_owner else (0, 0)
    name = "tree" if one.picked.is_dir else "file"
    Copier(str(scratch), owner=owner).copy(one.tree, one.picked, f"/{name}")
    return scratch / name
