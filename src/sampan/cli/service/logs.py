"""``service logs``: every task's output, each line under the name of its task."""

from __future__ import annotations

import time

from sampan.cli.service.tasks import TaskNames
from sampan.cli.terminal.console import CliError, Console, write_all
from sampan.cli.units import since
from sampan.client import NotFound, cluster, services
from sampan.client.frames import split
from sampan.flags import BOOL, TEXT, Args, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sampan.client import Client

_NODE = "com.docker.swarm.node.id"
_SERVICE = "com.docker.swarm.service.id"
_TASK = "com.docker.swarm.task.id"


class Prefixes:
    """``web.1.abc123@host1    |``, padded so that lines of all tasks begin at one column."""

    def __init__(
        self, client: Client, names: TaskNames, width: int, *, task_ids: bool, whole: bool
    ) -> None:
        self._client = client
        self._names = names
        self._width = width
        self._task_ids = task_ids
        self._whole = whole
        self._known: dict[str, str] = {}

    def of(self, details: dict[str, str]) -> str:
        """The prefix for a line with these details."""
        task = details.get(_TASK, "")
        if task not in self._known:
            self._known[task] = self._make(details, task)
            self._width = max(self._width, len(self._known[task]))
        return f"{self._known[task]:{self._width}}    | "

    def _make(self, details: dict[str, str], task: str) -> str:
        node = details.get(_NODE, "")
        shown = task if self._whole else task[:12]
        try:
            slot = cluster.task(self._client, task).get("Slot") or node
        except NotFound:  # its history is over, its lines are still there
            slot = "?"
        name = f"{self._names.service(details.get(_SERVICE, ''))}.{slot}"
        if self._task_ids:
            name += f".{shown}"
        return f"{name}@{self._names.node(node)}"


def _logs(console: Console, args: Args) -> int:
    ref = args.rest[0]
    client = console.client
    tail = args.text("tail", "all")
    if tail != "all" and not tail.lstrip("-").isdecimal():
        raise CliError(f"invalid value for --tail: {tail!r}: a number or all")
    if args.on("raw") and args.on("details"):
        raise CliError("conflicting options: cannot specify both --raw and --details")
    is_task, tty, width = _find(console, ref)
    raw = args.on("raw")
    if tty and not raw:
        raise CliError("tty service logs only supported with --raw")
    response = services.logs(
        client,
        ref,
        task=is_task,
        follow=args.on("follow"),
        since=since(args.text("since"), time.time()) or None,
        tail=tail,
        timestamps=args.on("timestamps"),
        details=not raw,
    )
    prefixes = Prefixes(
        client,
        TaskNames(console, resolve=not args.on("no-resolve")),
        width,
        task_ids=not args.on("no-task-ids"),
        whole=args.on("no-trunc"),
    )
    with response:
        pieces = split(response.iter_raw(), tty)
        if raw:
            for stream, piece in pieces:
                write_all(2 if stream == 2 else 1, piece)
            return 0
        for stream, line in lines(pieces):
            text = dress(line, prefixes, stamped=args.on("timestamps"), details=args.on("details"))
            write_all(2 if stream == 2 else 1, text)
    return 0


def _find(console: Console, ref: str) -> tuple[bool, bool, int]:
    """(is it a task, has it a terminal, width of the widest prefix to expect)."""
    try:
        service = services.inspect(console.client, ref)
    except NotFound:
        try:
            task = cluster.task(console.client, ref)
        except NotFound:
            raise CliError(f"no such task or service: {ref}") from None
        return True, bool(task["Spec"].get("ContainerSpec", {}).get("TTY")), 0
    part = service["Spec"]["TaskTemplate"].get("ContainerSpec", {})
    return False, bool(part.get("TTY")), len(str(service["Spec"]["Name"]))


def lines(pieces: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Whole lines with their ends; what the last frame leaves open comes as it is."""
    rest = {1: b"", 2: b""}
    for stream, piece in pieces:
        *whole, last = (rest.get(stream, b"") + piece).split(b"\n")
        rest[stream] = last
        for line in whole:
            yield stream, line + b"\n"
    for stream, line in rest.items():
        if line:
            yield stream, line + b"\n"


def dress(line: bytes, prefixes: Prefixes, *, stamped: bool, details: bool) -> bytes:
    """One line as the user sees it.

    On the wire: ``[TIME ]KEY=VALUE,KEY=VALUE TEXT``. Without ``details`` only the text stays, and
    the task's own words go with the rest.
    """
    stamp = b""
    if stamped:
        stamp, _, line = line.partition(b" ")
        stamp += b" "
    said, space, text = line.partition(b" ")
    found = parse_details(said.decode("utf-8", "replace"))
    if not space or _TASK not in found:
        return stamp + line  # no context: an older daemon, or a line that is not its own
    extra = b""
    if details:
        others = sorted((k, v) for k, v in found.items() if not k.startswith("com.docker.swarm."))
        extra = ",".join(f"{key}={value}" for key, value in others).encode()
        extra += b" " if extra else b""
    return stamp + prefixes.of(found).encode() + extra + text


def parse_details(text: str) -> dict[str, str]:
    """``a=b,c=d`` with percent-encoded keys and values."""
    pairs = (item.partition("=") for item in text.split(",") if item)
    found = {name: value for name, _, value in pairs}
    if "%" in text:
        from urllib.parse import unquote

        found = {unquote(name): unquote(value) for name, value in found.items()}
    return found


COMMANDS = {
    "service logs": Command(
        "service logs",
        "[OPTIONS] SERVICE|TASK",
        "Fetch the logs of a service or task",
        _logs,
        (
            Flag("details", "", BOOL, "Show extra details provided to logs"),
            Flag("follow", "f", BOOL, "Follow log output"),
            Flag("no-resolve", "", BOOL, "Do not map IDs to Names in output"),
            Flag("no-task-ids", "", BOOL, "Do not include task IDs in output"),
            Flag("no-trunc", "", BOOL, "Do not truncate output"),
            Flag("raw", "", BOOL, "Do not neatly format logs"),
            Flag("since", "", TEXT, 'Show logs since timestamp or relative (e.g. "42m")'),
            Flag("tail", "n", TEXT, 'Number of lines to show from the end (default "all")'),
            Flag("timestamps", "t", BOOL, "Show timestamps"),
        ),
        1,
        1,
    )
}
