"""Commands that look at one container: ``logs``, ``top``, ``port``, ``diff``."""

from __future__ import annotations

import time

from sampan.cli.console import CliError, Console, write_all
from sampan.cli.units import since
from sampan.client import containers
from sampan.client.frames import split
from sampan.flags import BOOL, TEXT, Args, Command, Flag

_KINDS = "CAD"


def _logs(console: Console, args: Args) -> int:
    ref = args.rest[0]
    tty = containers.inspect(console.client, ref)["Config"]["Tty"]
    now = time.time()
    tail = args.text("tail", "all")
    if tail != "all" and not tail.lstrip("-").isdecimal():
        raise CliError(f"invalid value for --tail: {tail!r}: a number or all")
    follow = args.on("follow")
    response = containers.logs(
        console.client,
        ref,
        follow=follow,
        since=since(args.text("since"), now) or None,
        until=since(args.text("until"), now) or None,
        timestamps=args.on("timestamps"),
        tail=tail,
    )
    with response:
        for stream, piece in split(response.iter_raw(), tty):
            write_all(2 if stream == 2 else 1, piece)
    return 0


def _top(console: Console, args: Args) -> int:
    from sampan.cli.table import align

    found = containers.top(console.client, args.rest[0], " ".join(args.rest[1:]))
    for line in align([found["Titles"], *found["Processes"]]):
        console.out(line)
    return 0


def _port(console: Console, args: Args) -> int:
    ref = args.rest[0]
    ports = containers.inspect(console.client, ref)["NetworkSettings"].get("Ports") or {}
    wanted = ""
    if len(args.rest) > 1:
        wanted = args.rest[1] if "/" in args.rest[1] else f"{args.rest[1]}/tcp"
        if not ports.get(wanted):
            raise CliError(f"no public port '{args.rest[1]}' published for {ref}")
    for port in sorted(ports, key=lambda key: (int(key.partition("/")[0]), key)):
        for binding in ports[port] or ():
            address = binding["HostIp"]
            host = f"[{address}]" if ":" in address else address
            if wanted in ("", port):
                front = "" if wanted else f"{port} -> "
                console.out(f"{front}{host}:{binding['HostPort']}")
    return 0


def _diff(console: Console, args: Args) -> int:
    for change in containers.changes(console.client, args.rest[0]):
        console.out(f"{_KINDS[change['Kind']]} {change['Path']}")
    return 0


COMMANDS = {
    "logs": Command(
        "logs",
        "[OPTIONS] CONTAINER",
        "Fetch the logs of a container",
        _logs,
        (
            Flag("details", "", BOOL, "Accepted for docker's sake"),
            Flag("follow", "f", BOOL, "Follow log output"),
            Flag("since", "", TEXT, 'Show logs since timestamp or relative (e.g. "42m")'),
            Flag("tail", "n", TEXT, 'Number of lines to show from the end (default "all")'),
            Flag("timestamps", "t", BOOL, "Show timestamps"),
            Flag("until", "", TEXT, 'Show logs before a timestamp or relative (e.g. "42m")'),
        ),
        1,
        1,
    ),
    "top": Command(
        "top",
        "CONTAINER [ps OPTIONS]",
        "Display the running processes of a container",
        _top,
        (),
        1,
        None,
        mixed=False,
    ),
    "port": Command(
        "port", "CONTAINER [PRIVATE_PORT[/PROTO]]", "List port mappings", _port, (), 1, 2
    ),
    "diff": Command(
        "diff", "CONTAINER", "Inspect changes to files on a container's filesystem", _diff, (), 1, 1
    ),
}
