"""``sampan ps``."""

from __future__ import annotations

import time

from sampan.cli.terminal.console import Console, parse_filters
from sampan.cli.terminal.table import show_rows
from sampan.cli.units import ago, local_time
from sampan.client import containers
from sampan.flags import BOOL, INT, LIST, TEXT, Args, Command, Flag
from sampan.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HEADERS = {
    "ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED", "Ports": "PORTS", "State": "STATE", "Status": "STATUS",
    "Names": "NAMES", "Labels": "LABELS", "Mounts": "MOUNTS", "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS", "Size": "SIZE",
}  # fmt: skip
_COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")


def _run(console: Console, args: Args) -> int:
    limit = args.number("last")
    if args.on("latest"):
        limit = 1
    form = args.text("format")
    size = args.on("size") or ".Size" in form
    found = containers.list_(
        console.client,
        all=args.on("all") or limit is not None,
        limit=limit if limit and limit > 0 else None,
        size=size,
        filters=parse_filters(args.many("filter")),
    )
    whole = args.on("no-trunc")
    if args.on("quiet") and not form:
        for item in found:
            console.out(item["Id"] if whole else item["Id"][:12])
        return 0
    now = time.time()
    columns = (*_COLUMNS, "Size") if size else _COLUMNS
    show_rows(console, [row(item, now, whole) for item in found], _HEADERS, columns, form)
    return 0


def row(item: dict[str, Any], now: float, whole: bool) -> dict[str, Any]:
    """One container of ``/containers/json`` as its columns."""
    labels: dict[str, str] = item.get("Labels") or {}
    command = item.get("Command") or ""
    image = item.get("Image") or "<no image>"
    names = [name.removeprefix("/") for name in item.get("Names") or ()]
    if not whole:
        # Names with a slash inside are the aliases that links give.
        names = [name for name in names if "/" not in name] or names
        command = _short(command, 20)
        image = image[7:19] if image.startswith("sha256:") else image
    mounts = [point.get("Name") or point.get("Source", "") for point in item.get("Mounts") or ()]
    local = sum(1 for point in item.get("Mounts") or () if point.get("Driver") == "local")
    networks = (item.get("NetworkSettings") or {}).get("Networks") or {}
    return {
        "ID": item["Id"] if whole else item["Id"][:12],
        "Image": image,
        "Command": f'"{command}"',
        "CreatedAt": local_time(item["Created"]),
        "RunningFor": ago(now - item["Created"]),
        "Ports": ports(item.get("Ports") or []),
        "State": item.get("State", ""),
        "Status": item.get("Status", ""),
        "Names": ",".join(names),
        "Labels": ",".join(f"{name}={value}" for name, value in sorted(labels.items())),
        "Label": lambda name: labels.get(name, ""),
        "Mounts": ",".join(mounts if whole else [_short(name, 15) for name in mounts]),
        "LocalVolumes": str(local),
        "Networks": ",".join(sorted(networks)),
        "Size": size(item),
    }


def size(item: dict[str, Any]) -> str:
    """``2B (virtual 4.26MB)``."""
    own = human_size(item.get("SizeRw") or 0, 3)
    virtual = item.get("SizeRootFs") or 0
    return f"{own} (virtual {human_size(virtual, 3)})" if virtual else own


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def ports(items: list[dict[str, Any]]) -> str:
    """``0.0.0.0:8080-8081->80-81/tcp, 443/tcp``: neighbours are drawn together."""
    keyed = sorted(
        (
            item.get("IP") or "",
            item.get("Type", "tcp"),
            int(item["PrivatePort"]),
            int(item.get("PublicPort") or 0),
        )
        for item in items
    )
    runs: list[list[int | str]] = []  # address, protocol, private, public, length
    for address, protocol, private, public in dict.fromkeys(keyed):
        last = runs[-1] if runs else None
        if last and last[:2] == [address, protocol]:
            length = int(last[4])
            follows = private == int(last[2]) + length
            # Published ports are one run when both sides count up together.
            if follows and public == (int(last[3]) + length if public else int(last[3])):
                last[4] = length + 1
                continue
        runs.append([address, protocol, private, public, 1])
    return ", ".join(_port(*map(str, run[:2]), *map(int, run[2:])) for run in runs)  # type: ignore[arg-type]


def _port(address: str, protocol: str, private: int, public: int, length: int) -> str:
    inside = f"{_span(private, length)}/{protocol}"
    if not public:
        return inside
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{_span(public, length)}->{inside}"


def _span(first: int, length: int) -> str:
    return str(first) if length == 1 else f"{first}-{first + length - 1}"


COMMANDS = {
    "ps": Command(
        "ps",
        "[OPTIONS]",
        "List containers",
        _run,
        (
            Flag("all", "a", BOOL, "Show all containers (default shows just running)"),
            Flag("filter", "f", LIST, "Filter output based on conditions provided"),
            Flag("format", "", TEXT, "'table', 'table TEMPLATE', 'json' or a Go template"),
            Flag("last", "n", INT, "Show n last created containers (includes all states)"),
            Flag("latest", "l", BOOL, "Show the latest created container (all states)"),
            Flag("no-trunc", "", BOOL, "Don't truncate output"),
            Flag("quiet", "q", BOOL, "Only display container IDs"),
            Flag("size", "s", BOOL, "Display total file sizes"),
        ),
    )
}
