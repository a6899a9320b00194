"""``sampan cp``: files between the host and a container, as tar streams.

The rules are those of ``cp -a``: an existing directory takes the source in; a name that does not
exist becomes the copy's name; ``SRC/.`` is what is in SRC.
"""

from __future__ import annotations

import os
import tarfile

from sampan.cli.terminal.console import CliError, Console, write_all
from sampan.client import NotFound, containers
from sampan.flags import BOOL, Args, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from sampan.client import Client

_DIRECTORY = 1 << 31  # Go's os.ModeDir
_PIECE = 1 << 18


def _run(console: Console, args: Args) -> int:
    source, target = map(split_place, args.rest)
    if source[0] and target[0]:
        raise CliError("copying between containers is not supported")
    if not source[0] and not target[0]:
        raise CliError("must specify at least one container source: write CONTAINER:PATH")
    if source[0]:
        _out(console, source[0], source[1], target[1])
    else:
        path = os.path.realpath(source[1]) if args.on("follow-link") else source[1]
        _into(console, path, target[0], target[1], args.on("archive"))
    return 0


def split_place(text: str) -> tuple[str, str]:
    """(container or "", path); a path that starts with / or . is the host's."""
    container, colon, path = text.partition(":")
    if text.startswith(("/", ".")) or not colon:
        return "", text
    return container, path


def _stat(encoded: str) -> dict[str, Any]:
    from base64 import b64decode
    from json import loads

    found: dict[str, Any] = loads(b64decode(encoded))
    return found


def _out(console: Console, ref: str, path: str, target: str) -> None:
    encoded, response = containers.archive_get(console.client, ref, path)
    with response:
        if target == "-":
            for piece in response.iter_raw():
                write_all(1, piece)
            return
        name = _stat(encoded)["name"]
        folder, rename = _place(target, os.path.isdir(target), path, os.path.isdir)
        with tarfile.open(fileobj=Stream(response.iter_raw()), mode="r|") as tar:  # type: ignore[call-overload]
            # Python's own filters came with 3.11.4, and the strict default of later ones would
            # change modes: the check below holds everywhere.
            tar.extraction_filter = lambda member, _folder: member
            for member in tar:
                member.name = renamed(member.name, name, rename)
                check_inside(member, folder)
                tar.extract(member, folder, numeric_owner=True)


def _place(target: str, exists: bool, source: str, is_dir: Any) -> tuple[str, str | None]:
    """(directory to unpack in, the top member's new name; None: keep it; "": its contents)."""
    if source.endswith("/."):
        return (target, "") if exists else (os.path.dirname(target) or ".", _base(target))
    if exists:
        return target, None
    folder = os.path.dirname(target.rstrip("/")) or "."
    if target.endswith("/") or not is_dir(folder):
        raise CliError(f"no such directory: {target if target.endswith('/') else folder}")
    return folder, _base(target)


def _base(path: str) -> str:
    return os.path.basename(path.rstrip("/"))


def renamed(name: str, top: str, new: str | None) -> str:
    """A member's name with its first part ``top`` replaced by ``new``."""
    if new is None:
        return name
    plain = name.removeprefix("./")
    rest = plain.removeprefix(top).lstrip("/") if top not in ("", "/", ".") else plain
    return "/".join(part for part in (new, rest) if part) or "."


def check_inside(member: tarfile.TarInfo, folder: str) -> None:
    """A container is not trusted: nothing of its tar may land outside of ``folder``.

    Not by "..", and not through a symbolic link that an earlier member has made. Raises CliError.
    """
    root = os.path.realpath(folder)
    names = [member.name, *([member.linkname] if member.islnk() else [])]
    for name in names:
        at = os.path.normpath(os.path.join(root, name.lstrip("/")))
        parent = os.path.realpath(os.path.dirname(at)) if at != root else root
        if not f"{parent}/".startswith(f"{root.rstrip('/')}/"):
            raise CliError(f"refusing to write {name!r}: it lies outside of {folder}")


class Stream:
    """The pieces of a body as a file that tarfile can read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes; fewer only at the end."""
        found = [self._rest]
        length = len(self._rest)
        while length < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            found.append(piece)
            length += len(piece)
        data = b"".join(found)
        self._rest = data[size:]
        return data[:size]


def _into(console: Console, source: str, ref: str, path: str, archive: bool) -> None:
    from sampan.cli.image.transfer import pieces

    client = console.client
    if source == "-":
        with open(0, "rb", closefd=False) as file:
            containers.archive_put(client, ref, path, pieces(file), copy_uid_gid=archive)
        return
    if not os.path.lexists(source):
        raise CliError(f"lstat {source}: no such file or directory")
    folder, rename = _place(
        path, _is_dir(client, ref, path), source, lambda at: _is_dir(client, ref, at)
    )
    top = _base(source) if rename is None else rename
    body = tar_of(source, top, keep_owner=archive)
    containers.archive_put(client, ref, folder, body, copy_uid_gid=archive)


def _is_dir(client: Client, ref: str, path: str) -> bool:
    try:
        found = _stat(containers.archive_stat(client, ref, path))
    except NotFound:
        # HEAD has no body: only an inspect can tell a missing container from a missing path.
        containers.inspect(client, ref)
        return False
    if found.get("linkTarget"):
        return _is_dir(client, ref, found["linkTarget"])
    return bool(found["mode"] & _DIRECTORY)


def tar_of(source: str, top: str, *, keep_owner: bool) -> Iterator[bytes]:
    """A file or tree as a tar whose first part is ``top`` ("": only what is in it)."""
    with tarfile.open(fileobj=_Nowhere(), mode="w|") as tar:  # type: ignore[call-overload]
        for path in _tree(source):
            below = os.path.relpath(path, source)
            name = "/".join(part for part in (top, below) if part not in ("", "."))
            if not name:
                continue
            info = tar.gettarinfo(path, name)
            if info is None:
                continue  # a socket
            if not keep_owner:
                info.uid = info.gid = 0
                info.uname = info.gname = ""
            yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
            if info.isreg():
                yield from _contents(path, info.size)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _tree(source: str) -> Iterator[str]:
    yield source
    if os.path.isdir(source) and not os.path.islink(source):
        for name in sorted(os.listdir(source)):
            yield from _tree(os.path.join(source, name))


def _contents(path: str, size: int) -> Iterator[bytes]:
    left = size
    with open(path, "rb") as file:
        while left:
            data = file.read(min(left, _PIECE))
            if not data:
                raise CliError(f"{path} became shorter while it was copied: try again")
            left -= len(data)
            yield data
    yield bytes(-size % tarfile.BLOCKSIZE)


class _Nowhere:
    """tarfile wants to write somewhere; the members are written by us."""

    def write(self, data: bytes) -> int:
        return len(data)


COMMANDS = {
    "cp": Command(
        "cp",
        "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-  or  SRC_PATH|- CONTAINER:DEST_PATH",
        "Copy files/folders between a container and the local filesystem",
        _run,
        (
            Flag("archive", "a", BOOL, "Archive mode (copy all uid/gid information)"),
            Flag("follow-link", "L", BOOL, "Always follow symbol link in SRC_PATH"),
            Flag("quiet", "q", BOOL, "Suppress progress output during copy"),
        ),
        2,
        2,
    )
}
