"""``sampan volume``."""

from __future__ import annotations

from sampan.cli.flag_values import key_values
from sampan.cli.terminal.console import Console, parse_filters
from sampan.cli.terminal.table import show_rows
from sampan.client import volumes
from sampan.flags import BOOL, LIST, TEXT, Args, Command, Flag
from sampan.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HEADERS = {
    "Driver": "DRIVER", "Name": "VOLUME NAME", "Scope": "SCOPE", "Mountpoint": "MOUNTPOINT",
    "Labels": "LABELS", "Links": "LINKS", "Size": "SIZE",
}  # fmt: skip


def _ls(console: Console, args: Args) -> int:
    told = volumes.listing(console.client, parse_filters(args.many("filter")))
    for warning in told.get("Warnings") or ():
        console.err(f"WARNING: {warning}")
    found = list(told.get("Volumes") or ())
    found.sort(key=lambda item: str(item["Name"]))
    form = args.text("format")
    if args.on("quiet") and not form:
        for item in found:
            console.out(item["Name"])
        return 0
    show_rows(console, [_row(item) for item in found], _HEADERS, ("Driver", "Name"), form)
    return 0


def _row(item: dict[str, Any]) -> dict[str, Any]:
    labels: dict[str, str] = item.get("Labels") or {}
    usage = item.get("UsageData") or {}
    return {
        "Driver": item["Driver"],
        "Name": item["Name"],
        "Scope": item.get("Scope", "local"),
        "Mountpoint": item.get("Mountpoint", ""),
        "Labels": ",".join(f"{name}={value}" for name, value in sorted(labels.items())),
        "Label": lambda name: labels.get(name, ""),
        "Links": str(usage.get("RefCount", "N/A")),
        "Size": human_size(usage["Size"]) if usage else "N/A",
    }


def _create(console: Console, args: Args) -> int:
    name = args.rest[0] if args.rest else args.text("name")
    body = {
        "Name": name,
        "Driver": args.text("driver", "local"),
        "DriverOpts": key_values(args.many("opt")),
        "Labels": key_values(args.many("label")),
    }
    console.out(volumes.create(console.client, body)["Name"])
    return 0


def _rm(console: Console, args: Args) -> int:
    force = args.on("force")
    return console.each(args.rest, lambda name: volumes.remove(console.client, name, force=force))


def _prune(console: Console, args: Args) -> int:
    every = args.on("all")
    what = "all" if every else "anonymous"
    if not console.agrees(
        args, f"This will remove {what} local volumes not used by any container."
    ):
        return 1
    filters = parse_filters(args.many("filter"))
    if every:
        filters["all"] = ["true"]
    done = volumes.prune(console.client, filters)
    return console.report_pruned(
        "Deleted Volumes", done.get("VolumesDeleted") or [], done.get("SpaceReclaimed") or 0
    )


COMMANDS = {
    "volume ls": Command(
        "volume ls",
        "[OPTIONS]",
        "List volumes",
        _ls,
        (
            Flag("filter", "f", LIST, 'Provide filter values (e.g. "dangling=true")'),
            Flag("format", "", TEXT, "'table', 'table TEMPLATE', 'json' or a Go template"),
            Flag("quiet", "q", BOOL, "Only display volume names"),
        ),
    ),
    "volume create": Command(
        "volume create",
        "[OPTIONS] [VOLUME]",
        "Create a volume",
        _create,
        (
            Flag("driver", "d", TEXT, 'Specify volume driver name (default "local")'),
            Flag("label", "", LIST, "Set metadata for a volume"),
            Flag("name", "", TEXT, "The name, in its old place"),
            Flag("opt", "o", LIST, "Set driver specific options"),
        ),
        0,
        1,
    ),
    "volume rm": Command(
        "volume rm",
        "[OPTIONS] VOLUME [VOLUME...]",
        "Remove one or more volumes",
        _rm,
        (Flag("force", "f", BOOL, "Force the removal of one or more volumes"),),
        1,
        None,
    ),
    "volume prune": Command(
        "volume prune",
        "[OPTIONS]",
        "Remove unused local volumes",
        _prune,
        (
            Flag("all", "a", BOOL, "Remove all unused volumes, not just anonymous ones"),
            Flag("filter", "", LIST, 'Provide filter values (e.g. "label=<label>")'),
            Flag("force", "f", BOOL, "Do not prompt for confirmation"),
        ),
    ),
}
