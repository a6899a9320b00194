"""``ls`` and ``version``: what needs no project."""

from __future__ import annotations

import json
import sys

from sampan import __version__
from sampan.client import containers as api
from sampan.compose.commands.app import App, one_of
from sampan.compose.commands.table import print_lines, render
from sampan.compose.model.create_request import PREFIX
from sampan.compose.plan.observed import ObservedContainer
from sampan.compose.run.observe import seen
from sampan.flags import BOOL, TEXT, Args, Command, Flag


def ls(app: App, args: Args) -> int:
    """Projects that have containers."""
    label = {"label": [f"{PREFIX}project"]}
    projects: dict[str, list[ObservedContainer]] = {}
    for c in map(seen, api.list_(app.client, all=args.on("all"), filters=label)):
        projects.setdefault(c.labels[PREFIX + "project"], []).append(c)
    rows = []
    for name, members in sorted(projects.items()):
        states: dict[str, int] = {}
        for c in members:
            states[c.state] = states.get(c.state, 0) + 1
        status = ", ".join(f"{state}({count})" for state, count in sorted(states.items()))
        rows.append((name, status, members[0].labels.get(PREFIX + "project.config_files", "")))
    if args.on("quiet"):
        print_lines(name for name, _, _ in rows)
    elif one_of(args, "format", ("table", "json")) == "json":
        keys = ("Name", "Status", "ConfigFiles")
        print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))
    else:
        sys.stdout.write(render(("NAME", "STATUS", "CONFIG FILES"), rows))
    return 0


def version(app: App, args: Args) -> int:
    """Our version."""
    print(__version__ if args.on("short") else f"sampan compose version {__version__}")
    return 0


COMMANDS = {
    "ls": Command(
        "compose ls",
        "[OPTIONS]",
        "List running compose projects",
        ls,
        (
            Flag("all", "a", BOOL, "Show all stopped Compose projects"),
            Flag("format", "", TEXT, 'Format the output ("table", "json")'),
            Flag("quiet", "q", BOOL, "Only display project names"),
        ),
    ),
    "version": Command(
        "compose version",
        "[OPTIONS]",
        "Show the version",
        version,
        (Flag("short", "", BOOL, "Show only the version number"),),
    ),
}
