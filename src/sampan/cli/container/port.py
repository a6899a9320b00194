"""``sampan port``: where a container's ports are published."""

from __future__ import annotations

from sampan.cli.terminal.console import CliError, Console
from sampan.client import containers
from sampan.flags import Args, Command


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


COMMANDS = {
    "port": Command(
        "port", "CONTAINER [PRIVATE_PORT[/PROTO]]", "List port mappings", _port, (), 1, 2
    ),
}
