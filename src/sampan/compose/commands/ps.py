"""``ps``, ``top`` and ``port``: the project's containers."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

from sampan.client import containers as api
from sampan.compose.commands.app import App
from sampan.compose.commands.table import ago, print_lines, render
from sampan.compose.errors import UsageError
from sampan.compose.model.create_request import PREFIX
from sampan.compose.plan.observed import ObservedContainer
from sampan.compose.run.observe import at_once
from sampan.flags import BOOL, INT, LIST, TEXT, Args, Command, Flag

_STATUSES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
_HEADERS = {
    "Name": "NAME",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "Service": "SERVICE",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "Ports": "PORTS",
}


def ps(app: App, args: Args) -> int:
    """List the project's containers: running ones, or all."""
    statuses = _statuses(args)
    every = args.on("all")
    found = app.containers(args.rest, oneoff=every, every=every or bool(statuses))
    if statuses:
        found = [c for c in found if c.state in statuses]
    if not args.on("orphans", default=True):
        known = app.load(every_profile=True).services
        found = [c for c in found if c.service in known]
    form = args.text("format", "table")
    if args.on("services"):
        print_lines(dict.fromkeys(c.service for c in found))
    elif args.on("quiet"):
        print_lines(c.id for c in found)
    elif form == "json":
        print_lines(json.dumps(_row(c)) for c in found)
    else:
        _table(found, form, whole=args.on("no-trunc"))
    return 0


def _statuses(args: Args) -> set[str]:
    wanted = set(args.many("status"))
    for item in args.many("filter"):
        key, equals, value = item.partition("=")
        if key != "status" or not equals:
            raise UsageError(f"--filter takes status=STATUS, not {item!r}")
        wanted.add(value)
    for word in wanted - set(_STATUSES):
        raise UsageError(f'"{word}" is not a status: use one of {", ".join(_STATUSES)}')
    return wanted


def _table(found: list[ObservedContainer], form: str, *, whole: bool) -> None:
    """Columns, or what a template makes of each container (``table`` before it: with headings)."""
    if form != "table":
        from sampan.templates import Template

        headed = form.startswith("table ")
        template = Template(form.removeprefix("table ").replace("\\t", "\t").replace("\\n", "\n"))
        lines = [template.render(_row(c)) for c in found]
        if headed:
            heading = {name: _HEADERS.get(name, name.upper()) for name in _row(_NOBODY)}
            cells = [line.split("\t") for line in (template.render(heading), *lines)]
            sys.stdout.write(render(cells[0], cells[1:]))
        else:
            print_lines(lines)
        return
    rows = [
        (
            c.name,
            c.image,
            json.dumps(_short(c.command, whole), ensure_ascii=False),
            c.service,
            ago(c.created),
            c.status,
            ", ".join(_ports(c)),
        )
        for c in found
    ]
    sys.stdout.write(render(tuple(_HEADERS.values()), rows))


_NOBODY = ObservedContainer(id="", name="", service="", number=1)


def _short(text: str, whole: bool) -> str:
    return text if whole or len(text) <= 20 else text[:19] + "…"


def _row(c: ObservedContainer) -> dict[str, Any]:
    return {
        "Command": json.dumps(c.command, ensure_ascii=False),
        "CreatedAt": c.created,
        "ExitCode": c.exit_code,
        "Health": c.health,
        "ID": c.id[:12],
        "Image": c.image,
        "Labels": ",".join(f"{k}={v}" for k, v in c.labels.items()),
        "Name": c.name,
        "Names": c.name,
        "Networks": ",".join(c.networks),
        "Ports": ", ".join(_ports(c)),
        "Project": c.labels.get(PREFIX + "project", ""),
        "Publishers": [
            {
                "URL": p.get("IP", ""),
                "TargetPort": p.get("PrivatePort", 0),
                "PublishedPort": p.get("PublicPort", 0),
                "Protocol": p.get("Type", ""),
            }
            for p in c.ports
        ],
        "RunningFor": ago(c.created),
        "Service": c.service,
        "State": c.state,
        "Status": c.status,
    }


def _ports(c: ObservedContainer) -> list[str]:
    found = []
    for p in c.ports:
        inner = f"{p['PrivatePort']}/{p['Type']}"
        ip = p.get("IP", "")
        ip = f"[{ip}]" if ":" in ip else ip
        found.append(f"{ip}:{p['PublicPort']}->{inner}" if p.get("PublicPort") else inner)
    return sorted(found)


def top(app: App, args: Args) -> int:
    """Processes of every running container."""
    found = [c for c in app.containers(args.rest, every=False) if c.running]
    answers = at_once({c.name: partial(api.top, app.client, c.id) for c in found})
    for name, answer in answers.items():
        sys.stdout.write(f"{name}\n{render(answer['Titles'], answer['Processes'] or [])}\n")
    return 0


def port(app: App, args: Args) -> int:
    """Print the host's address for a container's port."""
    service, wanted = args.rest
    index = args.number("index") or 1
    number, _, protocol = wanted.partition("/")
    for c in app.containers((service,), every=False):
        if c.number != index:
            continue
        for p in c.ports:
            inner = (str(p["PrivatePort"]), p["Type"])
            if inner == (number, protocol or args.text("protocol", "tcp")) and p.get("PublicPort"):
                print(f"{p.get('IP', '')}:{p['PublicPort']}")
                return 0
        raise UsageError(f"no port {wanted} of {c.name} is published")
    raise UsageError(f"service {service!r} has no running container number {index}")


COMMANDS = {
    "ps": Command(
        "compose ps",
        "[OPTIONS] [SERVICE...]",
        "List containers",
        ps,
        (
            Flag("all", "a", BOOL, "Show all stopped containers (also those of run)"),
            Flag("filter", "", LIST, "Filter services by a property (status=STATUS)"),
            Flag("format", "", TEXT, 'Format the output ("table", "json" or a Go template)'),
            Flag("no-trunc", "", BOOL, "Don't truncate output"),
            Flag("orphans", "", BOOL, "Include orphaned services (default true)"),
            Flag("quiet", "q", BOOL, "Only display IDs"),
            Flag("services", "", BOOL, "Display services"),
            Flag("status", "", LIST, f"Filter services by status ({', '.join(_STATUSES)})"),
        ),
        0,
        None,
    ),
    "top": Command(
        "compose top", "[SERVICES...]", "Display the running processes", top, (), 0, None
    ),
    "port": Command(
        "compose port",
        "[OPTIONS] SERVICE PRIVATE_PORT",
        "Print the public port for a port binding",
        port,
        (
            Flag("index", "", INT, "Index of the container if service has multiple replicas"),
            Flag("protocol", "", TEXT, 'Protocol of the port ("tcp", "udp"; default tcp)'),
        ),
        2,
        2,
    ),
}
