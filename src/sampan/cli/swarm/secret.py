"""``sampan secret`` and ``sampan config``, which differ in little."""

from __future__ import annotations

import time

from sampan.cli.flag_values import key_values
from sampan.cli.terminal.console import CliError, Console, parse_filters
from sampan.cli.terminal.table import show_rows
from sampan.cli.units import ago, parse_time
from sampan.client import stored
from sampan.flags import BOOL, LIST, TEXT, Args, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_HEADERS = {
    "ID": "ID", "Name": "NAME", "Driver": "DRIVER", "CreatedAt": "CREATED",
    "UpdatedAt": "UPDATED", "Labels": "LABELS",
}  # fmt: skip
_LARGEST = {"secrets": 500 * 1024, "configs": 1000 * 1024}


def _create(kind: str) -> Callable[[Console, Args], int]:
    def run(console: Console, args: Args) -> int:
        name, *source = args.rest
        spec: dict[str, Any] = {"Name": name, "Labels": key_values(args.many("label"))}
        if args.given("driver"):
            if source:
                raise CliError("When using secret driver secret data must be empty")
            spec["Driver"] = {"Name": args.text("driver")}
        elif source:
            from base64 import b64encode

            spec["Data"] = b64encode(_content(source[0], kind)).decode()
        else:
            raise CliError(f"{kind[:-1]} create needs a file, or - to read from stdin")
        if args.given("template-driver"):
            spec["Templating"] = {"Name": args.text("template-driver")}
        console.out(stored.create(console.client, kind, spec))
        return 0

    return run


def _content(path: str, kind: str) -> bytes:
    import sys

    if path == "-":
        data = sys.stdin.buffer.read()
    else:
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            raise CliError(
                f"error reading content from {path!r}: open {path}: {error.strerror}"
            ) from None
    if not data:
        raise CliError(f"error reading from {path}: data is empty")
    if len(data) > _LARGEST[kind]:
        raise CliError(
            f"{kind[:-1]} data too big: {len(data)} bytes, at most {_LARGEST[kind]} are taken"
        )
    return data


def _ls(kind: str) -> Callable[[Console, Args], int]:
    columns = ("ID", "Name", "Driver", "CreatedAt", "UpdatedAt")
    if kind == "configs":
        columns = tuple(name for name in columns if name != "Driver")  # type: ignore[assignment]

    def run(console: Console, args: Args) -> int:
        found = stored.list_(console.client, kind, parse_filters(args.many("filter")))
        found.sort(key=lambda item: str(item["Spec"]["Name"]))
        form = args.text("format")
        if args.on("quiet") and not form:
            for item in found:
                console.out(item["ID"])
            return 0
        now = time.time()
        rows = [_row(item, now) for item in found]
        if kind == "configs":
            for row in rows:
                del row["Driver"]
        show_rows(console, rows, _HEADERS, columns, form)
        return 0

    return run


def _row(item: Mapping[str, Any], now: float) -> dict[str, Any]:
    spec = item["Spec"]
    labels: dict[str, str] = spec.get("Labels") or {}
    return {
        "ID": item["ID"],
        "Name": spec["Name"],
        "Driver": (spec.get("Driver") or {}).get("Name", ""),
        "CreatedAt": ago(now - parse_time(item.get("CreatedAt", ""))),
        "UpdatedAt": ago(now - parse_time(item.get("UpdatedAt", ""))),
        "Labels": ",".join(f"{name}={value}" for name, value in sorted(labels.items())),
        "Label": lambda name: labels.get(name, ""),
    }


def _rm(kind: str) -> Callable[[Console, Args], int]:
    return lambda console, args: console.each(
        args.rest, lambda ref: stored.remove(console.client, kind, ref)
    )


def _commands(kind: str) -> dict[str, Command]:
    word = kind[:-1]
    ref = word.upper()
    create_flags = (
        Flag("driver", "d", TEXT, "Secret driver"),
        Flag("label", "l", LIST, f"{word.title()} labels"),
        Flag("template-driver", "", TEXT, "Template driver"),
    )
    usage = f"[OPTIONS] {ref} [file|-]"
    if kind == "configs":
        create_flags, usage = create_flags[1:], f"[OPTIONS] {ref} file|-"  # type: ignore[assignment]
    ls_flags = (
        Flag("filter", "f", LIST, "Filter output based on conditions provided"),
        Flag("format", "", TEXT, "'table', 'table TEMPLATE', 'json' or a Go template"),
        Flag("quiet", "q", BOOL, "Only display IDs"),
    )
    least = 1 if kind == "secrets" else 2
    made = f"Create a {word} from a file or STDIN" + (" as content" if least == 1 else "")
    all_of = (
        Command(f"{word} create", usage, made, _create(kind), create_flags, least, 2),
        Command(f"{word} ls", "[OPTIONS]", f"List {kind}", _ls(kind), ls_flags),
        Command(f"{word} rm", f"{ref} [{ref}...]", f"Remove one or more {kind}", _rm(kind), (),
                1, None),
    )  # fmt: skip
    return {command.path: command for command in all_of}


COMMANDS = {**_commands("secrets"), **_commands("configs")}
