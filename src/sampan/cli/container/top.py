"""``sampan top``: the processes of a container."""

from __future__ import annotations

from sampan.cli.terminal.console import Console
from sampan.client import containers
from sampan.flags import Args, Command


def _top(console: Console, args: Args) -> int:
    from sampan.cli.terminal.table import align

    found = containers.top(console.client, args.rest[0], " ".join(args.rest[1:]))
    for line in align([found["Titles"], *found["Processes"]]):
        console.out(line)
    return 0


COMMANDS = {
    "top": Command(
        "top",
        "CONTAINER [ps OPTIONS]",
        "Display the running processes of a container",
        _top,
        (),
        1,
        None,
        mixed=False,
    ),
}
