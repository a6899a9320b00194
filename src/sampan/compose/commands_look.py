"""Commands that only look: ``ps``, ``config``, ``images``, ``top``, ``port``, ``ls`` ..."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

from sampan import __version__
from sampan.client import containers as api
from sampan.client import images as image_api
from sampan.compose.app import App
from sampan.compose.body import PREFIX
from sampan.compose.canonical import project_data
from sampan.compose.errors import UsageError
from sampan.compose.observe import Seen, at_once, seen
from sampan.compose.plan_up import chosen, hashes
from sampan.compose.table import ago, render, size


def ps(app: App) -> int:
    """List the project's containers: running ones, or all."""
    args = app.args
    statuses = set(args.status) | {f[7:] for f in args.filter if f.startswith("status=")}
    every = args.all or bool(statuses)
    found = app.containers(oneoff=args.all, every=every)
    if statuses:
        found = [c for c in found if c.state in statuses]
    if args.only_services:
        _lines(dict.fromkeys(c.service for c in found))
    elif args.quiet:
        _lines(c.id for c in found)
    elif args.format == "json":
        _lines(json.dumps(_row(c)) for c in found)
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


def _row(c: Seen) -> dict[str, Any]:
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


def _ports(c: Seen) -> list[str]:
    found = []
    for p in c.ports:
        inner = f"{p['PrivatePort']}/{p['Type']}"
        ip = p.get("IP", "")
        ip = f"[{ip}]" if ":" in ip else ip
        found.append(f"{ip}:{p['PublicPort']}->{inner}" if p.get("PublicPort") else inner)
    return sorted(found)


def config(app: App) -> int:
    """Print the merged, interpolated configuration in its canonical form."""
    args = app.args
    project = app.load(app.services)
    if app.services:
        wanted = set(chosen(project, app.services))
        for name in set(project.services) - wanted:
            del project.services[name]
    if args.quiet:
        return 0
    if args.only_services:
        _lines(project.order())
    elif args.volumes:
        _lines(project.volumes)
    elif args.networks:
        _lines(project.networks)
    elif args.images:
        _lines(sorted({project.image_of(s) for s in project.services.values()}))
    elif args.profiles:
        every = (*project.services.values(), *project.disabled.values())
        _lines(sorted({p for s in every for p in s.profiles}))
    elif args.hash:
        names = sorted(project.services) if args.hash == "*" else args.hash.split(",")
        for name in names:
            if name not in project.services:
                raise UsageError(f"no such service: {name}")
        _lines(f"{name} {hashes(project, project.services[name])[0]}" for name in names)
    elif args.format == "json":
        print(json.dumps(_escaped(project_data(project)), indent=2, ensure_ascii=False))
    else:
        sys.stdout.write(_yaml(_escaped(project_data(project))))
    return 0


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


def images(app: App) -> int:
    """List the images that the project's containers use."""
    found = app.containers(oneoff=True)
    ids = {c.image_id for c in found}
    details = at_once({i: partial(image_api.inspect, app.client, i) for i in ids})
    if app.args.quiet:
        _lines(sorted(i.removeprefix("sha256:") for i in ids))
        return 0
    rows = []
    for c in found:
        repo, tag = image_api.split_tag(c.image)
        amount = int(details[c.image_id].get("Size") or 0)
        rows.append((c.name, repo, tag or "latest", c.image_id[7:19], amount))
    if app.args.format == "json":
        keys = ("ContainerName", "Repository", "Tag", "ID", "Size")
        print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))
    else:
        header = ("CONTAINER", "REPOSITORY", "TAG", "IMAGE ID", "SIZE")
        sys.stdout.write(render(header, [(*row[:4], size(row[4])) for row in rows]))
    return 0


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


def ls(app: App) -> int:
    """Projects that have containers."""
    label = {"label": [f"{PREFIX}project"]}
    projects: dict[str, list[Seen]] = {}
    for c in map(seen, api.list_(app.client, all=app.args.all, filters=label)):
        projects.setdefault(c.labels[PREFIX + "project"], []).append(c)
    rows = []
    for name, members in sorted(projects.items()):
        states: dict[str, int] = {}
        for c in members:
            states[c.state] = states.get(c.state, 0) + 1
        status = ", ".join(f"{state}({count})" for state, count in sorted(states.items()))
        rows.append((name, status, members[0].labels.get(PREFIX + "project.config_files", "")))
    if app.args.quiet:
        _lines(name for name, _, _ in rows)
    elif app.args.format == "json":
        keys = ("Name", "Status", "ConfigFiles")
        print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))
    else:
        sys.stdout.write(render(("NAME", "STATUS", "CONFIG FILES"), rows))
    return 0


def version(app: App) -> int:
    """Our version."""
    print(__version__ if app.args.short else f"sampan compose version {__version__}")
    return 0


def _lines(items: Any) -> None:
    sys.stdout.write("".join(f"{item}\n" for item in items))
