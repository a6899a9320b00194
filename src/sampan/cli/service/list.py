"""``service ls`` and ``service ps``."""

from __future__ import annotations

from sampan.cli.service.tasks import FLAGS as TASK_FLAGS
from sampan.cli.service.tasks import filters_by_id, ports, show_tasks
from sampan.cli.terminal.console import Console, parse_filters
from sampan.cli.terminal.table import show_rows
from sampan.client import services
from sampan.flags import BOOL, LIST, TEXT, Args, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_HEADERS = {
    "ID": "ID", "Name": "NAME", "Mode": "MODE", "Replicas": "REPLICAS", "Image": "IMAGE",
    "Ports": "PORTS",
}  # fmt: skip
_MODES = {
    "Replicated": "replicated", "Global": "global", "ReplicatedJob": "replicated job",
    "GlobalJob": "global job",
}  # fmt: skip


def _ls(console: Console, args: Args) -> int:
    found = services.list_(console.client, parse_filters(args.many("filter")), status=True)
    show_services(console, args, found)
    return 0


def show_services(console: Console, args: Args, found: Sequence[Mapping[str, Any]]) -> None:
    """Print services, by name."""
    form = args.text("format")
    ordered = sorted(found, key=lambda item: str(item["Spec"]["Name"]))
    if args.on("quiet") and not form:
        for item in ordered:
            console.out(str(item["ID"])[:12])
        return
    show_rows(console, [service_row(item) for item in ordered], _HEADERS, tuple(_HEADERS), form)


def service_row(item: Mapping[str, Any]) -> dict[str, Any]:
    """One service as its columns."""
    spec = item["Spec"]
    image = str(spec["TaskTemplate"].get("ContainerSpec", {}).get("Image", ""))
    published = [
        port
        for port in (item.get("Endpoint") or {}).get("Ports") or ()
        if port.get("PublishMode", "ingress") == "ingress"
    ]
    return {
        "ID": str(item["ID"])[:12],
        "Name": spec["Name"],
        "Mode": next((name for key, name in _MODES.items() if key in (spec.get("Mode") or {})), ""),
        "Replicas": replicas(item),
        "Image": image.partition("@")[0],
        "Ports": ports(published),
    }


def replicas(item: Mapping[str, Any]) -> str:
    """``2/3``, ``2/3 (max 1 per node)``, ``0/3 (3/3 completed)``."""
    status = item.get("ServiceStatus") or {}
    running, wanted = status.get("RunningTasks", 0), status.get("DesiredTasks", 0)
    spec = item["Spec"]
    mode = spec.get("Mode") or {}
    done = status.get("CompletedTasks", 0)
    if "ReplicatedJob" in mode:
        job = mode["ReplicatedJob"] or {}
        return f"{running}/{wanted} ({done}/{job.get('TotalCompletions') or 1} completed)"
    if "GlobalJob" in mode:
        return f"{running}/{wanted} ({done}/{wanted + done} completed)"
    limit = (spec["TaskTemplate"].get("Placement") or {}).get("MaxReplicas")
    extra = f" (max {limit} per node)" if limit and "Replicated" in mode else ""
    return f"{running}/{wanted}{extra}"


def _ps(console: Console, args: Args) -> int:
    from sampan.client import NotFound, cluster

    filters = filters_by_id(console, parse_filters(args.many("filter")))
    found: list[str] = []
    missing: list[str] = []
    for ref in args.rest:
        try:
            found.append(str(services.inspect(console.client, ref)["ID"]))
        except NotFound:
            missing.append(ref)
    if found:
        tasks = cluster.tasks(console.client, {**filters, "service": found})
        show_tasks(console, args, tasks)
    for ref in missing:
        console.err(f"no such service: {ref}")
    return 1 if missing else 0


LIST_FLAGS = (
    Flag("filter", "f", LIST, "Filter output based on conditions provided"),
    Flag("format", "", TEXT, "'table', 'table TEMPLATE', 'json' or a Go template"),
    Flag("quiet", "q", BOOL, "Only display IDs"),
)

COMMANDS = {
    "service ls": Command("service ls", "[OPTIONS]", "List services", _ls, LIST_FLAGS),
    "service ps": Command(
        "service ps",
        "[OPTIONS] SERVICE [SERVICE...]",
        "List the tasks of one or more services",
        _ps,
        TASK_FLAGS,
        1,
        None,
    ),
}
