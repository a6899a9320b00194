"""``sampan compose``: the command line. Each command's code is imported when it is used."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from sampan.client import Client
from sampan.compose.errors import StepFailed, UsageError
from sampan.errors import SampanError

_Sub = Callable[..., argparse.ArgumentParser]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\nSee '{self.prog} --help'.")


def main(argv: list[str], client_factory: Callable[[], Client]) -> int:
    """Run one command; answers the exit code. ``client_factory`` is called only when needed."""
    from sampan.compose.commands.app import App

    try:
        args = _parser().parse_args(_global_flags_first(argv))
        if not getattr(args, "run", None):
            _parser().print_help()
            return 0
        app = App(args, client_factory, os.environ)
        code: int = _function(args.run)(app)
        return code
    except StepFailed as error:
        if str(error):
            print(error, file=sys.stderr)
        return 1
    except SampanError as error:
        print(error, file=sys.stderr)
        return 14 if isinstance(error, UsageError) else 15
    except BrokenPipeError:
        # Whoever read us is gone; writing more at exit would only complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _function(path: str) -> Callable[..., int]:
    from importlib import import_module

    module, _, name = path.partition(":")
    found: Callable[..., int] = getattr(import_module(f"sampan.compose.commands.{module}"), name)
    return found


def _global_flags_first(argv: list[str]) -> list[str]:
    """``up --dry-run`` means ``--dry-run up``."""
    if not argv or "--dry-run" not in argv:
        return argv
    cut = argv.index("--") if "--" in argv else len(argv)
    if any(word in ("run", "exec") for word in argv[:cut]):
        return argv  # behind these, everything belongs to the container's command
    return ["--dry-run", *(a for a in argv[:cut] if a != "--dry-run"), *argv[cut:]]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="sampan compose", description="Run applications of many containers")
    add = parser.add_argument
    add(
        "-f",
        "--file",
        action="append",
        default=[],
        metavar="FILE",
        help="compose file, - for stdin",
    )
    add("-p", "--project-name", help="project name")
    add("--project-directory", help="where relative paths start")
    add("--env-file", action="append", default=[], help="instead of .env")
    add("--profile", action="append", default=[], help="activate a profile")
    add("--dry-run", action="store_true", help="print the plan and do nothing")
    add("--ansi", choices=("auto", "never", "always"), default="auto")
    add("--progress", choices=("auto", "plain", "tty", "quiet"), default="auto")
    add("--verbose", action="store_true", help=argparse.SUPPRESS)
    add("--compatibility", action="store_true", help=argparse.SUPPRESS)
    subs = parser.add_subparsers(metavar="COMMAND", parser_class=_Parser)

    def command(name: str, run: str, help: str, services: str = "*") -> argparse.ArgumentParser:
        sub = subs.add_parser(name, help=help, description=help)
        sub.set_defaults(run=run, command_name=name)
        if services:
            sub.add_argument("services", nargs=services, metavar="SERVICE")
        return sub

    _up_and_down(command)
    _looking(command)
    _living(command)
    _running(command)
    return parser


def _up_and_down(command: _Sub) -> None:
    for name, help in (("up", "Create and start everything"), ("create", "Create, start nothing")):
        sub = command(name, f"up:{name}", help)
        flag = _flags(sub)
        flag("-d", "--detach")
        flag("--build")
        flag("--no-build")
        flag("--force-recreate")
        flag("--no-recreate")
        flag("--no-deps")
        flag("--remove-orphans")
        flag("--no-start")
        flag("--wait")
        flag("--abort-on-container-exit")
        flag("-V", "--renew-anon-volumes")
        flag("--quiet-pull")
        flag("--no-color")
        flag("--no-log-prefix")
        flag("-y", "--yes")
        flag("--timestamps")
        sub.add_argument("--scale", action="append", default=[], metavar="SERVICE=N")
        sub.add_argument("--exit-code-from", metavar="SERVICE")
        sub.add_argument("--pull", choices=("always", "missing", "never"), default="")
        _timeout(sub)
    sub = command("down", "down:down", "Stop and remove everything")
    flag = _flags(sub)
    flag("-v", "--volumes")
    flag("--remove-orphans")
    sub.add_argument("--rmi", choices=("all", "local"))
    _timeout(sub)
    sub = command("build", "up:build", "Build images")
    flag = _flags(sub)
    flag("--no-cache")
    flag("--pull")
    flag("-q", "--quiet")
    sub.add_argument("--build-arg", action="append", default=[], metavar="K=V")
    sub = command("pull", "up:pull", "Pull images")
    flag = _flags(sub)
    flag("-q", "--quiet")
    flag("--ignore-pull-failures")


def _looking(command: _Sub) -> None:
    sub = command("ps", "ps:ps", "List containers")
    flag = _flags(sub)
    flag("-a", "--all")
    flag("-q", "--quiet")
    flag("--no-trunc")
    flag("--orphans")
    sub.add_argument("--services", dest="only_services", action="store_true")
    sub.add_argument("--format", choices=("table", "json"), default="table")
    sub.add_argument("--status", action="append", default=[])
    sub.add_argument("--filter", action="append", default=[])
    sub = command("logs", "logs:logs", "Show what containers print")
    flag = _flags(sub)
    flag("-f", "--follow")
    flag("-t", "--timestamps")
    flag("--no-log-prefix")
    flag("--no-color")
    sub.add_argument("-n", "--tail", default="all")
    sub.add_argument("--since")
    sub.add_argument("--until")
    sub = command("config", "config:config", "Print the whole configuration")
    flag = _flags(sub)
    flag("--volumes")
    flag("--networks")
    flag("--images")
    flag("--profiles")
    flag("-q", "--quiet")
    flag("--no-interpolate")
    sub.add_argument("--services", dest="only_services", action="store_true")
    sub.add_argument("--hash", metavar="SERVICE|*")
    sub.add_argument("--format", choices=("yaml", "json"), default="yaml")
    sub = command("images", "images:images", "List the images in use")
    flag = _flags(sub)
    flag("-q", "--quiet")
    sub.add_argument("--format", choices=("table", "json"), default="table")
    command("top", "ps:top", "Show running processes")
    sub = command("port", "ps:port", "Print a published port", "")
    sub.add_argument("service")
    sub.add_argument("port")
    sub.add_argument("--protocol", default="tcp")
    sub.add_argument("--index", type=int, default=1)
    sub = command("ls", "projects:ls", "List projects", "")
    flag = _flags(sub)
    flag("-a", "--all")
    flag("-q", "--quiet")
    sub.add_argument("--format", choices=("table", "json"), default="table")
    sub = command("version", "projects:version", "Print the version", "")
    _flags(sub)("--short")


def _living(command: _Sub) -> None:
    command("start", "lifecycle:start", "Start what is stopped")
    _timeout(command("stop", "lifecycle:stop", "Stop without removing"))
    sub = command("restart", "lifecycle:restart", "Stop and start")
    _timeout(sub)
    _flags(sub)("--no-deps")
    sub = command("rm", "lifecycle:remove", "Remove stopped containers")
    flag = _flags(sub)
    flag("-f", "--force")
    flag("-s", "--stop")
    flag("-v", "--volumes")
    sub = command("kill", "lifecycle:kill", "Send a signal")
    sub.add_argument("-s", "--signal", default="SIGKILL")
    command("pause", "lifecycle:pause", "Freeze")
    command("unpause", "lifecycle:unpause", "Thaw")


def _running(command: _Sub) -> None:
    sub = command("exec", "run:exec_", "Run a command in a running container", "")
    flag = _flags(sub)
    flag("-d", "--detach")
    flag("-T", "--no-TTY")
    flag("--privileged")
    sub.add_argument("-e", "--env", action="append", default=[])
    sub.add_argument("-u", "--user", default="")
    sub.add_argument("-w", "--workdir", default="")
    sub.add_argument("--index", type=int, default=0)
    sub.add_argument("service")
    sub.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND ...")
    sub = command("run", "run:run", "Run a one-off container", "")
    flag = _flags(sub)
    flag("--rm")
    flag("-d", "--detach")
    flag("-T", "--no-TTY")
    flag("--no-deps")
    flag("-P", "--service-ports")
    flag("--build")
    sub.add_argument("-e", "--env", action="append", default=[])
    sub.add_argument("-v", "--volume", action="append", default=[])
    sub.add_argument("-l", "--label", action="append", default=[])
    sub.add_argument("-p", "--publish", action="append", default=[])
    sub.add_argument("-u", "--user", default="")
    sub.add_argument("-w", "--workdir", default="")
    sub.add_argument("--entrypoint")
    sub.add_argument("--name", default="")
    sub.add_argument("service")
    sub.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND ...")


def _flags(sub: argparse.ArgumentParser) -> Callable[..., object]:
    return lambda *names: sub.add_argument(*names, action="store_true")


def _timeout(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("-t", "--timeout", type=int, metavar="SECONDS")
