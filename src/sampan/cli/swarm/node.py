"""``sampan node``."""

from __future__ import annotations

from sampan.cli.terminal.console import CliError, Console, parse_filters
from sampan.cli.terminal.table import show_rows
from sampan.client import cluster
from sampan.flags import BOOL, LIST, TEXT, Args, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_HEADERS = {
    "ID": "ID", "Self": "SELF", "Hostname": "HOSTNAME", "Status": "STATUS",
    "Availability": "AVAILABILITY", "ManagerStatus": "MANAGER STATUS", "TLSStatus": "TLS STATUS",
    "EngineVersion": "ENGINE VERSION",
}  # fmt: skip
_COLUMNS = ("ID", "Hostname", "Status", "Availability", "ManagerStatus", "EngineVersion")


def _ls(console: Console, args: Args) -> int:
    from sampan.client.events import info

    found = cluster.nodes(console.client, parse_filters(args.many("filter")))
    found.sort(key=lambda node: str((node.get("Description") or {}).get("Hostname", "")))
    form = args.text("format")
    if args.on("quiet") and not form:
        for node in found:
            console.out(node["ID"])
        return 0
    here = (info(console.client).get("Swarm") or {}).get("NodeID", "")
    # Only those who want to see certificates pay for asking after them.
    wants_tls = "TLSStatus" in form or form == "json"
    trusted = cluster.inspect(console.client).get("TLSInfo") if wants_tls and found else None
    rows = [_row(node, here, trusted) for node in found]
    if not form or form == "table":
        for row in rows:
            row["ID"] = f"{row['ID']} {'*' if row['Self'] else ' '}"
    show_rows(console, rows, _HEADERS, _COLUMNS, form)
    return 0


def _row(node: Mapping[str, Any], here: str, trusted: Mapping[str, Any] | None) -> dict[str, Any]:
    spec, seen = node["Spec"], node.get("Description") or {}
    manager = node.get("ManagerStatus") or {}
    role = "Leader" if manager.get("Leader") else str(manager.get("Reachability", "")).title()
    tls = "Unknown"
    if trusted is not None and seen.get("TLSInfo"):
        tls = "Ready" if seen["TLSInfo"] == trusted else "Needs Rotation"
    return {
        "ID": node["ID"],
        "Self": node["ID"] == here,
        "Hostname": seen.get("Hostname", ""),
        "Status": str((node.get("Status") or {}).get("State", "")).title(),
        "Availability": str(spec.get("Availability", "")).title(),
        "ManagerStatus": role,
        "TLSStatus": tls,
        "EngineVersion": (seen.get("Engine") or {}).get("EngineVersion", ""),
    }


def _change(console: Console, ref: str, change: Callable[[dict[str, Any]], bool]) -> str:
    """Change a node's specification; its id when there was nothing to change, else ""."""
    node = cluster.node(console.client, ref)
    spec = dict(node["Spec"])
    if not change(spec):
        return str(node["ID"])
    cluster.update_node(console.client, node["ID"], node["Version"]["Index"], spec)
    return ""


def _update(console: Console, args: Args) -> int:
    role, availability = args.text("role").lower(), args.text("availability").lower()
    if args.given("role") and role not in ("worker", "manager"):
        raise CliError(f"invalid role {role!r}, only worker and manager are supported")
    if args.given("availability") and availability not in ("active", "pause", "drain"):
        raise CliError(
            f"invalid availability {availability!r}, only active, pause and drain are supported"
        )

    def change(spec: dict[str, Any]) -> bool:
        if role:
            spec["Role"] = role
        if availability:
            spec["Availability"] = availability
        labels = dict(spec.get("Labels") or {})
        for item in args.many("label-add"):
            name, _, value = item.partition("=")
            labels[name] = value
        for name in args.many("label-rm"):
            if labels.pop(name, None) is None:
                raise CliError(f"key {name} doesn't exist in node's labels")
        spec["Labels"] = labels
        return True

    _change(console, args.rest[0], change)
    console.out(args.rest[0])
    return 0


def _turn(role: str, done: str, already: str) -> Callable[[Console, Args], int]:
    def run(console: Console, args: Args) -> int:
        def change(spec: dict[str, Any]) -> bool:
            changed = spec.get("Role") != role
            spec["Role"] = role
            return changed

        def one(ref: str) -> str:
            same = _change(console, ref, change)
            return already.format(same) if same else done.format(ref)

        return console.each(args.rest, one)

    return run


def _ps(console: Console, args: Args) -> int:
    from sampan.cli.service.tasks import filters_by_id, show_tasks

    filters = filters_by_id(console, parse_filters(args.many("filter")))
    ids: list[str] = []

    def find(ref: str) -> str:
        ids.append(str(cluster.node(console.client, ref)["ID"]))
        return ""

    code = console.each(args.rest or ["self"], find)
    if ids:
        show_tasks(
            console, args, cluster.tasks(console.client, {**filters, "node": ids}), short=True
        )
    return code


def _rm(console: Console, args: Args) -> int:
    return console.each(
        args.rest, lambda ref: cluster.remove_node(console.client, ref, force=args.on("force"))
    )


def _commands() -> dict[str, Command]:
    from sampan.cli.service.tasks import FLAGS as TASK_FLAGS

    some = "NODE [NODE...]"
    promote = _turn(
        "manager", "Node {} promoted to a manager in the swarm.", "Node {} is already a manager."
    )
    demote = _turn("worker", "Manager {} demoted in the swarm.", "Node {} is already a worker.")
    ls_flags = (
        Flag("filter", "f", LIST, "Filter output based on conditions provided"),
        Flag("format", "", TEXT, "'table', 'table TEMPLATE', 'json' or a Go template"),
        Flag("quiet", "q", BOOL, "Only display IDs"),
    )
    update_flags = (
        Flag("availability", "", TEXT, 'Availability of the node ("active", "pause", "drain")'),
        Flag("label-add", "", LIST, 'Add or update a node label ("key=value")'),
        Flag("label-rm", "", LIST, "Remove a node label if exists"),
        Flag("role", "", TEXT, 'Role of the node ("worker", "manager")'),
    )
    force = Flag("force", "f", BOOL, "Force remove a node from the swarm")
    all_of = (
        Command("node ls", "[OPTIONS]", "List nodes in the swarm", _ls, ls_flags),
        Command("node update", "[OPTIONS] NODE", "Update a node", _update, update_flags, 1, 1),
        Command("node promote", some, "Promote one or more nodes to manager in the swarm",
                promote, (), 1, None),
        Command("node demote", some, "Demote one or more nodes from manager in the swarm",
                demote, (), 1, None),
        Command("node ps", "[OPTIONS] [NODE...]",
                "List tasks running on one or more nodes, defaults to current node",
                _ps, TASK_FLAGS, 0, None),
        Command("node rm", f"[OPTIONS] {some}", "Remove one or more nodes from the swarm",
                _rm, (force,), 1, None),
    )  # fmt: skip
    return {command.path: command for command in all_of}


COMMANDS = _commands()
