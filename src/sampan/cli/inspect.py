"""``inspect``, of any kind of object."""

from __future__ import annotations

from sampan.cli.console import CliError, Console
from sampan.cli.flags import BOOL, TEXT, Args, Command, Flag
from sampan.client import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KINDS = ("container", "image", "network", "volume")


def find(console: Console, kind: str, ref: str, *, size: bool = False) -> dict[str, Any]:
    """One object of one kind. Raises NotFound."""
    from sampan.client import containers, images, networks, volumes

    client = console.client
    if kind == "container":
        return containers.inspect(client, ref, size=size)
    if kind == "image":
        return images.inspect(client, ref)
    if kind == "network":
        return networks.inspect(client, ref)
    return volumes.inspect(client, ref)


def _inspect(console: Console, args: Args) -> int:
    group = args.command.path.rpartition(" ")[0]
    kind = group or args.text("type")
    if kind and kind not in KINDS:
        raise CliError(f'"{kind}" is not a valid value for --type: use one of {", ".join(KINDS)}')
    found: list[dict[str, Any]] = []
    missing: list[str] = []
    for ref in args.rest:
        for candidate in (kind,) if kind else KINDS:
            try:
                found.append(find(console, candidate, ref, size=args.on("size")))
                break
            except NotFound as error:
                reason = f"Error response from daemon: {error}"
        else:
            missing.append(reason if kind else f"Error: No such object: {ref}")
    form = args.text("format")
    if form:
        from sampan.cli.template import Template

        template = Template("{{json .}}" if form == "json" else form)
        for item in found:
            console.out(template.render(item))
    else:
        from json import dumps

        console.out(dumps(found, indent=4, ensure_ascii=False))
    for message in missing:
        console.err(message)
    return 1 if missing else 0


_FORMAT = Flag("format", "f", TEXT, "'json' or a Go template")
_SIZE = Flag("size", "s", BOOL, "Display total file sizes if the type is container")
_EXTRA = {"container": (_SIZE,), "network": (Flag("verbose", "v", BOOL, "Verbose output"),)}

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
            f"[OPTIONS] {kind.upper()} [{kind.upper()}...]",
            f"Display detailed information on one or more {kind}s",
            _inspect,
            (_FORMAT, *_EXTRA.get(kind, ())),
            1,
            None,
        )
        for kind in KINDS
    },
}
