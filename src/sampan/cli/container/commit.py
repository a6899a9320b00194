"""``commit`` and ``export``."""

from __future__ import annotations

from sampan.cli.terminal.console import Console
from sampan.client import containers, images
from sampan.flags import BOOL, LIST, TEXT, Args, Command, Flag


def _commit(console: Console, args: Args) -> int:
    ref, *name = args.rest
    repo, tag = images.split_tag(name[0]) if name else ("", "")
    made = containers.commit(
        console.client,
        ref,
        repo=repo,
        tag=tag,
        comment=args.text("message"),
        author=args.text("author"),
        pause=args.on("pause", True),
        changes=args.many("change"),
    )
    console.out(made)
    return 0


def _export(console: Console, args: Args) -> int:
    from sampan.cli.image.transfer import to_file

    response = containers.export(console.client, args.rest[0])
    to_file(args.text("output"), response.iter_raw())
    return 0


COMMANDS = {
    "commit": Command(
        "commit",
        "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
        "Create a new image from a container's changes",
        _commit,
        (
            Flag("author", "a", TEXT, 'Author (e.g., "Ann Example <ann@example.org>")'),
            Flag("change", "c", LIST, "Apply Dockerfile instruction to the created image"),
            Flag("message", "m", TEXT, "Commit message"),
            Flag("pause", "p", BOOL, "Pause container during commit (default true)"),
        ),
        1,
        2,
    ),
    "export": Command(
        "export",
        "[OPTIONS] CONTAINER",
        "Export a container's filesystem as a tar archive",
        _export,
        (Flag("output", "o", TEXT, "Write to a file, instead of STDOUT"),),
        1,
        1,
    ),
}
