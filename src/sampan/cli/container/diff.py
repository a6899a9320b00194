"""``sampan diff``: what a container changed of its image."""

from __future__ import annotations

from sampan.cli.terminal.console import Console
from sampan.client import containers
from sampan.flags import Args, Command

_KINDS = "CAD"


def _diff(console: Console, args: Args) -> int:
    for change in containers.changes(console.client, args.rest[0]):
        console.out(f"{_KINDS[change['Kind']]} {change['Path']}")
    return 0


COMMANDS = {
    "diff": Command(
        "diff", "CONTAINER", "Inspect changes to files on a container's filesystem", _diff, (), 1, 1
    ),
}
