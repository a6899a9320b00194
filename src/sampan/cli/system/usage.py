"""``system df`` and ``system prune``."""

from __future__ import annotations

from sampan.cli.terminal.console import Console, parse_filters
from sampan.cli.terminal.table import show_rows
from sampan.client import containers, events, images, networks, volumes
from sampan.flags import BOOL, LIST, TEXT, Args, Command, Flag
from sampan.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HEADERS = {
    "Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}  # fmt: skip


def _df(console: Console, args: Args) -> int:
    rows = usage_rows(events.disk_usage(console.client))
    show_rows(console, rows, _HEADERS, tuple(_HEADERS), args.text("format"))
    return 0


def usage_rows(found: dict[str, Any]) -> list[dict[str, str]]:
    """The four lines of ``system df`` from the API's answer."""
    image_list = found.get("Images") or []
    used = [item for item in image_list if (item.get("Containers") or 0) > 0]
    layers = found.get("LayersSize") or 0
    # What images in use do not share would stay; the rest could go.
    kept = sum(item["Size"] - max(item.get("SharedSize") or 0, 0) for item in used)
    rows = [_line("Images", len(image_list), len(used), layers, max(layers - kept, 0))]
    container_list = found.get("Containers") or []
    running = [item for item in container_list if item.get("State") in ("running", "paused")]
    size = sum(item.get("SizeRw") or 0 for item in container_list)
    busy = sum(item.get("SizeRw") or 0 for item in running)
    rows.append(_line("Containers", len(container_list), len(running), size, size - busy))
    volume_list = [item for item in found.get("Volumes") or [] if item.get("UsageData")]
    size = sum(max(item["UsageData"]["Size"], 0) for item in volume_list)
    free = [item for item in volume_list if not item["UsageData"]["RefCount"]]
    idle = sum(max(item["UsageData"]["Size"], 0) for item in free)
    rows.append(_line("Local Volumes", len(volume_list), len(volume_list) - len(free), size, idle))
    cache = found.get("BuildCache") or []
    size = sum(item.get("Size") or 0 for item in cache)
    idle = sum(item.get("Size") or 0 for item in cache if not item.get("InUse"))
    active = sum(1 for item in cache if item.get("InUse"))
    rows.append(_line("Build Cache", len(cache), active, size, idle))
    return rows


def _line(kind: str, total: int, active: int, size: int, free: int) -> dict[str, str]:
    share = f" ({free * 100 // size}%)" if size and kind != "Build Cache" else ""
    return {
        "Type": kind,
        "TotalCount": str(total),
        "Active": str(active),
        "Size": human_size(size),
        "Reclaimable": f"{human_size(free)}{share}",
    }


def _prune(console: Console, args: Args) -> int:
    every, with_volumes = args.on("all"), args.on("volumes")
    what = [
        "all stopped containers",
        "all networks not used by at least one container",
        *(["all anonymous volumes not used by at least one container"] if with_volumes else []),
        "all images without at least one container associated to them"
        if every
        else "all dangling images",
    ]
    listed = "".join(f"  - {item}\n" for item in what)
    if not console.agrees(args, f"This will remove:\n{listed}"):
        return 1
    client = console.client
    filters = parse_filters(args.many("filter"))
    freed = 0
    # In this order, because each step sets free what the next one can take.
    done = containers.prune(client, filters)
    freed += _report(console, "Containers", done.get("ContainersDeleted"), done)
    done = networks.prune(client, filters)
    _report(console, "Networks", done.get("NetworksDeleted"), done)
    if with_volumes:
        done = volumes.prune(client, filters)
        freed += _report(console, "Volumes", done.get("VolumesDeleted"), done)
    done = images.prune(client, {**filters, "dangling": ["false" if every else "true"]})
    names = [
        f"{v.lower()}: {n}" for item in done.get("ImagesDeleted") or () for v, n in item.items()
    ]
    freed += _report(console, "Images", names, done)
    console.out(f"Total reclaimed space: {human_size(freed)}")
    return 0


def _report(console: Console, kind: str, names: list[str] | None, done: dict[str, Any]) -> int:
    if names:
        console.out(f"Deleted {kind}:\n" + "\n".join(names) + "\n")
    return int(done.get("SpaceReclaimed") or 0)


COMMANDS = {
    "system df": Command(
        "system df",
        "[OPTIONS]",
        "Show disk usage",
        _df,
        (Flag("format", "", TEXT, "'table', 'table TEMPLATE', 'json' or a Go template"),),
    ),
    "system prune": Command(
        "system prune",
        "[OPTIONS]",
        "Remove unused data",
        _prune,
        (
            Flag("all", "a", BOOL, "Remove all unused images not just dangling ones"),
            Flag("filter", "", LIST, 'Provide filter values (e.g. "label=<key>=<value>")'),
            Flag("force", "f", BOOL, "Do not prompt for confirmation"),
            Flag("volumes", "", BOOL, "Prune anonymous volumes"),
        ),
    ),
}
