"""``inspect``, of any kind of object."""

from __future__ import annotations

from sampan.cli.terminal.console import CliError, Console
from sampan.client import ApiError, NotFound
from sampan.flags import BOOL, TEXT, Args, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOCAL_KINDS = ("container", "image", "network", "volume")
CLUSTER_KINDS = ("service", "task", "node", "secret", "config")
KINDS = (*LOCAL_KINDS, *CLUSTER_KINDS)
_PRETTY = ("service", "node", "secret", "config")
_GROUPS = (*LOCAL_KINDS, *_PRETTY)
_NO_MEMBER = 503


def find(
    console: Console, kind: str, ref: str, *, size: bool = False, verbose: bool = False
) -> dict[str, Any]:
    """One object of one kind. Raises NotFound."""
    client = console.client
    if kind in CLUSTER_KINDS:
        from sampan.client import cluster, services, stored

        if kind == "service":
            return services.inspect(client, ref, defaults=True)
        if kind in ("secret", "config"):
            return stored.inspect(client, f"{kind}s", ref)
        return cluster.node(client, ref) if kind == "node" else cluster.task(client, ref)
    from sampan.client import containers, images, networks, volumes

    if kind == "container":
        return containers.inspect(client, ref, size=size)
    if kind == "image":
        return images.inspect(client, ref)
    if kind == "network":
        return networks.inspect(client, ref, verbose=verbose)
    return volumes.inspect(client, ref)


def _inspect(console: Console, args: Args) -> int:
    group = args.command.path.rpartition(" ")[0]
    kind = group or args.text("type")
    if kind and kind not in KINDS:
        raise CliError(f'"{kind}" is not a valid value for --type: use one of {", ".join(KINDS)}')
    form = args.text("format")
    pretty = args.on("pretty")
    if pretty and form:
        raise CliError("--format is incompatible with human friendly format")
    found: list[dict[str, Any]] = []
    missing: list[str] = []
    for ref in args.rest:
        reason = f"Error: No such object: {ref}"
        for candidate in (kind,) if kind else KINDS:
            try:
                found.append(
                    find(console, candidate, ref, size=args.on("size"), verbose=args.on("verbose"))
                )
                break
            except NotFound as error:
                if kind:
                    reason = f"Error response from daemon: {error}"
                if kind == "service":
                    reason = f"Error: no such service: {ref}"
            except ApiError as error:
                # A host that is in no cluster has none of the cluster's objects.
                if kind or candidate in LOCAL_KINDS or error.status != _NO_MEMBER:
                    raise
        else:
            missing.append(reason)
    if pretty:
        _show_pretty(console, kind, found)
    elif form:
        from sampan.templates import Template

        template = Template("{{json .}}" if form == "json" else form)
        for item in found:
            console.out(template.render(item))
    else:
        from json import dumps

        console.out(dumps(found, indent=4, ensure_ascii=False))
    for message in missing:
        console.err(message)
    return 1 if missing else 0


def _show_pretty(console: Console, kind: str, found: list[dict[str, Any]]) -> None:
    if kind == "service":
        from sampan.cli.service.pretty import service_text
        from sampan.client import networks

        names = {str(n["Id"]): str(n["Name"]) for n in networks.list_(console.client)}
        for item in found:
            console.out(service_text(item, names))
        return
    from sampan.cli.swarm.pretty import node_text, stored_text

    for item in found:
        console.out(node_text(item) if kind == "node" else stored_text(item, kind))


_FORMAT = Flag("format", "f", TEXT, "'json' or a Go template")
_SIZE = Flag("size", "s", BOOL, "Display total file sizes if the type is container")
_EXTRA = {
    "container": (_SIZE,),
    "network": (Flag("verbose", "v", BOOL, "Verbose output for diagnostics"),),
    **{kind: (Flag("pretty", "", BOOL, "Print in a human friendly format"),) for kind in _PRETTY},
}
_REFS = {"node": "self|NODE"}

COMMANDS = {
    "inspect": Command(
        "inspect",
        "[OPTIONS] NAME|ID [NAME|ID...]",
        "Return low-level information on objects",
        _inspect,
        (_FORMAT, _SIZE, Flag("type", "", TEXT, "Only inspect objects of the given type")),
        1,
        None,
    ),
    **{
        f"{kind} inspect": Command(
            f"{kind} inspect",
            f"[OPTIONS] {_REFS.get(kind, kind.upper())} [{kind.upper()}...]",
            f"Display detailed information on one or more {kind}s",
            _inspect,
            (_FORMAT, *_EXTRA.get(kind, ())),
            1,
            None,
        )
        for kind in _GROUPS
    },
}
