"""``sampan attach`` and ``sampan start``."""

from __future__ import annotations

from sampan.cli.terminal.console import CliError, Console
from sampan.client import containers
from sampan.flags import BOOL, TEXT, Args, Command, Flag

_KEYS = Flag("detach-keys", "", TEXT, "Override the key sequence for detaching a container")


def _attach(console: Console, args: Args) -> int:
    client = console.client
    ref = args.rest[0]
    found = containers.inspect(client, ref)
    if not found["State"]["Running"]:
        raise CliError("You cannot attach to a stopped container, start it first")
    if found["State"].get("Paused"):
        raise CliError("You cannot attach to a paused container, unpause it first")
    return _join(console, args, found["Id"], not args.on("no-stdin"), start=False)


def _start(console: Console, args: Args) -> int:
    client = console.client
    attached = args.on("attach") or args.on("interactive")
    if not attached:

        def start(ref: str) -> None:
            containers.start(client, ref, detach_keys=args.maybe("detach-keys"))

        return console.each(args.rest, start)
    if len(args.rest) > 1:
        raise CliError("you cannot start and attach multiple containers at once")
    found = containers.inspect(client, args.rest[0])
    return _join(console, args, found["Id"], args.on("interactive"), start=True)


def _join(console: Console, args: Args, ref: str, wants_stdin: bool, *, start: bool) -> int:
    from sampan.cli.container.run import exit_of
    from sampan.cli.container.stdio import StdioSession, check_tty, fit

    client = console.client
    found = containers.inspect(client, ref)
    config = found["Config"]
    tty = bool(config["Tty"])
    stdin = wants_stdin and bool(config["OpenStdin"])
    check_tty(stdin, tty)
    keys = args.maybe("detach-keys")
    stream = containers.attach(client, ref, stdin=stdin, detach_keys=keys)
    auto_remove = bool(found["HostConfig"].get("AutoRemove"))
    condition = "removed" if auto_remove and start else "next-exit" if start else "not-running"
    with containers.wait(client, ref, condition) as waiting:
        if start:
            try:
                containers.start(client, ref)
            except BaseException:
                stream.close()
                raise

        def resize(rows: int, columns: int) -> None:
            containers.resize(client, ref, rows, columns)

        if tty:
            fit(resize)
        proxied = args.on("sig-proxy", True)
        session = StdioSession(stream, stdin=stdin, tty=tty, keys=keys)
        session.pump(
            resize=resize,
            kill=(lambda name: containers.kill(client, ref, name)) if proxied else None,
        )
        if session.detached:
            return 0
        code, message = exit_of(waiting)
    if message:
        console.err(f"sampan: {message}")
    return code


COMMANDS = {
    "attach": Command(
        "attach",
        "[OPTIONS] CONTAINER",
        "Attach local standard input, output, and error streams to a running container",
        _attach,
        (
            _KEYS,
            Flag("no-stdin", "", BOOL, "Do not attach STDIN"),
            Flag("sig-proxy", "", BOOL, "Proxy all received signals to the process (default true)"),
        ),
        least=1,
        most=1,
    ),
    "start": Command(
        "start",
        "[OPTIONS] CONTAINER [CONTAINER...]",
        "Start one or more stopped containers",
        _start,
        (
            Flag("attach", "a", BOOL, "Attach STDOUT/STDERR and forward signals"),
            _KEYS,
            Flag("interactive", "i", BOOL, "Attach container's STDIN"),
        ),
        least=1,
        most=None,
    ),
}
