"""``down``, ``stop``, ``start``, ``restart``, ``rm``, ``kill``, ``pause``, ``unpause``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from sampan.client import networks, volumes
from sampan.compose.app import App
from sampan.compose.body import PREFIX
from sampan.compose.errors import UsageError
from sampan.compose.model import Project
from sampan.compose.observe import at_once, list_project
from sampan.compose.plan_down import plan_down, plan_remove, plan_signal, plan_start, plan_stop


def down(app: App) -> int:
    """Stop and remove containers and networks; works without the file when -p names the project."""
    project: Project | None = None
    try:
        project = app.load(every_profile=True)
    except UsageError:
        if not app.request.project:
            raise
    name = project.name if project else app.project_name()
    label = {"label": [f"{PREFIX}project={name}"]}
    only = set(app.services)
    questions: dict[str, Callable[[], Any]] = {
        "containers": lambda: list_project(app.client, name),
        "networks": lambda: networks.list_(app.client, label),
        "volumes": lambda: volumes.list_(app.client, label) if app.args.volumes else [],
    }
    answers = at_once(questions)
    known = set(project.services) if project else set()
    found = [c for c in answers["containers"] if not only or c.service in only]
    orphans = [c for c in found if project and c.service not in known]
    if orphans and not app.args.remove_orphans:
        found = [c for c in found if c not in orphans]
        names = ", ".join(c.name for c in orphans)
        app.progress.warn(f"orphans stay: {names}; --remove-orphans removes them")
    held = {n for c in orphans for n in c.networks} if not app.args.remove_orphans else set()
    plan = plan_down(
        found,
        networks=[] if only else [n["Name"] for n in answers["networks"] if n["Name"] not in held],
        volumes=[] if only else [v["Name"] for v in answers["volumes"]],
        images=_images(app, project) if app.args.rmi and project else (),
        anonymous=app.args.volumes,
        timeout_s=app.args.timeout,
    )
    if not plan.steps:
        app.progress.warn(f"nothing to remove: project {name} has no containers or networks")
    app.carry_out(plan, project or app.empty_project())
    return 0


def _images(app: App, project: Project) -> list[str]:
    local = app.args.rmi == "local"
    services = project.services.values()
    return sorted({project.image_of(s) for s in services if not local or (s.build and not s.image)})


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
