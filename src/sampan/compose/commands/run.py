"""``exec`` and ``run``."""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import replace
from typing import Any

from sampan.client import containers
from sampan.compose.commands.app import App, one_of
from sampan.compose.commands.up import PULLS, converge
from sampan.compose.errors import UsageError
from sampan.compose.model import create_request as bodies
from sampan.compose.model.canonical import hashes
from sampan.compose.model.project import Project, no_such_service
from sampan.compose.model.readers import argument_mount, argument_ports
from sampan.compose.model.service import Service
from sampan.compose.model.values import Port
from sampan.compose.plan.up import UpOptions
from sampan.compose.run.execute import OneOff, create_container
from sampan.compose.run.observe import list_project
from sampan.compose.run.terminal import join
from sampan.compose.units import split_command
from sampan.flags import BOOL, INT, LIST, TEXT, Args, Command, Flag


def exec_(app: App, args: Args) -> int:
    """Run a command in a running container of a service; answers its exit code."""
    service, *command = args.rest
    index = args.number("index")
    found = [
        c
        for c in list_project(app.client, app.project_name(), all=False)
        if c.service == service and not c.oneoff and (not index or c.number == index)
    ]
    if not found:
        raise UsageError(f'service "{service}" is not running')
    target = min(found, key=lambda c: c.number)
    detach = args.on("detach")
    terminal = _terminal(args)
    stdin = args.on("interactive", default=True)
    request: dict[str, Any] = {
        "AttachStdin": stdin and not detach,
        "AttachStdout": not detach,
        "AttachStderr": not detach,
        "Tty": terminal,
        "Cmd": command,
        "Env": _environment(args.many("env")),
        "User": args.text("user"),
        "WorkingDir": args.text("workdir"),
        "Privileged": args.on("privileged"),
    }
    exec_id = containers.exec_create(app.client, target.id, request)
    if detach:
        containers.exec_start_detached(app.client, exec_id)
        return 0
    stream = containers.exec_start(app.client, exec_id, tty=terminal)
    try:
        join(
            stream,
            stdin=stdin,
            terminal=terminal,
            resize=lambda rows, columns: containers.exec_resize(app.client, exec_id, rows, columns),
        )
    finally:
        stream.close()
    return int(containers.exec_inspect(app.client, exec_id).get("ExitCode") or 0)


def _terminal(args: Args) -> bool:
    ours = sys.stdin.isatty() and sys.stdout.isatty()
    return ours and args.on("tty", default=True) and not args.on("no-tty", args.on("no-TTY"))


def run(app: App, args: Args) -> int:
    """Run a one-off container of a service, with its dependencies up; answers its exit code."""
    named, *command = args.rest
    app.progress.quiet_images = args.on("quiet-pull")
    project = app.load((named,))
    service = project.services.get(named)
    if service is None:
        raise no_such_service(project, named)
    pull = one_of(args, "pull", PULLS)
    if not args.on("no-deps") and service.dependencies():
        names = tuple(d.service for d in service.dependencies() if d.service in project.services)
        orphans = args.on("remove-orphans")
        converge(app, project, UpOptions(services=names, no_recreate=True, remove_orphans=orphans))
    # The image, the networks and the volumes are made by a plan for no replica of the service.
    ready = UpOptions(services=(named,), deps=False, start=False, build=args.on("build"), pull=pull)
    _prepare(app, project, service, ready)
    if app.dry_run:
        return 0
    detach = args.on("detach")
    terminal = _terminal(args) and not detach
    stdin = args.on("interactive", default=True) and not detach
    changed = _changed(args, service, command, terminal)._replace(stdin_open=stdin)
    name = args.text("name") or f"{project.name}-{service.name}-run-{secrets.token_hex(6)}"
    digest, parts = hashes(project, service)
    labels = bodies.container_labels(
        project, changed, 1, config_hash=digest, parts=parts, oneoff=True
    )
    labels |= dict(item.partition("=")[::2] for item in args.many("label"))
    container = create_container(
        app.client,
        project,
        changed,
        name,
        labels,
        alias=name,
        keep={},
        known={},
        warn=app.progress.warn,
        oneoff=OneOff(auto_remove=args.on("rm") and detach, service_aliases=args.on("use-aliases")),
    )
    if detach:
        containers.start(app.client, container)
        print(container)
        return 0
    try:
        return _attached(app, container, terminal, stdin)
    finally:
        if args.on("rm"):
            containers.remove(app.client, container, force=True, volumes=True)


