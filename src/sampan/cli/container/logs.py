"""``sampan logs``: what a container wrote."""

from __future__ import annotations

import time

from sampan.cli.terminal.console import CliError, Console, write_all
from sampan.cli.units import since
from sampan.client import containers
from sampan.client.frames import split
from sampan.flags import BOOL, TEXT, Args, Command, Flag


def _logs(console: Console, args: Args) -> int:
    ref = args.rest[0]
    tty = containers.inspect(console.client, ref)["Config"]["Tty"]
    now = time.time()
    tail = args.text("tail", "all")
    if tail != "all" and not tail.lstrip("-").isdecimal():
        raise CliError(f"invalid value for --tail: {tail!r}: a number or all")
    follow = args.on("follow")
    response = containers.logs(
        console.client,
        ref,
        follow=follow,
        since=since(args.text("since"), now) or None,
        until=since(args.text("until"), now) or None,
        timestamps=args.on("timestamps"),
        details=args.on("details"),
        tail=tail,
    )
    with response:
        for stream, piece in split(response.iter_raw(), tty):
            write_all(2 if stream == 2 else 1, piece)
    return 0


COMMANDS = {
    "logs": Command(
        "logs",
        "[OPTIONS] CONTAINER",
        "Fetch the logs of a container",
        _logs,
        (
            Flag("details", "", BOOL, "Show extra details provided to logs"),
            Flag("follow", "f", BOOL, "Follow log output"),
            Flag("since", "", TEXT, 'Show logs since timestamp or relative (e.g. "42m")'),
            Flag("tail", "n", TEXT, 'Number of lines to show from the end (default "all")'),
            Flag("timestamps", "t", BOOL, "Show timestamps"),
            Flag("until", "", TEXT, 'Show logs before a timestamp or relative (e.g. "42m")'),
        ),
        1,
        1,
    ),
}
