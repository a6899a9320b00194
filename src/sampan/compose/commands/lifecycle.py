"""``stop``, ``start``, ``restart``, ``rm``, ``kill``, ``pause``, ``unpause``."""

from __future__ import annotations

import sys

from sampan.compose.commands.app import App
from sampan.compose.plan.down import plan_remove, plan_signal, plan_start, plan_stop


def stop(app: App) -> int:
    """Stop without removing."""
    app.carry_out(plan_stop(app.containers(), app.args.timeout), app.empty_project())
    return 0


def start(app: App) -> int:
    """Start what is stopped, in the order of the dependencies."""
    project = app.load(every_profile=True)
    app.carry_out(plan_start(project, app.containers()), project)
    return 0


def restart(app: App) -> int:
    """Restart containers."""
    plan = plan_signal(app.containers(), "restart", timeout_s=app.args.timeout)
    app.carry_out(plan, app.empty_project())
    return 0


def remove(app: App) -> int:
    """Remove stopped containers, after asking unless forced."""
    args = app.args
    there = app.containers(oneoff=True)
    plan = plan_remove(there, stop=args.stop, volumes=args.volumes)
    if not plan.steps:
        print("No stopped containers", file=sys.stderr)
        return 0
    if not args.force and not args.dry_run:
        names = ", ".join(c.name for c in there if args.stop or not c.running)
        print(f"Going to remove {names}", file=sys.stderr)
        if input("Are you sure? [yN] ").strip().lower() not in ("y", "yes"):
            return 1
    app.carry_out(plan, app.empty_project())
    return 0


def kill(app: App) -> int:
    """Send a signal."""
    app.carry_out(
        plan_signal(app.containers(), "kill", signal=app.args.signal), app.empty_project()
    )
    return 0


def pause(app: App) -> int:
    """Freeze."""
    app.carry_out(plan_signal(app.containers(), "pause"), app.empty_project())
    return 0


def unpause(app: App) -> int:
    """Thaw."""
    app.carry_out(plan_signal(app.containers(), "unpause"), app.empty_project())
    return 0
