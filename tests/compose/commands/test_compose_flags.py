"""Compose's command line: every flag of every command parses, in every form, and is used."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

from sampan import flags
from sampan.compose import cli
from sampan.compose.commands import app as app_module
from sampan.flags import BOOL, INT, LIST, Args, Command, Flag

COMMANDS = {name: cli.load(name) for name in cli.MODULES}
EVERY = [
    pytest.param(name, flag, id=f"{name} --{flag.name}")
    for name, command in COMMANDS.items()
    for flag in command.flags
]
_READERS = {"on", "text", "maybe", "number", "many", "given", "one_of", "_known"}
_NEEDS_NOTHING = {"yes"}
"""No command asks a question that ``--yes`` would answer."""


def rest_of(command: Command) -> list[str]:
    return ["word"] * command.least


def parsed(name: str, *words: str) -> Args:
    command = COMMANDS[name]
    args = command.parse([*words, *rest_of(command)])
    assert args is not None
    assert args.rest == rest_of(command)
    return args


@pytest.mark.parametrize(("name", "flag"), EVERY)
def test_every_flag_parses_in_every_form(name: str, flag: Flag) -> None:
    if flag.kind == BOOL:
        assert parsed(name, f"--{flag.name}").on(flag.name)
        assert not parsed(name, f"--{flag.name}=false").on(flag.name, default=True)
        forms = [f"-{flag.short}"] if flag.short else []
        assert all(parsed(name, form).on(flag.name) for form in forms)
        return
    value = "7" if flag.kind == INT else "seven"
    forms = [f"--{flag.name}={value}", f"--{flag.name} {value}"]
    forms += [f"-{flag.short}{value}", f"-{flag.short} {value}"] if flag.short else []
    for form in forms:
        args = parsed(name, *form.split())
        if flag.kind == LIST:
            assert args.many(flag.name) == [value]
        elif flag.kind == INT:
            assert args.number(flag.name) == 7
        else:
            assert args.text(flag.name) == value
    with pytest.raises(flags.UsageError, match="flag needs an argument"):
        COMMANDS[name].parse([f"--{flag.name}"])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    text = COMMANDS[name].help()
    assert text.startswith(f"Usage:  sampan compose {name} ")
    assert all(f"--{flag.name}" in text for flag in COMMANDS[name].flags)
    assert all(flag.help for flag in COMMANDS[name].flags)
    shorts = [flag.short for flag in COMMANDS[name].flags if flag.short]
    assert len(shorts) == len(set(shorts))


def read_by(module: object) -> set[str]:
    """Names of flags that the code of a module asks for."""
    found: set[str] = set()
    path = getattr(module, "__file__", None)
    assert isinstance(path, str)
    for node in ast.walk(ast.parse(Path(path).read_text())):
        if not isinstance(node, ast.Call):
            continue
        words = [a.value for a in node.args if isinstance(a, ast.Constant)]
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        called = node.func.id if isinstance(node.func, ast.Name) else called
        if words and called in _READERS:
            found.add(str(words[0]))
    return found


@pytest.mark.parametrize("module", sorted(set(cli.MODULES.values())))
def test_no_flag_is_accepted_and_dropped(module: str) -> None:
    code = read_by(import_module(f"sampan.compose.commands.{module}"))
    shared = read_by(app_module)
    declared = {
        flag.name
        for name, file in cli.MODULES.items()
        if file == module
        for flag in COMMANDS[name].flags
    }
    assert declared - code - shared <= _NEEDS_NOTHING
    assert code <= declared, "a flag is asked for that no command of the file has"


def test_compose_s_own_flags_are_all_used() -> None:
    named = {"compatibility", "verbose"}  # by name, in one warning
    assert {flag.name for flag in cli.GLOBAL} - read_by(app_module) == named


def test_flags_mean_the_same_as_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert not parsed("up", "--detach=false").on("detach")
    assert parsed("exec", "-it").on("interactive")
    assert parsed("down", "-vt5").number("timeout") == 5
    with pytest.raises(flags.UsageError, match=r"unknown flag: --detachh: did you mean --detach\?"):
        COMMANDS["up"].parse(["--detachh"])
    with pytest.raises(flags.UsageError, match="unknown flag: --det"):
        COMMANDS["up"].parse(["--det"])
    run = COMMANDS["run"].parse(["--rm", "web", "ls", "--rm", "-l"])
    assert run is not None
    assert run.rest == ["web", "ls", "--rm", "-l"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["upp"], "unknown compose command: upp: did you mean up?"),
        (["--nope"], "unknown flag: --nope"),
        (["port", "web"], '"sampan compose port" requires exactly 2 arguments'),
        (["ps", "--filter", "name=x"], "--filter takes status=STATUS"),
        (["ps", "--status", "asleep"], '"asleep" is not a status'),
        (["--ansi", "pink", "ps"], "--ansi takes one of auto, never, always"),
    ],
)
def test_mistakes_end_with_14_and_a_sentence(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def nobody() -> object:
        raise AssertionError("no engine is asked")

    assert cli.main(argv, nobody) == 14  # type: ignore[arg-type]
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("argv", [[], ["--help"], ["help"], ["up", "--help"], ["help", "up"]])
def test_help_needs_no_file_and_no_engine(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv, lambda: None) == 0  # type: ignore[arg-type, return-value]
    assert "Usage:  sampan compose" in capsys.readouterr().out
