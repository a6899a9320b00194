"""The daemon itself: ``version``, ``info``, ``events``."""

from __future__ import annotations

import sys
import time

from sampan.cli.terminal.console import Console, parse_filters
from sampan.cli.units import since
from sampan.client import Unreachable, events
from sampan.flags import LIST, TEXT, Args, Command, Flag
from sampan.units import binary_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_VERSION_LINES = (
    ("Version", "Version"), ("API version", "ApiVersion"), ("Min API version", "MinAPIVersion"),
    ("Python version", "PythonVersion"), ("Go version", "GoVersion"), ("Git commit", "GitCommit"),
    ("Built", "BuildTime"), ("Kernel", "KernelVersion"), ("OS/Arch", "Platform"),
)  # fmt: skip


def _version(console: Console, args: Args) -> int:
    from sampan import __version__
    from sampan.client.client import API_VERSION

    major, minor = API_VERSION
    client: dict[str, Any] = {
        "Version": __version__,
        "ApiVersion": f"{major}.{minor}",
        "PythonVersion": sys.version.split()[0],
        "Platform": f"{sys.platform}/{_machine()}",
    }
    failure: Unreachable | None = None
    server: dict[str, Any] | None = None
    try:
        server = events.version(console.client)
        used = console.client.version
        client["ApiVersion"] = f"{used[0]}.{used[1]}"
        server["Platform"] = f"{server.get('Os')}/{server.get('Arch')}"
    except Unreachable as error:
        failure = error
    if args.text("format"):
        from sampan.templates import Template

        form = args.text("format")
        value = {"Client": client, "Server": server}
        console.out(Template("{{json .}}" if form == "json" else form).render(value))
    else:
        _show_version(console, "Client: sampan", client)
        if server is not None:
            console.out()
            _show_version(console, "Server:", server)
            for part in server.get("Components") or ():
                console.out(f" {part['Name']}:\n  {'Version:':<18}{part['Version']}")
    if failure:
        console.err(str(failure))
    return 1 if failure else 0


def _machine() -> str:
    import os

    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def _show_version(console: Console, title: str, part: dict[str, Any]) -> None:
    console.out(title)
    for label, key in _VERSION_LINES:
        if part.get(key):
            console.out(f" {label + ':':<19}{part[key]}")


_INFO_LINES = (
    ("Server Version", "ServerVersion"), ("Storage Driver", "Driver"),
    ("Logging Driver", "LoggingDriver"), ("Cgroup Driver", "CgroupDriver"),
    ("Cgroup Version", "CgroupVersion"), ("Default Runtime", "DefaultRuntime"),
    ("Init Binary", "InitBinary"), ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"), ("OSType", "OSType"),
    ("Architecture", "Architecture"), ("CPUs", "NCPU"), ("Total Memory", "MemTotal"),
    ("Name", "Name"), ("ID", "ID"), ("Root Dir", "DockerRootDir"), ("Debug Mode", "Debug"),
    ("HTTP Proxy", "HttpProxy"), ("HTTPS Proxy", "HttpsProxy"),
    ("Live Restore Enabled", "LiveRestoreEnabled"),
)  # fmt: skip


def _show_swarm(console: Console, swarm: dict[str, Any]) -> None:
    console.out(f"Swarm: {swarm.get('LocalNodeState') or 'inactive'}")
    if error := swarm.get("Error"):
        console.out(f" Error: {error}")
    if not swarm.get("NodeID"):
        return
    manager = bool(swarm.get("ControlAvailable"))
    console.out(f" NodeID: {swarm['NodeID']}")
    console.out(f" Is Manager: {str(manager).lower()}")
    cluster = swarm.get("Cluster") or {}
    if manager and not error:
        console.out(f" ClusterID: {cluster.get('ID', '')}")
        console.out(f" Managers: {swarm.get('Managers', 0)}")
        console.out(f" Nodes: {swarm.get('Nodes', 0)}")
        console.out(f" Default Address Pool: {' '.join(cluster.get('DefaultAddrPool') or ())}")
        console.out(f" SubnetSize: {cluster.get('SubnetSize', 0)}")
        console.out(f" Data Path Port: {cluster.get('DataPathPort', 0)}")
    console.out(f" Node Address: {swarm.get('NodeAddr', '')}")
    console.out(" Manager Addresses:")
    for address in sorted(each["Addr"] for each in swarm.get("RemoteManagers") or ()):
        console.out(f"  {address}")


