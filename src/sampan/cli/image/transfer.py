"""Images in and out: ``pull``, ``push``, ``load``, ``save``, ``import``."""

from __future__ import annotations

import os
import sys

from sampan.cli.terminal.console import CliError, Console, write_all
from sampan.cli.terminal.progress import Counter, Display, counted
from sampan.client import auth, images
from sampan.flags import BOOL, LIST, TEXT, Args, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

_PIECE = 1 << 18


def pull_image(
    console: Console, ref: str, platform: str | None, *, quiet: bool = False, fd: int = 1
) -> None:
    """Fetch an image and show how it goes on ``fd``. Raises what the daemon says."""
    header = auth.header_for(ref, console.environ)
    messages = images.pull(console.client, ref, platform=platform, auth=header)
    Display(fd, quiet=quiet).show(messages)


def _pull(console: Console, args: Args) -> int:
    ref = args.rest[0]
    tagged = ref if images.split_tag(ref)[1] else f"{ref}:latest"
    if args.on("all-tags"):
        raise CliError("pulling every tag of a repository is not supported: name the tags")
    quiet = args.on("quiet")
    if not quiet and tagged != ref:
        console.out("Using default tag: latest")
        sys.stdout.flush()
    pull_image(console, tagged, args.maybe("platform"), quiet=quiet)
    console.out(full_name(tagged))
    return 0


def full_name(ref: str) -> str:
    """``busybox:1`` -> ``docker.io/library/busybox:1``."""
    if auth.registry_of(ref) != auth.HUB:
        return ref
    path = ref.removeprefix("docker.io/").removeprefix("index.docker.io/")
    return f"docker.io/{path}" if "/" in path else f"docker.io/library/{path}"


def _push(console: Console, args: Args) -> int:
    ref = args.rest[0]
    header = auth.header_for(ref, console.environ)
    display = Display(1, quiet=args.on("quiet"))
    if args.on("all-tags"):
        display.show(images.push_all(console.client, ref, auth=header))
    else:
        tagged = ref if images.split_tag(ref)[1] else f"{ref}:latest"
        platform = args.maybe("platform")
        display.show(images.push(console.client, tagged, auth=header, platform=platform))
    if args.on("quiet"):
        console.out(full_name(ref))
    return 0


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """A file or pipe, as it comes."""
    while data := file.read1(_PIECE) if hasattr(file, "read1") else file.read(_PIECE):
        yield data


def _load(console: Console, args: Args) -> int:
    path = args.text("input")
    if not path and os.isatty(0):
        raise CliError("requested load from stdin, but stdin is empty: name a file with -i")
    with open(path, "rb") if path else open(0, "rb", closefd=False) as file:
        counter = Counter("Sending archive")
        messages = images.load(console.client, counted(pieces(file), counter))
        counter.end()
        display = Display(1)
        for message in messages:
            if not args.on("quiet") or "Loaded image" in str(message.get("stream", "")):
                display.message(message)
    return 0


def _save(console: Console, args: Args) -> int:
    response = images.save(console.client, args.rest)
    to_file(args.text("output"), response.iter_raw())
    return 0


def to_file(path: str, body: Iterable[bytes]) -> None:
    """Write a tar to a file, or to stdout when that is no terminal.

    The file appears under its name only when it is complete. Raises CliError.
    """
    if not path:
        if os.isatty(1):
            raise CliError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
        for piece in body:
            write_all(1, piece)
        return
    unfinished = f"{path}.part"
    try:
        with open(unfinished, "wb") as file:
            for piece in body:
                file.write(piece)
        os.replace(unfinished, path)
    except BaseException:
        if os.path.exists(unfinished):
            os.unlink(unfinished)
        raise


def _import(console: Console, args: Args) -> int:
    source, *name = args.rest
    repo, tag = images.split_tag(name[0]) if name else ("", "")
    changes, message = args.many("change"), args.maybe("message")
    if source.startswith(("http://", "https://")):
        query = {
            "fromSrc": source,
            "repo": repo or None,
            "tag": tag or None,
            "changes": changes,
            "message": message,
        }
        found = images.progress(console.client.stream("POST", "/images/create", query))
        show_import(console, found)
        return 0
    with open(0, "rb", closefd=False) if source == "-" else open(source, "rb") as file:
        counter = Counter("Sending archive")
        found = images.import_(
            console.client,
            counted(pieces(file), counter),
            repo=repo,
            tag=tag,
            changes=changes,
            message=message,
            platform=args.maybe("platform"),
        )
        counter.end()
        show_import(console, found)
    return 0


def show_import(console: Console, messages: Iterable[dict[str, object]]) -> None:
    """The id of what was imported."""
    for message in messages:
        if message.get("status"):
            console.out(str(message["status"]))


_QUIET = Flag("quiet", "q", BOOL, "Suppress verbose output")
_PLATFORM = Flag("platform", "", TEXT, "Set platform if server is multi-platform capable")
_ALL_TAGS = Flag("all-tags", "a", BOOL, "All tags of the repository")

COMMANDS = {
    "pull": Command(
        "pull",
        "[OPTIONS] NAME[:TAG|@DIGEST]",
        "Download an image from a registry",
        _pull,
        (_ALL_TAGS, _PLATFORM, _QUIET),
        1,
        1,
    ),
    "push": Command(
        "push",
        "[OPTIONS] NAME[:TAG]",
        "Upload an image to a registry",
        _push,
        (_ALL_TAGS, _PLATFORM, _QUIET),
        1,
        1,
    ),
    "load": Command(
        "load",
        "[OPTIONS]",
        "Load an image from a tar archive or STDIN",
        _load,
        (Flag("input", "i", TEXT, "Read from tar archive file, instead of STDIN"), _QUIET),
    ),
    "save": Command(
        "save",
        "[OPTIONS] IMAGE [IMAGE...]",
        "Save one or more images to a tar archive (streamed to STDOUT by default)",
        _save,
        (Flag("output", "o", TEXT, "Write to a file, instead of STDOUT"),),
        1,
        None,
    ),
    "import": Command(
        "import",
        "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
        "Import the contents from a tarball to create a filesystem image",
        _import,
        (
            Flag("change", "c", LIST, "Apply Dockerfile instruction to the created image"),
            Flag("message", "m", TEXT, "Set commit message for imported image"),
            _PLATFORM,
        ),
        1,
        2,
    ),
}