def _prepare(app: App, project: Project, service: Service, options: UpOptions) -> None:
    from sampan.compose.plan.steps import CreateContainer, Plan
    from sampan.compose.plan.up import plan_up
    from sampan.compose.run.observe import observe

    fresh = service._replace(scale=1, container_name="")
    alone = replace(project, services={**project.services, service.name: fresh})
    observed = observe(app.client, project, (service.name,))
    blank = replace(observed, containers=())
    whole, plan = plan_up(alone, blank, options), Plan()
    for step in whole.steps:
        if not isinstance(step.action, CreateContainer):
            plan.add(step.verb, step.target, step.why, step.action)
    app.carry_out(plan, project)


def _changed(args: Args, service: Service, command: list[str], terminal: bool) -> Service:
    environment = dict(service.environment)
    for item in _environment(args.many("env")):
        key, _, value = item.partition("=")
        environment[key] = value
    ports: tuple[Port, ...] = service.ports if args.on("service-ports") else ()
    ports += argument_ports(args.many("publish"))
    said = args.maybe("entrypoint")
    return service._replace(
        command=tuple(command) if command or said is not None else service.command,
        entrypoint=service.entrypoint if said is None else split_command(said),
        environment=environment,
        ports=ports,
        mounts=(*service.mounts, *(argument_mount(text) for text in args.many("volume"))),
        restart="",
        tty=terminal,
        cap_add=(*service.cap_add, *args.many("cap-add")),
        cap_drop=(*service.cap_drop, *args.many("cap-drop")),
        user=args.text("user") or service.user,
        working_dir=args.text("workdir") or service.working_dir,
        container_name="",
    )


def _attached(app: App, container: str, terminal: bool, stdin: bool) -> int:
    client = app.client
    waiting = containers.wait(client, container, "next-exit")
    stream = containers.attach(client, container, stdin=stdin)
    try:
        containers.start(client, container)
        join(
            stream,
            stdin=stdin,
            terminal=terminal,
            resize=lambda rows, columns: containers.resize(client, container, rows, columns),
        )
    finally:
        stream.close()
    return containers.exit_code(waiting)[0]


def _environment(items: list[str]) -> list[str]:
    return [i if "=" in i else f"{i}={os.environ[i]}" for i in items if "=" in i or i in os.environ]


_TERMINAL = (
    Flag("interactive", "i", BOOL, "Keep STDIN open even if not attached (default true)"),
    Flag("no-tty", "T", BOOL, "Do not allocate a terminal (default: one if there is one)"),
    Flag("no-TTY", "", BOOL, "The same"),
    Flag("tty", "t", BOOL, "Allocate a terminal (default true)"),
)
COMMANDS = {
    "exec": Command(
        "compose exec",
        "[OPTIONS] SERVICE COMMAND [ARGS...]",
        "Execute a command in a running container",
        exec_,
        (
            Flag("detach", "d", BOOL, "Run command in the background"),
            Flag("env", "e", LIST, "Set environment variables"),
            Flag("index", "", INT, "Index of the container if service has multiple replicas"),
            *_TERMINAL,
            Flag("privileged", "", BOOL, "Give extended privileges to the process"),
            Flag("user", "u", TEXT, "Run the command as this user"),
            Flag("workdir", "w", TEXT, "Path to workdir directory for this command"),
        ),
        2,
        None,
        mixed=False,
    ),
    "run": Command(
        "compose run",
        "[OPTIONS] SERVICE [COMMAND] [ARGS...]",
        "Run a one-off command on a service",
        run,
        (
            Flag("build", "", BOOL, "Build image before starting container"),
            Flag("cap-add", "", LIST, "Add Linux capabilities"),
            Flag("cap-drop", "", LIST, "Drop Linux capabilities"),
            Flag("detach", "d", BOOL, "Run container in background and print container ID"),
            Flag("entrypoint", "", TEXT, "Override the entrypoint of the image"),
            Flag("env", "e", LIST, "Set environment variables"),
            Flag("label", "l", LIST, "Add or override a label"),
            Flag("name", "", TEXT, "Assign a name to the container"),
            *_TERMINAL,
            Flag("no-deps", "", BOOL, "Don't start linked services"),
            Flag("publish", "p", LIST, "Publish a container's port(s) to the host"),
            Flag("pull", "", TEXT, 'Pull image before running ("always", "missing", "never")'),
            Flag("quiet-pull", "", BOOL, "Pull without printing progress information"),
            Flag("remove-orphans", "", BOOL, "Remove containers for services not in the file"),
            Flag("rm", "", BOOL, "Automatically remove the container when it exits"),
            Flag("service-ports", "P", BOOL, "Publish the service's ports to the host"),
            Flag("use-aliases", "", BOOL, "Use the service's network aliases"),
            Flag("user", "u", TEXT, "Run as specified username or uid"),
            Flag("volume", "v", LIST, "Bind mount a volume"),
            Flag("workdir", "w", TEXT, "Working directory inside the container"),
        ),
        1,
        None,
        mixed=False,
    ),
}
