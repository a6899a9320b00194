"""``sampan cluster why``: what each task of a service waits for, in one screen."""

from __future__ import annotations

from sampan.cli.terminal.console import CliError, Console
from sampan.cli.terminal.table import align
from sampan.client import NotFound, services
from sampan.flags import TEXT, Args, Command, Flag
from sampan.units import span_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


_LEAST = 20
"""A column narrower than this is not worth folding into."""


def _why(console: Console, args: Args) -> int:
    ref = args.rest[0]
    try:
        found = services.why(console.client, ref)
    except NotFound as error:
        if "page not found" not in str(error):
            raise
        raise CliError(
            "the daemon does not explain services: only sampan's does. Try: "
            f"sampan service ps --no-trunc {ref}"
        ) from None
    if args.text("format") == "json":
        from json import dumps

        console.out(dumps(found, indent=4, ensure_ascii=False))
        return 0
    for line in screen(found, console.width):
        console.out(line)
    return 0


def screen(found: Mapping[str, Any], width: int) -> Iterator[str]:
    """The explanation as lines; long reasons are folded to fit ``width`` (0: they are not)."""
    done = f", {found['completed']} completed" if found.get("completed") else ""
    yield (
        f"{found.get('name', '')} ({found.get('mode', '')}): "
        f"{found.get('running', 0)} of {found.get('desired', 0)} tasks running{done}"
    )
    yield str(found.get("summary") or "")
    rollout = found.get("rollout") or {}
    if rollout:
        yield f"update {rollout.get('state', '')}: {rollout.get('message', '')}".rstrip(": ")
    tasks = found.get("tasks") or ()
    if not tasks:
        return
    yield ""
    rows = [("TASK", "NODE", "STATE", "FOR", "WAITS FOR")]
    for task in tasks:
        why = str(task.get("reason") or "")
        if task.get("waits_for"):
            why = f"{task['waits_for']}: {why}"
        if task.get("error") and task["error"] not in why:
            count = f"{task['failures']} times, last" if task.get("failures", 0) > 1 else "before"
            why += f" (failed {count}: {' '.join(str(task['error']).split())})"
        since = span_words(float(task.get("since_s") or 0))
        rows.append(
            (
                str(task.get("name", "")),
                str(task.get("node") or "-"),
                str(task.get("state") or "-"),
                since.lower() if task.get("state") else "-",
                why,
            )
        )
    left = min(len(line) - len(row[-1]) for line, row in zip(align(rows), rows, strict=True))
    for line in align(rows):
        if width - left < _LEAST or len(line) <= width:
            yield line.rstrip()
            continue
        from textwrap import wrap

        first, *others = wrap(line[left:], width - left)
        yield line[:left] + first
        yield from (" " * left + other for other in others)


COMMANDS = {
    "cluster why": Command(
        "cluster why",
        "[OPTIONS] SERVICE",
        "Show what each task of a service waits for",
        _why,
        (Flag("format", "", TEXT, "'json' for all that is known"),),
        1,
        1,
    )
}
