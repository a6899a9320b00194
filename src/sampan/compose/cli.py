"""``sampan compose``: the command line. Each command's code is imported when it is used."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from sampan import flags
from sampan.compose.errors import StepFailed, UsageError
from sampan.errors import SampanError
from sampan.flags import BOOL, LIST, TEXT, Args, Command, Flag

if TYPE_CHECKING:
    from sampan.client import Client

_FILES: dict[str, tuple[str, ...]] = {
    "up": ("up", "create"),
    "down": ("down",),
    "images": ("build", "pull", "images"),
    "ps": ("ps", "top", "port"),
    "logs": ("logs",),
    "config": ("config",),
    "projects": ("ls", "version"),
    "lifecycle": ("start", "stop", "restart", "rm", "kill", "pause", "unpause"),
    "run": ("exec", "run"),
}
MODULES = {command: file for file, commands in _FILES.items() for command in commands}
"""Command -> module under ``sampan.compose.commands``."""

ALIASES = {"convert": "config", "list": "ls"}
GLOBAL = (
    Flag("file", "f", LIST, "Compose configuration files; - reads the standard input"),
    Flag("project-name", "p", TEXT, "Project name"),
    Flag("project-directory", "", TEXT, "Where relative paths start (default: the first file's)"),
    Flag("env-file", "", LIST, "Environment files to read instead of .env"),
    Flag("profile", "", LIST, "Profile to enable"),
    Flag("dry-run", "", BOOL, "Print the plan and do nothing"),
    Flag("ansi", "", TEXT, 'Colours and moving output ("never", "always", "auto")'),
    Flag("compatibility", "", BOOL, "Has no effect: names are joined by dashes here"),
    Flag("verbose", "", BOOL, "Has no effect: -D of sampan shows where a failure comes from"),
    Flag("progress", "", TEXT, 'How progress is shown ("auto", "tty", "plain", "quiet")'),
)
_ANYWHERE = tuple(flag for flag in GLOBAL if flag.name == "dry-run")
"""Flags that may also stand behind the command."""


def main(argv: list[str], client_factory: Callable[[], Client]) -> int:
    """Run one command; answers the exit code. ``client_factory`` is called only when needed."""
    try:
        return _run(argv, client_factory, os.environ)
    except flags.UsageError as error:
        where = f"sampan {error.command or 'compose'}"
        print(f"{error}\n\nRun '{where} --help' for more information", file=sys.stderr)
        return 14
    except StepFailed as error:
        if str(error):
            print(error, file=sys.stderr)
        return 1
    except SampanError as error:
        print(error, file=sys.stderr)
        return 14 if isinstance(error, UsageError) else 15
    except BrokenPipeError:
        # The reader is gone; writing more at exit would only complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _run(argv: list[str], client_factory: Callable[[], Client], environ: Mapping[str, str]) -> int:
    top = Args(Command("compose", "[OPTIONS] COMMAND", "", _no_command, GLOBAL))
    wants_help = not flags.parse_into(top, GLOBAL, argv, mixed=False)
    if wants_help or not top.rest or top.rest == ["help"]:
        print(_overview())
        return 0
    name, *rest = top.rest
    if name == "help":
        name, rest = rest[0], ["--help"]
    name = ALIASES.get(name, name)
    if name not in MODULES:
        raise flags.UsageError(f"unknown compose command: {name}{_near(name)}", "compose")
    command = load(name)
    args = command.parse(rest)
    if args is None:
        print(command.help())
        return 0
    from sampan.compose.commands.app import App

    code: int = command.run(App(top, args, client_factory, environ), args)
    return code


def load(name: str) -> Command:
    """Import the one file that knows a command."""
    from importlib import import_module

    module = import_module(f"sampan.compose.commands.{MODULES[name]}")
    found: Command = module.COMMANDS[name]
    found.flags = (*found.flags, *(flag for flag in _ANYWHERE if flag not in found.flags))
    return found


def _no_command(_app: object, _args: Args) -> int:
    return 1


def _near(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, MODULES, 1, 0.5)
    return f": did you mean {near[0]}?" if near else ""


def _overview() -> str:
    summary = "Define and run applications of many containers"
    page = Command("compose", "[OPTIONS] COMMAND", summary, _no_command, GLOBAL).help()
    lines = [f"  {name:<10}{load(name).summary}" for name in sorted(MODULES)]
    more = "Run 'sampan compose COMMAND --help' for more about a command."
    return "\n".join([page, "", "Commands:", *lines, "", more])
