"""``up``, ``create``, ``build``, ``pull``."""

from __future__ import annotations

from dataclasses import replace

from sampan.compose.commands.app import App
from sampan.compose.errors import StepFailed, UsageError
from sampan.compose.model.project import Project, chosen
from sampan.compose.model.values import HEALTHY
from sampan.compose.plan.steps import Await, BuildImage, Plan, PullImage
from sampan.compose.plan.up import UpOptions, plan_up
from sampan.compose.run.observe import observe


def up(app: App) -> int:
    """Bring the project to what the file says; in the foreground follow its logs."""
    args = app.args
    detached = args.detach or args.wait or args.no_start or args.dry_run
    if args.detach and (args.abort_on_container_exit or args.exit_code_from):
        raise UsageError("--detach excludes --abort-on-container-exit and --exit-code-from")
    project = app.load(app.services)
    if args.exit_code_from and args.exit_code_from not in project.services:
        raise UsageError(f"--exit-code-from: no such service: {args.exit_code_from}")
    if detached:
        converge(app, project, _options(app))
        if args.wait and not args.dry_run:
            _wait_for_all(app, project)
        return 0
    from sampan.compose.commands.foreground import Foreground

    with Foreground(app, project) as foreground:
        converge(app, project, _options(app), foreground)
        return foreground.follow()


def create(app: App) -> int:
    """Create containers, start nothing."""
    project = app.load(app.services)
    converge(app, project, replace(_options(app), start=False))
    return 0


def converge(app: App, project: Project, options: UpOptions, foreground: object = None) -> Plan:
    """Observe, plan, execute. Raises StepFailed."""
    names = tuple(chosen(project, options.services, options.deps))
    observed = observe(app.client, project, names)
    plan = plan_up(project, observed, options)
    images = _images_only(plan)
    if images.steps and observed.containers and not app.args.dry_run:
        # Whether a build or pull brings something new shows only afterwards: then look again.
        app.carry_out(images, project)
        observed = observe(app.client, project, names)
        plan = plan_up(
            project, observed, replace(options, build=False, no_build=True, pull="missing")
        )
    if foreground is None:
        app.carry_out(plan, project)
    else:
        from sampan.compose.commands.foreground import Foreground

        assert isinstance(foreground, Foreground)
        foreground.before(observed, plan)
        app.carry_out(plan, project, foreground.attach)
    return plan


def _images_only(plan: Plan) -> Plan:
    out = Plan()
    for step in plan.steps:
        if isinstance(step.action, PullImage | BuildImage):
            out.add(step.verb, step.target, step.why, step.action)
    return out


def _options(app: App) -> UpOptions:
    args = app.args
    scale: dict[str, int] = {}
    for item in args.scale:
        name, equals, count = item.partition("=")
        if not equals or not count.isdecimal():
            raise UsageError(f"--scale takes SERVICE=NUMBER, not {item!r}")
        scale[name] = int(count)
    if args.force_recreate and args.no_recreate:
        raise UsageError("--force-recreate and --no-recreate exclude each other")
    return UpOptions(
        services=app.services,
        scale=scale,
        build=args.build,
        no_build=args.no_build,
        pull=args.pull,
        force_recreate=args.force_recreate,
        no_recreate=args.no_recreate,
        deps=not args.no_deps,
        remove_orphans=args.remove_orphans,
        start=not args.no_start,
        renew_volumes=args.renew_anon_volumes,
        timeout_s=args.timeout,
    )


def _wait_for_all(app: App, project: Project) -> None:
    """``--wait``: every service that has a health check must be healthy, the others running."""
    from sampan.client import containers

    plan = Plan()
    observed = observe(app.client, project)
    for name in chosen(project, app.services):
        for seen in observed.of(name):
            state = containers.inspect(app.client, seen.id)["State"]
            if state["Status"] != "running":
                raise StepFailed(f"container {seen.name} is {state['Status']}")
            if state.get("Health"):
                action = Await(name, (seen.name,), HEALTHY, {seen.name: seen.id})
                plan.add("wait", f"container {seen.name}", "until healthy", action)
    app.carry_out(plan, project)


def build(app: App) -> int:
    """Build the images of services that have a ``build``."""
    project = app.load(app.services)
    plan = Plan()
    for name in chosen(project, app.services, deps=False):
        service = project.services[name]
        if service.build is None:
            continue
        reference = project.image_of(service)
        action = BuildImage(
            service, reference, app.args.no_cache, app.args.pull, tuple(app.args.build_arg)
        )
        plan.add("build", f"image {reference}", "asked for", action)
    app.carry_out(plan, project)
    return 0


def pull(app: App) -> int:
    """Pull the images of services that are not built."""
    project = app.load(app.services)
    plan = Plan()
    references: set[str] = set()
    for name in chosen(project, app.services, deps=False):
        service = project.services[name]
        if service.build is None and service.image not in references:
            references.add(service.image)
            action = PullImage(service.image, service.platform)
            plan.add("pull", f"image {service.image}", "asked for", action)
    try:
        app.carry_out(plan, project)
    except StepFailed:
        if not app.args.ignore_pull_failures:
            raise
    return 0
