"""``config``."""

from __future__ import annotations

import json
import sys
from typing import Any

from sampan.compose.commands.app import App
from sampan.compose.commands.table import print_lines
from sampan.compose.errors import UsageError
from sampan.compose.model.canonical import hashes, project_data
from sampan.compose.model.project import chosen


def config(app: App) -> int:
    """Print the merged, interpolated configuration in its canonical form."""
    args = app.args
    project = app.load(app.services)
    if app.services:
        wanted = set(chosen(project, app.services))
        for name in set(project.services) - wanted:
            del project.services[name]
    if args.quiet:
        return 0
    if args.only_services:
        print_lines(project.order())
    elif args.volumes:
        print_lines(project.volumes)
    elif args.networks:
        print_lines(project.networks)
    elif args.images:
        print_lines(sorted({project.image_of(s) for s in project.services.values()}))
    elif args.profiles:
        every = (*project.services.values(), *project.disabled.values())
        print_lines(sorted({p for s in every for p in s.profiles}))
    elif args.hash:
        names = sorted(project.services) if args.hash == "*" else args.hash.split(",")
        for name in names:
            if name not in project.services:
                raise UsageError(f"no such service: {name}")
        print_lines(f"{name} {hashes(project, project.services[name])[0]}" for name in names)
    elif args.format == "json":
        print(json.dumps(_escaped(project_data(project)), indent=2, ensure_ascii=False))
    else:
        sys.stdout.write(_yaml(_escaped(project_data(project))))
    return 0


def _escaped(value: Any) -> Any:
    """Dollar signs doubled, so that the output read again means the same."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list) else value


def _yaml(data: dict[str, Any]) -> str:
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(data, Dumper=dumper, sort_keys=False, allow_unicode=True, width=1 << 20))
