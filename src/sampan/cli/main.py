"""``sampan``: find the command, import its file and nothing else, turn failures into sentences."""

from __future__ import annotations

import os
import sys

from sampan.cli.commands import ALIASES, GROUPS, MODULES, load
from sampan.cli.terminal.console import CliError, Console
from sampan.flags import BOOL, LIST, TEXT, Args, Command, Flag, UsageError, parse_into

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_GLOBAL = (
    Flag("host", "H", LIST, "Daemon socket to connect to"),
    Flag("context", "c", TEXT, "Name of the context to use (only default)"),
    Flag("config", "", TEXT, "Directory of client configuration (default ~/.docker)"),
    Flag("debug", "D", BOOL, "Show where a failure comes from"),
    Flag("log-level", "l", TEXT, "Accepted for docker's sake"),
    Flag("tls", "", BOOL, "Use TLS; implied by --tlsverify"),
    Flag("tlscacert", "", TEXT, "Trust certs signed only by this CA"),
    Flag("tlscert", "", TEXT, "Path to TLS certificate file"),
    Flag("tlskey", "", TEXT, "Path to TLS key file"),
    Flag("tlsverify", "", BOOL, "Use TLS and verify the remote"),
    Flag("version", "v", BOOL, "Print version information and quit"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """The process: answers its exit code. Never shows a traceback (``--debug`` asks for it)."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "-D" in words[:2] or "--debug" in words[:3]
    code = _guarded(words, debug)
    if argv is None:
        # Tearing the interpreter down takes 3 ms and changes nothing: everything is written.
        sys.stderr.flush()
        os._exit(code)
    return code


def _guarded(words: list[str], debug: bool) -> int:
    """Run, and turn what is raised into a sentence and an exit code."""
    try:
        try:
            code = run(words)
        finally:
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _forget_stdout()
        return 0
    except UsageError as error:
        return _usage(error)
    except CliError as error:
        if str(error):
            sys.stderr.write(f"{error}\n")
        return error.code
    except Exception as error:
        if debug:
            raise
        return _failure(error)


def run(words: Sequence[str], environ: Mapping[str, str] | None = None) -> int:
    """Parse the global flags and dispatch. Raises what the command raises."""
    top = Args(Command("", "[OPTIONS] COMMAND", "", _no_command, _GLOBAL))
    wants_help = not parse_into(top, _GLOBAL, words, mixed=False)
    if top.on("version"):
        from sampan import __version__

        sys.stdout.write(f"sampan version {__version__}\n")
        return 0
    if wants_help or not top.rest or top.rest[0] == "help":
        return _help(top.rest[1:] if top.rest[:1] == ["help"] else [])
    console = make_console(top, environ)
    name, *rest = top.rest
    name = ALIASES.get(name, name)
    if name == "compose":
        from sampan.compose.cli import main as compose

        return compose(rest, lambda: console.client)
    if name in GROUPS:
        if not rest or rest[0] in ("--help", "-h", "help"):
            return _group_help(name)
        if rest[0] not in GROUPS[name]:
            raise UsageError(_unknown(rest[0], GROUPS[name], f"sampan {name}"), name)
        name, rest = GROUPS[name][rest[0]], rest[1:]
    elif name not in MODULES:
        raise UsageError(_unknown(name, [*MODULES, *GROUPS, "compose"], "sampan"))
    command = load(name)
    args = command.parse(rest)
    if args is None:
        sys.stdout.write(command.help() + "\n")
        return 0
    return command.run(console, args)


def make_console(top: Args, environ: Mapping[str, str] | None = None) -> Console:
    """The surroundings that the global flags describe. Raises UsageError."""
    env = dict(os.environ if environ is None else environ)
    if top.given("config"):
        env["DOCKER_CONFIG"] = top.text("config")
    hosts = top.many("host")
    if len(hosts) > 1:
        raise UsageError("specify only one -H")
    tls = None
    if any(top.given(name) for name in ("tls", "tlsverify", "tlscacert", "tlscert", "tlskey")):
        from sampan.client.address import Tls, tls_from

        found = tls_from({**env, "DOCKER_TLS": "1"}) or Tls()
        tls = Tls(
            top.text("tlscacert", found.ca),
            top.text("tlscert", found.cert),
            top.text("tlskey", found.key),
            top.on("tlsverify") or bool(env.get("DOCKER_TLS_VERIFY")),
        )
    return Console(hosts[0] if hosts else None, tls, env)


def _no_command(_console: Console, _args: Args) -> int:
    return 1


REFUSED = {
    "plugin": "a plugin is a process that serves a socket: start it as a container or a service of "
    "the host, and name it where it is used (docs/plugins.md)",
}
"""Commands of docker that are not to come, and what to do instead (SCOPE.md)."""


def _unknown(word: str, known: Sequence[str] | Mapping[str, object], where: str) -> str:
    from difflib import get_close_matches

    if where == "sampan" and (reason := REFUSED.get(word)) is not None:
        return f"sampan {word} is refused: {reason}"
    near = get_close_matches(word, list(known), 1, 0.5)
    hint = f" Did you mean: {where} {near[0]}?" if near else ""
    return f"{where}: unknown command: {word}.{hint}"


def _usage(error: UsageError) -> int:
    where = f"sampan {error.command}".strip()
    sys.stderr.write(f"{error}\n\nRun '{where} --help' for more information\n")
    return 125 if error.command in ("run", "create") else 1


def _failure(error: Exception) -> int:
    from sampan.errors import SampanError

    if not isinstance(error, (SampanError, ValueError, OSError)):
        sys.stderr.write(
            f"sampan failed in a way nobody foresaw: {type(error).__name__}: {error}\n"
            "Run it again with -D to see where, and please report it\n"
        )
        return 1
    from sampan.client.errors import ApiError

    prefix = "Error response from daemon: " if isinstance(error, ApiError) else ""
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(f"{name}{error.strerror}\n")
    else:
        sys.stderr.write(f"{prefix}{error}\n")
    return 1


def _forget_stdout() -> None:
    """The reader went away: what is still buffered must not complain at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def _help(path: Sequence[str]) -> int:
    if path:
        return run([*path, "--help"])
    from sampan.cli.help import overview

    sys.stdout.write(overview(_GLOBAL))
    return 0


def _group_help(group: str) -> int:
    from sampan.cli.help import group_overview

    sys.stdout.write(group_overview(group))
    return 0


if __name__ == "__main__":
    sys.exit(main())
