"""``ls`` and ``version``: what needs no project."""

from __future__ import annotations

import json
import sys

from sampan import __version__
from sampan.client import containers as api
from sampan.compose.commands.app import App
from sampan.compose.commands.table import print_lines, render
from sampan.compose.model.create_request import PREFIX
from sampan.compose.plan.observed import ObservedContainer
from sampan.compose.run.observe import seen


def ls(app: App) -> int:
    """Projects that have containers."""
    label = {"label": [f"{PREFIX}project"]}
    projects: dict[str, list[ObservedContainer]] = {}
    for c in map(seen, api.list_(app.client, all=app.args.all, filters=label)):
        projects.setdefault(c.labels[PREFIX + "project"], []).append(c)
    rows = []
    for name, members in sorted(projects.items()):
        states: dict[str, int] = {}
        for c in members:
            states[c.state] = states.get(c.state, 0) + 1
        status = ", ".join(f"{state}({count})" for state, count in sorted(states.items()))
        rows.append((name, status, members[0].labels.get(PREFIX + "project.config_files", "")))
    if app.args.quiet:
        print_lines(name for name, _, _ in rows)
    elif app.args.format == "json":
        keys = ("Name", "Status", "ConfigFiles")
        print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))
    else:
        sys.stdout.write(render(("NAME", "STATUS", "CONFIG FILES"), rows))
    return 0


def version(app: App) -> int:
    """Our version."""
    print(__version__ if app.args.short else f"sampan compose version {__version__}")
    return 0
