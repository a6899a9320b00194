"""``sampan stats``."""

from __future__ import annotations

import threading

from sampan.cli.terminal.console import Console
from sampan.cli.terminal.table import show_rows
from sampan.client import containers
from sampan.errors import SampanError
from sampan.flags import BOOL, TEXT, Args, Command, Flag
from sampan.units import binary_size, human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HEADERS = {
    "ID": "CONTAINER ID", "Name": "NAME", "CPUPerc": "CPU %", "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %", "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
    "Container": "CONTAINER",
}  # fmt: skip
_COLUMNS = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
_PERIOD_S = 1.0


def _run(console: Console, args: Args) -> int:
    form, live = args.text("format"), bool(console.width) and not args.on("no-stream")
    if args.on("no-stream"):
        _show(console, form, _sample(console, args))
        return 0
    pause = threading.Event()
    while True:
        rows = _sample(console, args)
        if live and not form:
            console.write("\x1b[H\x1b[2J")
        _show(console, form, rows)
        console.write("")
        pause.wait(_PERIOD_S)


def _show(console: Console, form: str, rows: list[dict[str, str]]) -> None:
    show_rows(console, rows, _HEADERS, _COLUMNS, form)


def _sample(console: Console, args: Args) -> list[dict[str, str]]:
    """One row a container; each answer takes the daemon a second, so all are asked at once."""
    client = console.client
    refs = args.rest
    if not refs:
        refs = [item["Id"] for item in containers.list_(client, all=args.on("all"))]
    rows: dict[int, dict[str, str]] = {}
    failures: list[SampanError] = []

    def ask(at: int, ref: str) -> None:
        try:
            found: Any = containers.stats(client, ref).json()
            rows[at] = row(found, args.on("no-trunc"))
        except SampanError as error:
            # One of the whole list may end while it is asked; one that was named must exist.
            if args.rest or "No such container" not in str(error):
                failures.append(error)

    threads = [
        threading.Thread(target=ask, args=(at, ref), daemon=True) for at, ref in enumerate(refs)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [rows[at] for at in sorted(rows)]


def row(found: dict[str, Any], whole: bool) -> dict[str, str]:
    """The columns from one answer of ``/containers/ID/stats``."""
    memory = found.get("memory_stats") or {}
    used, limit = memory_used(memory), memory.get("limit") or 0
    networks = (found.get("networks") or {}).values()
    received = sum(item["rx_bytes"] for item in networks)
    sent = sum(item["tx_bytes"] for item in networks)
    blocks = (found.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    read = sum(item["value"] for item in blocks if item["op"].lower() == "read")
    written = sum(item["value"] for item in blocks if item["op"].lower() == "write")
    identity = found.get("id", "")
    return {
        "ID": identity if whole else identity[:12],
        "Container": identity[:12],
        "Name": found.get("name", "").removeprefix("/"),
        "CPUPerc": f"{cpu_percent(found):.2f}%",
        "MemUsage": f"{binary_size(used)} / {binary_size(limit)}",
        "MemPerc": f"{used * 100 / limit if limit else 0:.2f}%",
        "NetIO": f"{human_size(received, 3)} / {human_size(sent, 3)}",
        "BlockIO": f"{human_size(read, 3)} / {human_size(written, 3)}",
        "PIDs": str((found.get("pids_stats") or {}).get("current", 0)),
    }


def memory_used(memory: dict[str, Any]) -> int:
    """Bytes in use without the file cache that the kernel would give back."""
    detail = memory.get("stats") or {}
    usage = int(memory.get("usage") or 0)
    # cgroup v1 says total_inactive_file, v2 inactive_file.
    cache = int(detail.get("total_inactive_file", detail.get("inactive_file", 0)))
    return usage - cache if cache < usage else usage


def cpu_percent(found: dict[str, Any]) -> float:
    """100 is one whole CPU."""
    now, before = found.get("cpu_stats") or {}, found.get("precpu_stats") or {}
    used = (now.get("cpu_usage") or {}).get("total_usage", 0)
    used -= (before.get("cpu_usage") or {}).get("total_usage", 0)
    passed = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    per_cpu = (now.get("cpu_usage") or {}).get("percpu_usage") or ()
    cpus = now.get("online_cpus") or len(per_cpu) or 1
    return used / passed * cpus * 100 if used > 0 and passed > 0 else 0.0


COMMANDS = {
    "stats": Command(
        "stats",
        "[OPTIONS] [CONTAINER...]",
        "Display a live stream of container(s) resource usage statistics",
        _run,
        (
            Flag("all", "a", BOOL, "Show all containers (default shows just running)"),
            Flag("format", "", TEXT, "'table', 'table TEMPLATE', 'json' or a Go template"),
            Flag("no-stream", "", BOOL, "Only show one result"),
            Flag("no-trunc", "", BOOL, "Do not truncate output"),
        ),
        0,
        None,
    )
}
