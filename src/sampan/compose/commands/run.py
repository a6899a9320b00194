"""``exec`` and ``run``."""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import replace
from typing import Any

from sampan.client import containers
from sampan.compose.commands.app import App
from sampan.compose.commands.up import converge
from sampan.compose.errors import UsageError
from sampan.compose.model import create_request as bodies
from sampan.compose.model.canonical import hashes
from sampan.compose.model.project import Project, no_such_service
from sampan.compose.model.readers import argument_mount, argument_ports
from sampan.compose.model.service import Service
from sampan.compose.model.values import Port
from sampan.compose.plan.up import UpOptions
from sampan.compose.run.execute import create_container
from sampan.compose.run.observe import list_project
from sampan.compose.run.terminal import join
from sampan.compose.units import split_command


def exec_(app: App) -> int:
    """Run a command in a running container of a service; answers its exit code."""
    args = app.args
    if not args.argv:
        raise UsageError("exec needs a command")
    found = [
        c
        for c in list_project(app.client, app.project_name(), all=False)
        if c.service == args.service and not c.oneoff and (not args.index or c.number == args.index)
    ]
    if not found:
        raise UsageError(f'service "{args.service}" is not running')
    target = min(found, key=lambda c: c.number)
    terminal = not args.no_TTY and sys.stdin.isatty() and sys.stdout.isatty()
    request: dict[str, Any] = {
        "AttachStdin": not args.detach,
        "AttachStdout": not args.detach,
        "AttachStderr": not args.detach,
        "Tty": terminal,
        "Cmd": args.argv,
        "Env": _environment(args.env),
        "User": args.user,
        "WorkingDir": args.workdir,
        "Privileged": args.privileged,
    }
    exec_id = containers.exec_create(app.client, target.id, request)
    if args.detach:
        containers.exec_start_detached(app.client, exec_id)
        return 0
    stream = containers.exec_start(app.client, exec_id, tty=terminal)
    try:
        join(
            stream,
            stdin=True,
            terminal=terminal,
            resize=lambda rows, columns: containers.exec_resize(app.client, exec_id, rows, columns),
        )
    finally:
        stream.close()
    return int(containers.exec_inspect(app.client, exec_id).get("ExitCode") or 0)


def run(app: App) -> int:
    """Run a one-off container of a service, with its dependencies up; answers its exit code."""
    args = app.args
    project = app.load((args.service,))
    service = project.services.get(args.service)
    if service is None:
        raise no_such_service(project, args.service)
    if not args.no_deps and service.dependencies():
        names = tuple(d.service for d in service.dependencies() if d.service in project.services)
        converge(app, project, UpOptions(services=names, no_recreate=True))
    # The image, the networks and the volumes are made by a plan for no replica of the service.
    ready = UpOptions(services=(args.service,), deps=False, start=False, build=args.build)
    _prepare(app, project, service, ready)
    terminal = not args.no_TTY and not args.detach and sys.stdin.isatty() and sys.stdout.isatty()
    changed = _changed(app, service, terminal)
    name = args.name or f"{project.name}-{service.name}-run-{secrets.token_hex(6)}"
    digest, parts = hashes(project, service)
    labels = bodies.container_labels(
        project, changed, 1, config_hash=digest, parts=parts, oneoff=True
    )
    labels |= dict(item.partition("=")[::2] for item in args.label)
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
    )
    try:
        return _attached(app, container, terminal)
    finally:
        if args.rm and not args.detach:
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


def _changed(app: App, service: Service, terminal: bool) -> Service:
    args = app.args
    environment = dict(service.environment)
    for item in _environment(args.env):
        key, _, value = item.partition("=")
        environment[key] = value
    ports: tuple[Port, ...] = service.ports if args.service_ports else ()
    ports += argument_ports(tuple(args.publish))
    entrypoint = service.entrypoint
    if args.entrypoint is not None:
        entrypoint = split_command(args.entrypoint)
    return service._replace(
        command=tuple(args.argv) if args.argv or args.entrypoint is not None else service.command,
        entrypoint=entrypoint,
        environment=environment,
        ports=ports,
        mounts=(*service.mounts, *(argument_mount(text) for text in args.volume)),
        restart="",
        tty=terminal,
        stdin_open=not args.detach,
        user=args.user or service.user,
        working_dir=args.workdir or service.working_dir,
        container_name="",
    )


def _attached(app: App, container: str, terminal: bool) -> int:
    client = app.client
    if app.args.detach:
        containers.start(client, container)
        print(container)
        return 0
    waiting = containers.wait(client, container, "next-exit")
    stream = containers.attach(client, container, stdin=True)
    try:
        containers.start(client, container)
        join(
            stream,
            stdin=True,
            terminal=terminal,
            resize=lambda rows, columns: containers.resize(client, container, rows, columns),
        )
    finally:
        stream.close()
    return containers.exit_code(waiting)[0]


def _environment(items: list[str]) -> list[str]:
    return [i if "=" in i else f"{i}={os.environ[i]}" for i in items if "=" in i or i in os.environ]
