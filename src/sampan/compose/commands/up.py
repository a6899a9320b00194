"""``up`` and ``create``."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from sampan.compose.commands.app import App, one_of
from sampan.compose.errors import StepFailed, UsageError
from sampan.compose.model.project import Project, chosen
from sampan.compose.model.values import HEALTHY
from sampan.compose.plan.observed import Observed
from sampan.compose.plan.steps import Await, BuildImage, Plan, PullImage
from sampan.compose.plan.up import UpOptions, plan_up
from sampan.compose.run.observe import observe
from sampan.flags import BOOL, INT, LIST, TEXT, Args, Command, Flag

PULLS = ("always", "missing", "never")


class Follower(Protocol):
    """Who follows the containers that a plan starts: the foreground of ``up``."""

    def before(self, observed: Observed, plan: Plan) -> None:
        """Called once, when the plan is known and nothing of it is done."""

    def attach(self, name: str, container: str) -> None:
        """Called before each start, from the thread that starts. Raises ApiError."""


def up(app: App, args: Args) -> int:
    """Bring the project to what the file says; in the foreground follow its logs."""
    detach = args.on("detach")
    ending, source = args.on("abort-on-container-exit"), args.text("exit-code-from")
    if detach and (ending or source):
        raise UsageError("--detach excludes --abort-on-container-exit and --exit-code-from")
    options = _options(app, args)
    project = app.load(args.rest)
    if source and source not in project.services:
        raise UsageError(f"--exit-code-from: no such service: {source}")
    app.progress.quiet_images = args.on("quiet-pull")
    if detach or args.on("wait") or args.on("no-start") or app.dry_run:
        converge(app, project, options)
        if args.on("wait") and not app.dry_run:
            _wait_for_all(app, project, args)
        return 0
    from sampan.compose.commands.foreground import FollowOptions, Foreground

    follow = FollowOptions(
        color=app.colored(args),
        prefix=not args.on("no-log-prefix"),
        timestamps=args.on("timestamps"),
        ends_with_one=ending or bool(source),
        exit_code_from=source,
        timeout_s=args.number("timeout"),
        attach=_known(project, args, "attach"),
        no_attach=_known(project, args, "no-attach"),
    )
    with Foreground(app, project, follow) as foreground:
        converge(app, project, options, foreground)
        return foreground.follow()


def create(app: App, args: Args) -> int:
    """Create containers, start nothing."""
    app.progress.quiet_images = args.on("quiet-pull")
    converge(app, app.load(args.rest), replace(_options(app, args), start=False))
    return 0


def converge(
    app: App, project: Project, options: UpOptions, follower: Follower | None = None
) -> Plan:
    """Observe, plan, execute. Raises StepFailed."""
    names = tuple(chosen(project, options.services, options.deps))
    observed = observe(app.client, project, names)
    plan = plan_up(project, observed, options)
    images = _images_only(plan)
    if images.steps and observed.containers and not app.dry_run:
        # Whether a build or pull brings something new shows only afterwards: then look again.
        app.carry_out(images, project)
        observed = observe(app.client, project, names)
        plan = plan_up(
            project, observed, replace(options, build=False, no_build=True, pull="missing")
        )
    if follower is None:
        app.carry_out(plan, project)
    else:
        follower.before(observed, plan)
        app.carry_out(plan, project, follower.attach)
    return plan


def _images_only(plan: Plan) -> Plan:
    out = Plan()
    for step in plan.steps:
        if isinstance(step.action, PullImage | BuildImage):
            out.add(step.verb, step.target, step.why, step.action)
    return out


def _known(project: Project, args: Args, flag: str) -> frozenset[str]:
    names = frozenset(args.many(flag))
    for name in names - set(project.services):
        raise UsageError(f"--{flag}: no such service: {name}")
    return names


def _options(app: App, args: Args) -> UpOptions:
    scale: dict[str, int] = {}
    for item in args.many("scale"):
        name, equals, count = item.partition("=")
        if not equals or not count.isdecimal():
            raise UsageError(f"--scale takes SERVICE=NUMBER, not {item!r}")
        scale[name] = int(count)
    if args.on("force-recreate") and args.on("no-recreate"):
        raise UsageError("--force-recreate and --no-recreate exclude each other")
    if args.on("build") and args.on("no-build"):
        raise UsageError("--build and --no-build exclude each other")
    return UpOptions(
        services=tuple(args.rest),
        scale=scale,
        build=args.on("build"),
        no_build=args.on("no-build"),
        pull=one_of(args, "pull", PULLS),
        force_recreate=args.on("force-recreate"),
        no_recreate=args.on("no-recreate"),
        deps=not args.on("no-deps"),
        remove_orphans=args.on("remove-orphans"),
        start=not args.on("no-start"),
        renew_volumes=args.on("renew-anon-volumes"),
        timeout_s=args.number("timeout"),
    )


def _wait_for_all(app: App, project: Project, args: Args) -> None:
    """``--wait``: every service that has a health check must be healthy, the others running."""
    from sampan.client import containers

    plan = Plan()
    observed = observe(app.client, project)
    for name in chosen(project, tuple(args.rest)):
        for seen in observed.of(name):
            state = containers.inspect(app.client, seen.id)["State"]
            if state["Status"] != "running":
                raise StepFailed(f"container {seen.name} is {state['Status']}")
            if state.get("Health"):
                action = Await(name, (seen.name,), HEALTHY, {seen.name: seen.id})
                plan.add("wait", f"container {seen.name}", "until healthy", action)
    app.carry_out(plan, project)


_BOTH = (
    Flag("build", "", BOOL, "Build images before starting containers"),
    Flag("no-build", "", BOOL, "Don't build an image, even if it's policy"),
    Flag("force-recreate", "", BOOL, "Recreate containers even if nothing has changed"),
    Flag("no-recreate", "", BOOL, "If containers already exist, don't recreate them"),
    Flag("pull", "", TEXT, 'Pull images before running ("always", "missing", "never")'),
    Flag("quiet-pull", "", BOOL, "Pull without printing progress information"),
    Flag("remove-orphans", "", BOOL, "Remove containers for services not in the file"),
    Flag("scale", "", LIST, "Number of containers of a service, as SERVICE=N"),
    Flag("yes", "y", BOOL, "Answer every question with yes (nothing is asked)"),
)
COMMANDS = {
    "up": Command(
        "compose up",
        "[OPTIONS] [SERVICE...]",
        "Create and start containers",
        up,
        (
            *_BOTH,
            Flag("abort-on-container-exit", "", BOOL, "Stop all when one has stopped"),
            Flag("attach", "", LIST, "Show the output of these services only"),
            Flag("detach", "d", BOOL, "Run containers in the background"),
            Flag("exit-code-from", "", TEXT, "Return the exit code of this service's container"),
            Flag("no-attach", "", LIST, "Leave the output of these services out"),
            Flag("no-color", "", BOOL, "Produce monochrome output"),
            Flag("no-deps", "", BOOL, "Don't start linked services"),
            Flag("no-log-prefix", "", BOOL, "Don't print prefix in logs"),
            Flag("no-start", "", BOOL, "Don't start the services after creating them"),
            Flag("renew-anon-volumes", "V", BOOL, "Make anonymous volumes anew"),
            Flag("timeout", "t", INT, "Seconds to wait for a container to stop"),
            Flag("timestamps", "", BOOL, "Show timestamps"),
            Flag("wait", "", BOOL, "Wait for services to be running or healthy"),
        ),
        0,
        None,
    ),
    "create": Command(
        "compose create",
        "[OPTIONS] [SERVICE...]",
        "Create containers for a service",
        create,
        (*_BOTH, Flag("timeout", "t", INT, "Seconds to wait for a container to stop")),
        0,
        None,
    ),
}
