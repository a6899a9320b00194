"""``COPY`` and ``ADD``: what to copy, its key, and the copying."""

from __future__ import annotations

import json
import posixpath
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

from sampan.build.accounts import owner
from sampan.build.contract import DockerfileError
from sampan.build.copier import Copier
from sampan.build.dockerfile import expand
from sampan.build.dockerfile.instructions import Copy
from sampan.build.job import Job
from sampan.build.layer import make_layer
from sampan.build.metadata import Scope
from sampan.build.remote import Remote, fetch, is_url
from sampan.build.state import StageState, digest
from sampan.build.tree import Picked, Tree
from sampan.errors import SampanError


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A ``COPY`` with its variables replaced."""

    sources: tuple[str, ...]
    dest: str
    """Absolute and clean; ends in "/" when it must be a directory."""
    chown: str
    mode: int | None
    files: tuple[tuple[str, str], ...]
    """Inline: name and content."""
    add: bool

    @property
    def canonical(self) -> str:
        return json.dumps([self.sources, self.dest, self.chown, self.mode, self.files, self.add])


@dataclass(frozen=True, slots=True)
class Selection:
    """What the sources turned out to be, and a digest of all of it."""

    picked: tuple[Picked, ...]
    remote: tuple[Remote, ...]
    digest: str
    kind: str
    """``file``, ``dir`` or ``multi``: history's word for it."""


def wanted(state: StageState, step: Copy, scope: Scope) -> Wanted:
    """Raises DockerfileError: a bad variable or mode, several sources and a file as destination."""
    dest = scope.expand(step, step.dest, state)
    slash = dest.endswith("/") or dest.rpartition("/")[2] in (".", "..")
    dest = posixpath.normpath(posixpath.join("/", state.config.working_dir, dest))
    if slash and dest != "/":
        dest += "/"
    files = tuple(
        (
            doc.name,
            expand(doc.content, state.variables, escape=scope.escape, keep_quotes=True)
            if doc.expand
            else doc.content,
        )
        for doc in step.heredocs
    )
    sources = tuple(scope.expand(step, source, state) for source in step.sources)
    if len(sources) + len(files) > 1 and not dest.endswith("/"):
        raise _many(step, scope)
    chmod = scope.expand(step, step.chmod, state)
    try:
        mode = int(chmod, 8) if chmod else None
    except ValueError:
        mode = -1
    if mode is not None and not 0 <= mode <= 0o7777:
        raise scope.wrong(step, f"invalid --chmod {chmod!r}: write it in octal, as --chmod=755")
    return Wanted(
        sources=sources,
        dest=dest,
        chown=scope.expand(step, step.chown, state),
        mode=mode,
        files=files,
        add=step.add,
    )


def copy_key(state: StageState, want: Wanted, content: str) -> str:
    """``content``: a digest of what is copied, or a name for where it comes from."""
    return digest(state.key, "COPY", want.canonical, content)


async def select(job: Job, tree: Tree, want: Wanted, step: Copy, scope: Scope) -> Selection:
    """Find and digest the sources.

    Raises:
        DockerfileError: one does not exist, is outside of the tree, or there are too many.
    """
    urls = [source for source in want.sources if is_remote(want, source)]

    def look(_: Event) -> tuple[list[Picked], list[str]]:
        picked = [
            found
            for source in want.sources
            if not is_remote(want, source)
            for found in tree.pick(source)
        ]
        return picked, [f"{found.name} {tree.digest(found)}" for found in picked]

    try:
        remote = [await fetch(job, url, step.checksum) for url in urls]
        picked, digests = await job.in_thread(look)
    except DockerfileError as error:
        raise scope.wrong(step, error) from None
    if len(picked) + len(remote) + len(want.files) > 1:
        if not want.dest.endswith("/"):
            raise _many(step, scope)
        kind = "multi"
    else:
        kind = "dir" if picked and picked[0].is_dir else "file"
    whole = digest(*digests, "", *(item.digest for item in remote))
    return Selection(tuple(picked), tuple(remote), whole, kind)


def is_remote(want: Wanted, source: str) -> bool:
    return want.add and is_url(source)


async def copy_step(
    job: Job,
    state: StageState,
    step: Copy,
    want: Wanted,
    tree: Tree,
    selection: Selection,
    keys: list[str],
    scope: Scope,
) -> StageState:
    """Do it. Raises DockerfileError."""

    async def write(_: str, root: str) -> bool:
        try:
            await job.in_thread(_copying(root, step, want, tree, selection))
        except SampanError as error:
            raise scope.wrong(step, error) from None
        except OSError as error:
            raise scope.wrong(step, f"COPY failed: {error.strerror}: {want.dest}") from error
        return True

    verb = "ADD" if step.add else "COPY"
    from_ = f" --from={step.from_}" if step.from_ else ""
    line = f"/bin/sh -c #(nop) {verb}{from_} {selection.kind}:{selection.digest} in {want.dest} "
    return await make_layer(job, state, keys, write, created_by=line)


def _copying(
    root: str, step: Copy, want: Wanted, tree: Tree, selection: Selection
) -> Callable[[Event], None]:
    def work(stop: Event) -> None:
        who: tuple[int, int] | None = (0, 0)
        if want.chown:
            who = owner(root, want.chown)
        elif tree.keeps_owner:
            who = None
        copier = Copier(root, owner=who, mode=want.mode, stop=stop)
        for picked in selection.picked:
            if want.add and not picked.is_dir and (archive := _archive(picked.path)) is not None:
                with archive:
                    copier.unpack(archive, want.dest.rstrip("/"))
            else:
                copier.copy(tree, picked, want.dest)
        for name, content in want.files:
            copier.write(name, content.encode(), want.dest)
        for item in selection.remote:
            copier.place_file(item.path, item.name, want.dest, 0o600)

    return work


def _archive(path: str) -> tarfile.TarFile | None:
    """A tar, compressed or not, told by its content; None for anything else."""
    try:
        return tarfile.open(path)
    except (tarfile.TarError, OSError, EOFError):
        return None


def _many(step: Copy, scope: Scope) -> DockerfileError:
    verb = "ADD" if step.add else "COPY"
    return scope.wrong(
        step,
        f"When using {verb} with more than one source file, the destination must be a directory "
        f"and end with a /: write {step.dest}/",
    )
