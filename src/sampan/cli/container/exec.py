"""``sampan exec``."""

from __future__ import annotations

from sampan.cli.flag_values import environment
from sampan.cli.terminal.console import CliError, Console
from sampan.client import ApiError, containers
from sampan.flags import BOOL, LIST, TEXT, Args, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _run(console: Console, args: Args) -> int:
    from sampan.cli.container.stdio import StdioSession, check_tty, fit

    client = console.client
    ref, *command = args.rest
    tty, stdin, detach = args.on("tty"), args.on("interactive"), args.on("detach")
    if not detach:
        check_tty(stdin, tty)
    body: dict[str, Any] = {
        "Cmd": command,
        "Tty": tty,
        "AttachStdin": stdin and not detach,
        "AttachStdout": not detach,
        "AttachStderr": not detach,
        "Privileged": args.on("privileged"),
        "User": args.text("user"),
        "WorkingDir": args.text("workdir"),
        "Env": environment(args.many("env-file"), args.many("env"), console.environ),
    }
    keys = args.maybe("detach-keys")
    if keys:
        body["DetachKeys"] = keys
    try:
        exec_id = containers.exec_create(client, ref, body)
        if detach:
            containers.exec_start_detached(client, exec_id, tty=tty)
            return 0
        stream = containers.exec_start(client, exec_id, tty=tty)
    except ApiError as error:
        from sampan.cli.container.run import failure_code

        code = failure_code(str(error))
        message = f"Error response from daemon: {error}"
        raise CliError(message, code if code != 125 else 1) from error

    def resize(rows: int, columns: int) -> None:
        containers.exec_resize(client, exec_id, rows, columns)

    if tty:
        fit(resize)
    session = StdioSession(stream, stdin=stdin, tty=tty, keys=keys)
    # No signals to proxy: docker's exec has no way to take them, and Ctrl-C ends the client.
    session.pump(resize=resize)
    if session.detached:
        return 0
    return int(containers.exec_inspect(client, exec_id).get("ExitCode") or 0)


COMMANDS = {
    "exec": Command(
        "exec",
        "[OPTIONS] CONTAINER COMMAND [ARG...]",
        "Execute a command in a running container",
        _run,
        (
            Flag("detach", "d", BOOL, "Detached mode: run command in the background"),
            Flag("detach-keys", "", TEXT, "Override the key sequence for detaching a container"),
            Flag("env", "e", LIST, "Set environment variables"),
            Flag("env-file", "", LIST, "Read in a file of environment variables"),
            Flag("interactive", "i", BOOL, "Keep STDIN open even if not attached"),
            Flag("privileged", "", BOOL, "Give extended privileges to the command"),
            Flag("tty", "t", BOOL, "Allocate a pseudo-TTY"),
            Flag("user", "u", TEXT, "Username or UID (format: <name|uid>[:<group|gid>])"),
            Flag("workdir", "w", TEXT, "Working directory inside the container"),
        ),
        least=2,
        most=None,
        mixed=False,
    )
}
