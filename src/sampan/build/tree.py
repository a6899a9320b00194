"""Where ``COPY`` takes from: the build context, or another stage's file system. Read only.

A tree is walked in sorted order, so that a digest over it depends on nothing but what is in it.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import posixpath
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from sampan.build.contract import DockerfileError
from sampan.build.scoped import resolve
from sampan.ignore import Ignore, translate

_WILD = re.compile(r"[*?\[]")
_STARS = re.compile(r"\*+")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, directory, link or device under a source."""

    name: str
    """Relative to the source; "" is the source itself."""
    path: str
    """On the host."""
    stat: os.stat_result


@dataclass(frozen=True, slots=True)
class Picked:
    """One source after wildcards: what a step copies."""

    name: str
    """Relative to the tree, as the wildcard matched it."""
    path: str
    """On the host, links resolved inside the tree."""
    is_dir: bool


@dataclass(frozen=True, slots=True)
class Tree:
    root: str
    """Host directory, without a trailing slash."""
    what: str
    """For messages: "build context", "stage builder"."""
    ignore: Ignore = field(default_factory=lambda: Ignore(()))
    keeps_owner: bool = False
    """Owners are part of the content (another stage's files), not an accident of the client."""
    digests: dict[str, str] = field(default_factory=dict)
    """Of files seen so far: every file is read once a build at most."""

    def pick(self, pattern: str) -> list[Picked]:
        """What one source of a ``COPY`` means; a wildcard may match several.

        Raises:
            DockerfileError: outside the tree, or nothing is there.
        """
        clean = posixpath.normpath(pattern.lstrip("/") or ".")
        if clean == ".." or clean.startswith("../"):
            if not self.keeps_owner:
                raise DockerfileError(
                    f"COPY failed: forbidden path outside the build context: {pattern}: copy the "
                    "file into the context, or build from the directory above"
                )
            clean = posixpath.normpath(posixpath.join("/", clean)).lstrip("/") or "."
        if not _WILD.search(clean):
            if (found := self._at(clean)) is None or self._left_out(clean, found):
                raise self._missing(pattern, clean)
            return [found]
        picked = [
            found
            for name in self._glob("", clean.split("/"))
            if (found := self._at(name)) is not None and not self._left_out(name, found)
        ]
        if not picked:
            raise self._missing(pattern, clean)
        return picked

    def entries(self, source: Picked) -> Iterator[Entry]:
        """Everything to copy for ``source``, itself first, parents before children."""
        yield Entry("", source.path, os.lstat(source.path))
        if source.is_dir:
            # The ignore file speaks of where things really lie in the context.
            real = os.path.relpath(source.path, self.root)
            yield from self._walk(source.path, "" if real == "." else real + "/", "")

    def digest(self, source: Picked) -> str:
        """Of names, kinds, modes, contents and link targets; not of times."""
        whole = hashlib.sha256()
        for entry in self.entries(source):
            whole.update(self._line(entry).encode(errors="surrogateescape"))
        return whole.hexdigest()

    def _line(self, entry: Entry) -> str:
        st = entry.stat
        owner = f"{st.st_uid}:{st.st_gid}" if self.keeps_owner else ""
        if stat.S_ISREG(st.st_mode):
            detail = f"{st.st_size} {self._content(entry.path)}"
        elif stat.S_ISLNK(st.st_mode):
            detail = os.readlink(entry.path)
        else:
            detail = str(st.st_rdev) if not stat.S_ISDIR(st.st_mode) else ""
        return f"{len(entry.name)}:{entry.name} {st.st_mode:o} {owner} {detail}\n"

    def _content(self, path: str) -> str:
        if (known := self.digests.get(path)) is None:
            with open(path, "rb", buffering=0) as file:
                known = hashlib.file_digest(file, "sha256").hexdigest()
            self.digests[path] = known
        return known

    def _at(self, name: str) -> Picked | None:
        path = resolve(self.root, name)
        try:
            found = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISSOCK(found.st_mode):
            return None
        return Picked(name, path, stat.S_ISDIR(found.st_mode))

    def _left_out(self, name: str, found: Picked) -> bool:
        if name == "." or not self.ignore:
            return False
        return self.ignore.may_skip_dir(name) if found.is_dir else self.ignore.excludes(name)

    def _walk(self, directory: str, real: str, name: str) -> Iterator[Entry]:
        with os.scandir(directory) as found:
            children = sorted(found, key=lambda child: child.name)
        for child in children:
            st = child.stat(follow_symlinks=False)
            entry = Entry(name + child.name, child.path, st)
            below = stat.S_ISDIR(st.st_mode)
            if self.ignore and self.ignore.excludes(real + child.name):
                if below and not self.ignore.may_skip_dir(real + child.name):
                    inner = self._walk(child.path, f"{real}{child.name}/", f"{entry.name}/")
                    # An excluded directory is only there for what was brought back beneath it.
                    for number, kept in enumerate(inner):
                        if number == 0:
                            yield entry
                        yield kept
                continue
            if stat.S_ISSOCK(st.st_mode):
                continue
            yield entry
            if below:
                yield from self._walk(child.path, f"{real}{child.name}/", f"{entry.name}/")

    def _glob(self, base: str, parts: list[str]) -> Iterator[str]:
        part, rest = parts[0], parts[1:]
        if not _WILD.search(part):
            names = [part]
        else:
            matches = re.compile(translate(_STARS.sub("*", part)), re.DOTALL).fullmatch
            try:
                listed = sorted(os.listdir(resolve(self.root, base)))
            except (FileNotFoundError, NotADirectoryError):
                return
            names = [name for name in listed if matches(name)]
        for name in names:
            if rest:
                yield from self._glob(f"{base}{name}/", rest)
            elif os.path.lexists(resolve(self.root, base + name, follow_last=False)):
                yield base + name

    def _missing(self, pattern: str, clean: str) -> DockerfileError:
        if self.keeps_owner:
            return DockerfileError(
                f"COPY failed: stat {pattern}: file does not exist in {self.what}"
            )
        if "*" in clean or "?" in clean:
            hint = "no source files match"
        else:
            hint = f"stat {pattern}: file does not exist"
        message = (
            f"COPY failed: file not found in build context or excluded by .dockerignore: {hint}"
        )
        if self._at(clean) is not None:
            return DockerfileError(f"{message}: a line of .dockerignore leaves it out")
        folder, _, name = clean.rpartition("/")
        try:
            near = difflib.get_close_matches(name, os.listdir(resolve(self.root, folder)), n=1)
        except OSError:
            near = []
        return DockerfileError(f"{message} (did you mean {near[0]}?)" if near else message)
