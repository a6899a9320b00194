"""``stop``, ``start``, ``restart``, ``rm``, ``kill``, ``pause``, ``unpause``."""

from __future__ import annotations

import sys

from sampan.compose.commands.app import App
from sampan.compose.plan.down import plan_remove, plan_restart, plan_signal, plan_start, plan_stop
from sampan.flags import BOOL, INT, TEXT, Args, Command, Flag


def stop(app: App, args: Args) -> int:
    """Stop without removing."""
    app.carry_out(plan_stop(app.containers(args.rest), args.number("timeout")), app.empty_project())
    return 0


def start(app: App, args: Args) -> int:
    """Start what is stopped, in the order of the dependencies."""
    project = app.load(every_profile=True)
    app.carry_out(plan_start(project, app.containers(args.rest)), project)
    return 0


def restart(app: App, args: Args) -> int:
    """Restart containers, and those that depend on them with ``restart: true``."""
    app.containers(args.rest)  # refuses names that nobody knows
    plan = plan_restart(
        app.containers(),
        tuple(args.rest),
        deps=not args.on("no-deps"),
        timeout_s=args.number("timeout"),
    )
    app.carry_out(plan, app.empty_project())
    return 0


def remove(app: App, args: Args) -> int:
    """Remove stopped containers, after asking unless forced."""
    there = app.containers(args.rest, oneoff=True)
    plan = plan_remove(there, stop=args.on("stop"), volumes=args.on("volumes"))
    if not plan.steps:
        print("No stopped containers", file=sys.stderr)
        return 0
    if not args.on("force") and not app.dry_run:
        names = ", ".join(c.name for c in there if args.on("stop") or not c.running)
        print(f"Going to remove {names}", file=sys.stderr)
        if input("Are you sure? [yN] ").strip().lower() not in ("y", "yes"):
            return 1
    app.carry_out(plan, app.empty_project())
    return 0


def kill(app: App, args: Args) -> int:
    """Send a signal."""
    app.carry_out(
        plan_signal(app.containers(args.rest), "kill", signal=args.text("signal", "SIGKILL")),
        app.empty_project(),
    )
    return 0


def pause(app: App, args: Args) -> int:
    """Freeze."""
    app.carry_out(plan_signal(app.containers(args.rest), "pause"), app.empty_project())
    return 0


def unpause(app: App, args: Args) -> int:
    """Thaw."""
    app.carry_out(plan_signal(app.containers(args.rest), "unpause"), app.empty_project())
    return 0


_TIMEOUT = Flag("timeout", "t", INT, "Seconds to wait for a container to stop")
_SERVICES = "[OPTIONS] [SERVICE...]"
COMMANDS = {
    "start": Command("compose start", _SERVICES, "Start services", start, (), 0, None),
    "stop": Command("compose stop", _SERVICES, "Stop services", stop, (_TIMEOUT,), 0, None),
    "restart": Command(
        "compose restart",
        _SERVICES,
        "Restart service containers",
        restart,
        (Flag("no-deps", "", BOOL, "Don't restart dependent services"), _TIMEOUT),
        0,
        None,
    ),
    "rm": Command(
        "compose rm",
        _SERVICES,
        "Removes stopped service containers",
        remove,
        (
            Flag("force", "f", BOOL, "Don't ask to confirm removal"),
            Flag("stop", "s", BOOL, "Stop the containers, if required, before removing"),
            Flag("volumes", "v", BOOL, "Remove any anonymous volumes attached to containers"),
        ),
        0,
        None,
    ),
    "kill": Command(
        "compose kill",
        _SERVICES,
        "Force stop service containers",
        kill,
        (Flag("signal", "s", TEXT, "SIGNAL to send to the container (default SIGKILL)"),),
        0,
        None,
    ),
    "pause": Command("compose pause", _SERVICES, "Pause services", pause, (), 0, None),
    "unpause": Command("compose unpause", _SERVICES, "Unpause services", unpause, (), 0, None),
}
