"""``sampan image bootstrap``: a first image on a machine that reaches no registry.

The root file system is made from the host's own packages and streamed into the daemon.
"""

from __future__ import annotations

import os

from sampan.cli.image.transfer import pieces, show_import
from sampan.cli.terminal.console import CliError, Console
from sampan.cli.terminal.progress import Counter, counted
from sampan.client import images
from sampan.flags import BOOL, LIST, TEXT, Args, Command, Flag

_SUITE = "bookworm"


def _run(console: Console, args: Args) -> int:
    kind, _, suite = args.rest[0].partition(":")
    if kind not in ("busybox", "debian") or (kind == "busybox" and suite not in ("", "latest")):
        raise CliError(f"cannot bootstrap {args.rest[0]!r}: use busybox or debian[:SUITE]")
    packages = args.many("package")
    if kind == "busybox" and packages:
        raise CliError("--package is for debian: a busybox has no packages")
    import tempfile
    from pathlib import Path

    import sampan.client.bootstrap as bootstrap

    suite = suite or _SUITE
    target = args.text("tag", "busybox:latest" if kind == "busybox" else f"debian:{suite}")
    repo, tag = images.split_tag(target)

    def report(line: str) -> None:
        if not args.on("quiet"):
            console.err(line)

    with tempfile.TemporaryDirectory(prefix="sampan-bootstrap-") as scratch:
        path = Path(scratch) / "rootfs.tar"
        if kind == "busybox":
            with path.open("wb") as out:
                bootstrap.busybox_tar(out)
        else:
            bootstrap.debian_tar(suite, path, report, packages)
        counter = Counter("Sending root file system")
        with path.open("rb") as file:
            found = images.import_(
                console.client,
                counted(pieces(file), counter),
                repo=repo,
                tag=tag or "latest",
                changes=bootstrap.changes(kind),
                message=f"{kind} from the packages of {os.uname().nodename}",
            )
            counter.end()
            show_import(console, found)
    report(f"{repo}:{tag or 'latest'} is ready")
    return 0


COMMANDS = {
    "image bootstrap": Command(
        "image bootstrap",
        "[OPTIONS] busybox|debian[:SUITE]",
        "Make a base image from the host's packages, without a registry",
        _run,
        (
            Flag("package", "", LIST, "Install this package, too (debian)"),
            Flag("quiet", "q", BOOL, "Only print the image's ID"),
            Flag("tag", "t", TEXT, "Another name for the image"),
        ),
        1,
        1,
    )
}
