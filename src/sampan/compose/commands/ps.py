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


def ps(app: App) -> int:
    """List the project's containers: running ones, or all."""
    args = app.args
    statuses = set(args.status) | {f[7:] for f in args.filter if f.startswith("status=")}
    every = args.all or bool(statuses)
    found = app.containers(oneoff=args.all, every=every)
    if statuses:
        found = [c for c in found if c.state in statuses]
    if args.only_services:
        print_lines(dict.fromkeys(c.service for c in found))
    elif args.quiet:
        print_lines(c.id for c in found)
    elif args.format == "json":
        print_lines(json.dumps(_row(c)) for c in found)
    else:
        header = ("NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS")
        rows = [
            (
                c.name,
                c.image,
                json.dumps(_short(c.command, args.no_trunc), ensure_ascii=False),
                c.service,
                ago(c.created),
                c.status,
                ", ".join(_ports(c)),
            )
            for c in found
        ]
        sys.stdout.write(render(header, rows))
    return 0


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


def top(app: App) -> int:
    """Processes of every running container."""
    found = [c for c in app.containers(every=False) if c.running]
    answers = at_once({c.name: partial(api.top, app.client, c.id) for c in found})
    for name, answer in answers.items():
        sys.stdout.write(f"{name}\n{render(answer['Titles'], answer['Processes'] or [])}\n")
    return 0


def port(app: App) -> int:
    """Print the host's address for a container's port."""
    args = app.args
    number, _, protocol = args.port.partition("/")
    for c in app.containers(every=False):
        if c.service != args.service or c.number != args.index:
            continue
        for p in c.ports:
            inner = (str(p["PrivatePort"]), p["Type"])
            if inner == (number, protocol or args.protocol) and p.get("PublicPort"):
                print(f"{p.get('IP', '')}:{p['PublicPort']}")
                return 0
        raise UsageError(f"no port {args.port} of {c.name} is published")
    raise UsageError(f"service {args.service!r} has no running container number {args.index}")
