"""``down``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sampan.client import networks, volumes
from sampan.compose.commands.app import App, one_of
from sampan.compose.errors import UsageError
from sampan.compose.model.create_request import PREFIX
from sampan.compose.model.project import Project
from sampan.compose.plan.down import plan_down
from sampan.compose.run.observe import at_once, list_project
from sampan.flags import BOOL, INT, TEXT, Args, Command, Flag


def down(app: App, args: Args) -> int:
    """Stop and remove containers and networks; works without the file when -p names the project."""
    rmi = one_of(args, "rmi", ("all", "local"))
    project: Project | None = None
    try:
        project = app.load(every_profile=True)
    except UsageError:
        if not app.request.project:
            raise
    name = project.name if project else app.project_name()
    label = {"label": [f"{PREFIX}project={name}"]}
    only = set(args.rest)
    questions: dict[str, Callable[[], Any]] = {
        "containers": lambda: list_project(app.client, name),
        "networks": lambda: networks.list_(app.client, label),
        "volumes": lambda: volumes.list_(app.client, label) if args.on("volumes") else [],
    }
    answers = at_once(questions)
    known = set(project.services) if project else set()
    found = [c for c in answers["containers"] if not only or c.service in only]
    orphans = [c for c in found if project and c.service not in known]
    if orphans and not args.on("remove-orphans"):
        found = [c for c in found if c not in orphans]
        names = ", ".join(c.name for c in orphans)
        app.progress.warn(f"orphans stay: {names}; --remove-orphans removes them")
    held = {n for c in orphans for n in c.networks} if not args.on("remove-orphans") else set()
    plan = plan_down(
        found,
        networks=[] if only else [n["Name"] for n in answers["networks"] if n["Name"] not in held],
        volumes=[] if only else [v["Name"] for v in answers["volumes"]],
        images=_images(project, rmi) if rmi and project else (),
        anonymous=args.on("volumes"),
        timeout_s=args.number("timeout"),
    )
    if not plan.steps:
        app.progress.warn(f"nothing to remove: project {name} has no containers or networks")
    app.carry_out(plan, project or app.empty_project())
    return 0


def _images(project: Project, rmi: str) -> list[str]:
    local = rmi == "local"
    services = project.services.values()
    return sorted({project.image_of(s) for s in services if not local or (s.build and not s.image)})


COMMANDS = {
    "down": Command(
        "compose down",
        "[OPTIONS] [SERVICES]",
        "Stop and remove containers, networks",
        down,
        (
            Flag("remove-orphans", "", BOOL, "Remove containers for services not in the file"),
            Flag("rmi", "", TEXT, 'Remove images used by services ("local", "all")'),
            Flag("timeout", "t", INT, "Seconds to wait for a container to stop"),
            Flag("volumes", "v", BOOL, "Remove named and anonymous volumes, too"),
        ),
        0,
        None,
    )
}