def _info(console: Console, args: Args) -> int:
    found = events.info(console.client)
    form = args.text("format")
    if form:
        from sampan.templates import Template

        console.out(Template("{{json .}}" if form == "json" else form).render(found))
        return 0
    console.out(f"Containers: {found['Containers']}")
    for label, key in (("Running", "Running"), ("Paused", "Paused"), ("Stopped", "Stopped")):
        console.out(f" {label}: {found.get(f'Containers{key}', 0)}")
    console.out(f"Images: {found['Images']}")
    for label, key in _INFO_LINES:
        value = found.get(key)
        if value not in (None, ""):
            text = binary_size(value) if key == "MemTotal" else value
            console.out(f"{label}: {str(text).lower() if isinstance(value, bool) else text}")
        if key == "Driver":
            for name, detail in found.get("DriverStatus") or ():
                console.out(f" {name}: {detail}")
    _show_swarm(console, found.get("Swarm") or {})
    plugins = found.get("Plugins") or {}
    console.out("Plugins:")
    for kind in ("Volume", "Network", "Log"):
        console.out(f" {kind}: {' '.join(plugins.get(kind) or ())}")
    console.out(f"Runtimes: {' '.join(sorted(found.get('Runtimes') or ()))}")
    console.out("Security Options:")
    for option in found.get("SecurityOptions") or ():
        console.out(f" {option.removeprefix('name=')}")
    for warning in found.get("Warnings") or ():
        console.err(warning)
    return 0


def _events(console: Console, args: Args) -> int:
    now = time.time()
    response = events.follow(
        console.client,
        since=since(args.text("since"), now) or None,
        until=since(args.text("until"), now) or None,
        filters=parse_filters(args.many("filter")),
    )
    form = args.text("format")
    template = None
    if form:
        from sampan.templates import Template

        template = Template("{{json .}}" if form == "json" else form)
    with response:
        for event in response.iter_json():
            line = template.render(event) if template else event_line(event)
            console.write(line + "\n")
    return 0


def event_line(event: dict[str, Any]) -> str:
    """``2026-08-01T10:00:00.000000000+00:00 container start ID (image=busybox, name=x)``."""
    nanoseconds = int(event.get("timeNano") or int(event.get("time", 0)) * 10**9)
    moment = time.localtime(nanoseconds // 10**9)
    zone = time.strftime("%z", moment)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", moment)
    actor = event.get("Actor") or {}
    attributes = sorted((actor.get("Attributes") or {}).items())
    inside = ", ".join(f"{name}={value}" for name, value in attributes)
    subject = f"{event.get('Type')} {event.get('Action')} {actor.get('ID', '')}"
    tail = f" ({inside})" if inside else ""
    return f"{stamp}.{nanoseconds % 10**9:09d}{zone[:3]}:{zone[3:]} {subject}{tail}"


_FORMAT = Flag("format", "f", TEXT, "'json' or a Go template")

COMMANDS = {
    "version": Command(
        "version", "[OPTIONS]", "Show the version of command and daemon", _version, (_FORMAT,)
    ),
    "info": Command("info", "[OPTIONS]", "Display system-wide information", _info, (_FORMAT,)),
    "events": Command(
        "events",
        "[OPTIONS]",
        "Get real time events from the server",
        _events,
        (
            Flag("filter", "f", LIST, "Filter output based on conditions provided"),
            Flag("format", "", TEXT, "'json' or a Go template"),
            Flag("since", "", TEXT, "Show all events created since timestamp"),
            Flag("until", "", TEXT, "Stream events until this timestamp"),
        ),
    ),
}
