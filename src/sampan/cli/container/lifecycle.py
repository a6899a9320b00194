"""Commands that change containers, several at a time: a refusal for one does not stop the rest."""

from __future__ import annotations

from sampan.cli.container.create_request import HOST_NUMBERS, HOST_TEXTS
from sampan.cli.flag_values import nano_cpus, restart_policy
from sampan.cli.terminal.console import CliError, Console, parse_filters
from sampan.cli.units import parse_size
from sampan.client import containers
from sampan.flags import BOOL, INT, LIST, TEXT, Args, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MANY = "[OPTIONS] CONTAINER [CONTAINER...]"


def _stop(console: Console, args: Args) -> int:
    def stop(ref: str) -> None:
        containers.stop(console.client, ref, timeout_s=_timeout(args), signal=args.maybe("signal"))

    return console.each(args.rest, stop)


def _restart(console: Console, args: Args) -> int:
    return console.each(
        args.rest,
        lambda ref: containers.restart(
            console.client, ref, timeout_s=_timeout(args), signal=args.maybe("signal")
        ),
    )


def _timeout(args: Args) -> int | None:
    return args.number("timeout") if args.given("timeout") else args.number("time")


def _kill(console: Console, args: Args) -> int:
    return console.each(
        args.rest, lambda ref: containers.kill(console.client, ref, args.maybe("signal"))
    )


def _pause(console: Console, args: Args) -> int:
    return console.each(args.rest, lambda ref: containers.pause(console.client, ref))


def _unpause(console: Console, args: Args) -> int:
    return console.each(args.rest, lambda ref: containers.unpause(console.client, ref))


def _wait(console: Console, args: Args) -> int:
    def wait(ref: str) -> str:
        code, message = containers.exit_code(containers.wait(console.client, ref))
        if message:
            console.err(message)
        return str(code)

    return console.each(args.rest, wait)


def _rm(console: Console, args: Args) -> int:
    force = args.on("force")

    def remove(ref: str) -> None:
        containers.remove(
            console.client, ref, force=force, volumes=args.on("volumes"), link=args.on("link")
        )

    return console.each(args.rest, remove, missing_ok=force)


def _rename(console: Console, args: Args) -> int:
    containers.rename(console.client, *args.rest)
    return 0


def _update(console: Console, args: Args) -> int:
    body: dict[str, Any] = {}
    for name, key in HOST_NUMBERS.items():
        if args.given(name):
            body[key] = args.number(name)
    for name, key in HOST_TEXTS.items():
        if args.given(name):
            body[key] = args.text(name)
    for name, key in _SIZES.items():
        if args.given(name):
            body[key] = -1 if args.text(name) == "-1" else parse_size(args.text(name))
    if args.given("cpus"):
        body["NanoCpus"] = nano_cpus(args.text("cpus"))
    if args.given("restart"):
        body["RestartPolicy"] = restart_policy(args.text("restart"))
    if not body:
        raise CliError("you must provide one or more flags when using this command")

    def update(ref: str) -> None:
        for warning in containers.update(console.client, ref, body):
            console.err(f"WARNING: {warning}")

    return console.each(args.rest, update)


_SIZES = {
    "memory": "Memory",
    "memory-reservation": "MemoryReservation",
    "memory-swap": "MemorySwap",
}


def _prune(console: Console, args: Args) -> int:
    if not console.agrees(args, "This will remove all stopped containers."):
        return 1
    done = containers.prune(console.client, parse_filters(args.many("filter")))
    return console.report_pruned(
        "Deleted Containers", done.get("ContainersDeleted") or [], done.get("SpaceReclaimed") or 0
    )


_SIGNAL = Flag("signal", "s", TEXT, "Signal to send to the container")
_STOPPING = (
    _SIGNAL,
    Flag("timeout", "t", INT, "Seconds to wait before killing the container"),
    Flag("time", "", INT, "The same, by its old name"),
)
_UPDATE_FLAGS = (
    Flag("blkio-weight", "", INT, "Block IO (relative weight), between 10 and 1000"),
    Flag("cpu-period", "", INT, "Limit CPU CFS period"),
    Flag("cpu-quota", "", INT, "Limit CPU CFS quota"),
    Flag("cpu-shares", "c", INT, "CPU shares (relative weight)"),
    Flag("cpus", "", TEXT, "Number of CPUs"),
    Flag("cpuset-cpus", "", TEXT, "CPUs in which to allow execution (0-3, 0,1)"),
    Flag("cpuset-mems", "", TEXT, "MEMs in which to allow execution (0-3, 0,1)"),
    Flag("memory", "m", TEXT, "Memory limit"),
    Flag("memory-reservation", "", TEXT, "Memory soft limit"),
    Flag("memory-swap", "", TEXT, "Swap limit equal to memory plus swap: -1 is unlimited"),
    Flag("pids-limit", "", INT, "Tune container pids limit (set -1 for unlimited)"),
    Flag("restart", "", TEXT, "Restart policy to apply when a container exits"),
)
_RM_FLAGS = (
    Flag("force", "f", BOOL, "Force the removal of a running container (uses SIGKILL)"),
    Flag("link", "l", BOOL, "Remove the specified link"),
    Flag("volumes", "v", BOOL, "Remove anonymous volumes associated with the container"),
)
PRUNE_FLAGS = (
    Flag("filter", "", LIST, 'Provide filter values (e.g. "until=<timestamp>")'),
    Flag("force", "f", BOOL, "Do not prompt for confirmation"),
)

COMMANDS = {
    "stop": Command(
        "stop", _MANY, "Stop one or more running containers", _stop, _STOPPING, 1, None
    ),
    "restart": Command(
        "restart", _MANY, "Restart one or more containers", _restart, _STOPPING, 1, None
    ),
    "kill": Command(
        "kill", _MANY, "Kill one or more running containers", _kill, (_SIGNAL,), 1, None
    ),
    "pause": Command(
        "pause", _MANY[10:], "Pause all processes within containers", _pause, (), 1, None
    ),
    "unpause": Command(
        "unpause", _MANY[10:], "Unpause all processes within containers", _unpause, (), 1, None
    ),
    "wait": Command(
        "wait", _MANY[10:], "Block until containers stop, then print exit codes", _wait, (), 1, None
    ),
    "rm": Command("rm", _MANY, "Remove one or more containers", _rm, _RM_FLAGS, 1, None),
    "rename": Command("rename", "CONTAINER NEW_NAME", "Rename a container", _rename, (), 2, 2),
    "update": Command(
        "update", _MANY, "Update configuration of containers", _update, _UPDATE_FLAGS, 1, None
    ),
    "container prune": Command(
        "container prune", "[OPTIONS]", "Remove all stopped containers", _prune, PRUNE_FLAGS
    ),
}
