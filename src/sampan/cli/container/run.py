"""``sampan run`` and ``sampan create``.

The order of ``run`` is what keeps output and exit codes whole: create, attach, ask for the exit,
start. Whoever attaches or asks after the start may come too late for a container that is quick.
"""

from __future__ import annotations

import os

from sampan.cli.container.create_request import create_body
from sampan.cli.container.run_flags import CREATE_FLAGS, RUN_FLAGS
from sampan.cli.terminal.console import CliError, Console
from sampan.client import ApiError, NotFound, containers
from sampan.errors import Conflict, SampanError, Unavailable
from sampan.flags import Args, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DAEMON_FAILED = 125


def _create(console: Console, args: Args) -> int:
    console.out(make(console, args, create_body_for(console, args)))
    return 0


def create_body_for(console: Console, args: Args) -> dict[str, Any]:
    """The request's body. Raises CliError (125) when a flag's value makes no sense."""
    try:
        return create_body(args, console.environ)
    except ValueError as error:
        path = args.command.path
        message = f"{error}\n\nRun 'sampan {path} --help' for more information"
        raise CliError(message, DAEMON_FAILED) from error


def make(console: Console, args: Args, body: dict[str, Any]) -> str:
    """Create the container, pulling its image where that is wanted; answers its id."""
    cidfile = args.text("cidfile")
    if cidfile and os.path.exists(cidfile):
        raise CliError(
            f"container ID file found, make sure the other container isn't running or delete "
            f"{cidfile}",
            DAEMON_FAILED,
        )
    policy = args.text("pull", "missing")
    if policy not in ("always", "missing", "never"):
        raise CliError(f'invalid pull option: "{policy}": use always, missing or never', 125)
    platform = args.maybe("platform")
    if policy == "always":
        _pull(console, body["Image"], platform, args.on("quiet"))
    name = args.maybe("name")
    try:
        made = containers.create(console.client, body, name=name, platform=platform)
    except NotFound as error:
        if policy != "missing" or "image" not in str(error).lower():
            raise
        console.err(f"Unable to find image '{_tagged(body['Image'])}' locally")
        _pull(console, body["Image"], platform, args.on("quiet"))
        made = containers.create(console.client, body, name=name, platform=platform)
    for warning in made.get("Warnings") or ():
        console.err(f"WARNING: {warning}")
    if cidfile:
        with open(cidfile, "w", encoding="ascii") as file:
            file.write(made["Id"])
    return str(made["Id"])


def _tagged(image: str) -> str:
    from sampan.client.images import split_tag

    return image if split_tag(image)[1] else f"{image}:latest"


def _pull(console: Console, image: str, platform: str | None, quiet: bool) -> None:
    from sampan.cli.image.transfer import pull_image

    try:
        pull_image(console, image, platform, quiet=quiet, fd=2)
    except Unavailable:
        raise
    except SampanError as error:
        raise CliError(f"sampan: Error response from daemon: {error}", DAEMON_FAILED) from error


def _run(console: Console, args: Args) -> int:
    body = create_body_for(console, args)
    try:
        return _run_body(console, args, body)
    except ApiError as error:
        hint = "\n\nRun 'sampan run --help' for more information"
        raise CliError(
            f"sampan: Error response from daemon: {error}{hint}", failure_code(str(error))
        ) from error
    except Unavailable as error:
        raise CliError(f"sampan: {error}", DAEMON_FAILED) from error


def _run_body(console: Console, args: Args, body: dict[str, Any]) -> int:
    client = console.client
    tty = args.on("tty")
    attached = body["AttachStdin"] or body["AttachStdout"] or body["AttachStderr"]
    if not attached:
        ref = make(console, args, body)
        containers.start(client, ref)
        console.out(ref)
        return 0
    from sampan.cli.container.stdio import StdioSession, check_tty, fit
    from sampan.cli.terminal.raw_mode import size

    check_tty(body["AttachStdin"], tty)
    shape = size(1) if tty else None
    if shape:
        body["HostConfig"]["ConsoleSize"] = list(shape)
    ref = make(console, args, body)
    keys = args.maybe("detach-keys")
    stream = containers.attach(
        client,
        ref,
        stdin=body["AttachStdin"],
        stdout=body["AttachStdout"],
        stderr=body["AttachStderr"],
        detach_keys=keys,
    )
    with containers.wait(client, ref, "removed" if args.on("rm") else "next-exit") as waiting:
        try:
            containers.start(client, ref)
        except BaseException:
            stream.close()
            raise
        if tty:
            fit(lambda rows, columns: containers.resize(client, ref, rows, columns))
        session = StdioSession(stream, stdin=body["AttachStdin"], tty=tty, keys=keys)
        session.pump(
            resize=lambda rows, columns: containers.resize(client, ref, rows, columns),
            kill=(lambda name: containers.kill(client, ref, name))
            if args.on("sig-proxy", True)
            else None,
        )
        if session.detached:
            return 0
        code, message = exit_of(waiting)
    if message:
        console.err(f"sampan: {message}")
        return DAEMON_FAILED
    return code


def exit_of(waiting: Any) -> tuple[int, str]:
    """The exit code; a container that was removed meanwhile has no message to be upset about."""
    try:
        return containers.exit_code(waiting)
    except Conflict:
        return DAEMON_FAILED, "the container was removed while it was waited for"


def failure_code(message: str) -> int:
    """126: the command cannot be run; 127: it does not exist; 125: everything else."""
    text = message.lower()
    if "executable file not found" in text or "no such file or directory" in text:
        return 127
    if "permission denied" in text or "is a directory" in text:
        return 126
    return DAEMON_FAILED


COMMANDS = {
    "run": Command(
        "run",
        "[OPTIONS] IMAGE [COMMAND] [ARG...]",
        "Create and run a new container from an image",
        _run,
        RUN_FLAGS,
        least=1,
        most=None,
        mixed=False,
    ),
    "create": Command(
        "create",
        "[OPTIONS] IMAGE [COMMAND] [ARG...]",
        "Create a new container",
        _create,
        CREATE_FLAGS,
        least=1,
        most=None,
        mixed=False,
    ),
}
