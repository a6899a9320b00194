"""Lists of tasks: ``service ps``, ``node ps`` and ``stack ps`` show the same columns."""

from __future__ import annotations

import time

from sampan.cli.terminal.table import show_rows
from sampan.cli.units import ago, parse_time
from sampan.flags import BOOL, LIST, TEXT, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from sampan.cli.terminal.console import Console
    from sampan.flags import Args

_HEADERS = {
    "ID": "ID", "Name": "NAME", "Image": "IMAGE", "Node": "NODE", "DesiredState": "DESIRED STATE",
    "CurrentState": "CURRENT STATE", "Error": "ERROR", "Ports": "PORTS",
}  # fmt: skip
_ERROR = 30

FLAGS = (
    Flag("filter", "f", LIST, "Filter output based on conditions provided"),
    Flag("format", "", TEXT, "'table', 'table TEMPLATE', 'json' or a Go template"),
    Flag("no-resolve", "", BOOL, "Do not map IDs to Names"),
    Flag("no-trunc", "", BOOL, "Do not truncate output"),
    Flag("quiet", "q", BOOL, "Only display task IDs"),
)


class TaskNames:
    """Names of services and nodes by their ids; each list is asked for once."""

    def __init__(self, console: Console, *, resolve: bool = True) -> None:
        self._console = console
        self._resolve = resolve
        self._services: dict[str, str] | None = None
        self._nodes: dict[str, str] | None = None

    def service(self, identifier: str) -> str:
        """The service's name; its id when nobody knows it or names are not wanted."""
        if not self._resolve:
            return identifier
        if self._services is None:
            from sampan.client import services

            found = services.list_(self._console.client)
            self._services = {str(item["ID"]): str(item["Spec"]["Name"]) for item in found}
        return self._services.get(identifier, identifier)

    def node(self, identifier: str) -> str:
        """The node's host name; its id when nobody knows it or names are not wanted."""
        if not self._resolve or not identifier:
            return identifier
        if self._nodes is None:
            from sampan.client import cluster

            self._nodes = {
                str(item["ID"]): str(
                    item["Spec"].get("Name") or (item.get("Description") or {}).get("Hostname")
                )
                for item in cluster.nodes(self._console.client)
            }
        return self._nodes.get(identifier) or identifier


def task_name(task: Mapping[str, Any], names: TaskNames) -> str:
    """``web.1``; of a global service ``web.NODEID``."""
    service = names.service(str(task.get("ServiceID") or ""))
    return f"{service}.{task.get('Slot') or task.get('NodeID', '')}"


def show_tasks(
    console: Console, args: Args, tasks: Sequence[Mapping[str, Any]], *, short: bool = False
) -> None:
    """Print tasks: of each slot the newest first, the older ones set back.

    ``short``: ``--quiet`` cuts ids as the table does.
    """
    names = TaskNames(console, resolve=not args.on("no-resolve"))
    form, whole = args.text("format"), args.on("no-trunc")
    named = [(task_name(task, names), task) for task in tasks]
    # Two passes of a stable sort: newest first within each name.
    named.sort(key=lambda pair: str(pair[1].get("CreatedAt", "")), reverse=True)
    named.sort(key=lambda pair: _order(pair[0]))
    if args.on("quiet") and not form:
        for _, task in named:
            console.out(str(task["ID"])[: 12 if short and not whole else None])
        return
    now = time.time()
    rows = []
    previous = ""
    table = not form or form.startswith("table")
    for name, task in named:
        shown = f" \\_ {name}" if name == previous and table else name
        previous = name
        rows.append(row(task, shown, names, now, whole))
    show_rows(console, rows, _HEADERS, tuple(_HEADERS), form)


def _order(name: str) -> tuple[str, int, str]:
    service, _, slot = name.rpartition(".")
    return service, int(slot) if slot.isdecimal() else 0, slot


def row(
    task: Mapping[str, Any], name: str, names: TaskNames, now: float, whole: bool
) -> dict[str, Any]:
    """One task as its columns."""
    status = task.get("Status") or {}
    image = str((task.get("Spec") or {}).get("ContainerSpec", {}).get("Image", ""))
    error = " ".join(str(status.get("Err") or "").split())
    if not whole:
        image = image.partition("@")[0]
        error = error if len(error) <= _ERROR else error[: _ERROR - 1] + "…"
    since = ago(now - parse_time(str(status.get("Timestamp") or ""))).lower()
    return {
        "ID": task["ID"] if whole else str(task["ID"])[:12],
        "Name": name,
        "Image": image,
        "Node": names.node(str(task.get("NodeID") or "")),
        "DesiredState": str(task.get("DesiredState", "")).title(),
        "CurrentState": f"{str(status.get('State', '')).title()} {since}",
        "Error": f'"{error}"' if error else "",
        "Ports": ports((status.get("PortStatus") or {}).get("Ports") or ()),
    }


def ports(items: Sequence[Mapping[str, Any]]) -> str:
    """``*:80-81->80-81/tcp, *:53->53/udp``: neighbours are drawn together."""
    keyed = sorted(
        (str(p.get("Protocol") or "tcp"), int(p.get("PublishedPort") or 0), int(p["TargetPort"]))
        for p in items
        if p.get("PublishedPort")
    )
    runs: list[list[Any]] = []
    for protocol, published, target in keyed:
        last = runs[-1] if runs else None
        if (
            last
            and last[0] == protocol
            and (published, target) == (last[1] + last[3], last[2] + last[3])
        ):
            last[3] += 1
        else:
            runs.append([protocol, published, target, 1])
    return ", ".join(
        f"*:{_span(published, count)}->{_span(target, count)}/{protocol}"
        for protocol, published, target, count in runs
    )


def _span(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first}-{first + count - 1}"


def filters_by_id(console: Console, filters: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Filters for ``/tasks`` with nodes by id: people say ``node=host1`` or ``node=self``."""
    found = dict(filters)
    if "node" in found:
        from sampan.client import cluster

        found["node"] = [str(cluster.node(console.client, ref)["ID"]) for ref in found["node"]]
    return found
