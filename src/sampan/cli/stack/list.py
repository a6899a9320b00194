"""``sampan stack``: ls, ps, services."""

from __future__ import annotations

from sampan.cli.service.list import LIST_FLAGS, show_services
from sampan.cli.service.tasks import FLAGS as TASK_FLAGS
from sampan.cli.service.tasks import filters_by_id, show_tasks
from sampan.cli.terminal.console import CliError, Console, parse_filters
from sampan.cli.terminal.table import show_rows
from sampan.client import cluster, services
from sampan.flags import TEXT, Args, Command, Flag

_NAMESPACE = "com.docker.stack.namespace"
_HEADERS = {"Name": "NAME", "Services": "SERVICES"}


def _ls(console: Console, args: Args) -> int:
    counts: dict[str, int] = {}
    for item in services.list_(console.client, {"label": [_NAMESPACE]}):
        name = item["Spec"]["Labels"][_NAMESPACE]
        counts[name] = counts.get(name, 0) + 1
    rows = [{"Name": name, "Services": str(count)} for name, count in sorted(counts.items())]
    show_rows(console, rows, _HEADERS, tuple(_HEADERS), args.text("format"))
    return 0


def _filters(args: Args, name: str) -> dict[str, list[str]]:
    filters = parse_filters(args.many("filter"))
    filters.setdefault("label", []).append(f"{_NAMESPACE}={name}")
    return filters


def _services(console: Console, args: Args) -> int:
    name = args.rest[0]
    found = services.list_(console.client, _filters(args, name), status=True)
    if not found:
        console.err(f"Nothing found in stack: {name}")
        return 0
    show_services(console, args, found)
    return 0


def _ps(console: Console, args: Args) -> int:
    name = args.rest[0]
    filters = filters_by_id(console, _filters(args, name))
    found = cluster.tasks(console.client, filters)
    if not found:
        raise CliError(f"nothing found in stack: {name}")
    show_tasks(console, args, found, short=True)
    return 0


COMMANDS = {
    "stack ls": Command(
        "stack ls",
        "[OPTIONS]",
        "List stacks",
        _ls,
        (Flag("format", "", TEXT, "'table', 'table TEMPLATE', 'json' or a Go template"),),
    ),
    "stack ps": Command(
        "stack ps", "[OPTIONS] STACK", "List the tasks in the stack", _ps, TASK_FLAGS, 1, 1
    ),
    "stack services": Command(
        "stack services",
        "[OPTIONS] STACK",
        "List the services in the stack",
        _services,
        LIST_FLAGS,
        1,
        1,
    ),
}
