"""``config``."""

from __future__ import annotations

import json
import sys
from typing import Any

from sampan.compose.commands.app import App, one_of
from sampan.compose.commands.table import print_lines
from sampan.compose.file.yaml_tree import plain_data
from sampan.compose.model.canonical import hashes, project_data
from sampan.compose.model.project import chosen, no_such_service
from sampan.flags import BOOL, TEXT, Args, Command, Flag


def config(app: App, args: Args) -> int:
    """Print the merged, interpolated configuration in its canonical form."""
    form = one_of(args, "format", ("yaml", "json"), "yaml")
    if args.on("no-interpolate"):
        _print(plain_data(app.tree(interpolated=False).tree), form)
        return 0
    project = app.load(args.rest)
    if args.rest:
        wanted = set(chosen(project, tuple(args.rest)))
        for name in set(project.services) - wanted:
            del project.services[name]
    if args.on("quiet"):
        return 0
    services = project.services.values()
    if args.on("services"):
        print_lines(project.order())
    elif args.on("volumes"):
        print_lines(project.volumes)
    elif args.on("networks"):
        print_lines(project.networks)
    elif args.on("images"):
        print_lines(sorted({project.image_of(s) for s in services}))
    elif args.on("profiles"):
        every = (*services, *project.disabled.values())
        print_lines(sorted({p for s in every for p in s.profiles}))
    elif args.given("hash"):
        wish = args.text("hash")
        names = sorted(project.services) if wish == "*" else wish.split(",")
        for name in names:
            if name not in project.services:
                raise no_such_service(project, name)
        print_lines(f"{name} {hashes(project, project.services[name])[0]}" for name in names)
    else:
        _print(_escaped(project_data(project)), form)
    return 0


def _print(data: dict[str, Any], form: str) -> None:
    if form == "json":
        print(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        sys.stdout.write(_yaml(data))


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


COMMANDS = {
    "config": Command(
        "compose config",
        "[OPTIONS] [SERVICE...]",
        "Parse, resolve and render compose file in canonical format",
        config,
        (
            Flag("format", "", TEXT, 'Format the output ("yaml", "json")'),
            Flag("hash", "", TEXT, "Print the service config hash, one per line (* for all)"),
            Flag("images", "", BOOL, "Print the image names, one per line"),
            Flag("networks", "", BOOL, "Print the network names, one per line"),
            Flag("no-interpolate", "", BOOL, "Don't interpolate environment variables"),
            Flag("profiles", "", BOOL, "Print the profile names, one per line"),
            Flag("quiet", "q", BOOL, "Only validate the configuration, don't print anything"),
            Flag("services", "", BOOL, "Print the service names, one per line"),
            Flag("volumes", "", BOOL, "Print the volume names, one per line"),
        ),
        0,
        None,
    )
}
