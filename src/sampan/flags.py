"""Flags and arguments as docker's users type them.

Not argparse: that costs 6 ms to import, cannot say ``--rm=false``, and would take the flags behind
an image's name for ours. The rules are those of Go's pflag: ``-it``, ``-p80:80``, ``-m=1g``,
``--name x``, ``--name=x``, ``--`` ends the flags.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

BOOL = "bool"
TEXT = "string"
LIST = "list"
INT = "int"


class UsageError(Exception):
    """The command line cannot be understood; ``command`` is where ``--help`` would help."""

    def __init__(self, message: str, command: str = "") -> None:
        super().__init__(message)
        self.command = command


class Flag:
    """One flag. ``kind`` is BOOL, TEXT, INT (the last one counts) or LIST (all count)."""

    __slots__ = ("help", "kind", "name", "short")

    def __init__(self, name: str, short: str, kind: str, help: str) -> None:
        self.name = name
        self.short = short
        self.kind = kind
        self.help = help


class Args:
    """What was given. ``rest`` are the arguments that are no flags."""

    __slots__ = ("_values", "command", "rest")

    def __init__(self, command: Command) -> None:
        self.command = command
        self.rest: list[str] = []
        self._values: dict[str, str | bool | int | list[str]] = {}

    def given(self, name: str) -> bool:
        """Whether the flag was on the line."""
        return name in self._values

    def on(self, name: str, default: bool = False) -> bool:
        """A BOOL flag."""
        return bool(self._values.get(name, default))

    def text(self, name: str, default: str = "") -> str:
        """A TEXT flag."""
        return str(self._values.get(name, default))

    def maybe(self, name: str) -> str | None:
        """A TEXT flag, None when it was not given."""
        return self.text(name) if name in self._values else None

    def number(self, name: str) -> int | None:
        """An INT flag, None when it was not given."""
        value = self._values.get(name)
        return value if isinstance(value, int) else None

    def many(self, name: str) -> list[str]:
        """Every value of a LIST flag, in order."""
        value = self._values.get(name)
        return value if isinstance(value, list) else []

    def put(self, flag: Flag, text: str | None) -> None:
        """Take a flag's value; ``text`` is None when a BOOL stands alone. Raises UsageError."""
        if flag.kind == BOOL:
            self._values[flag.name] = self._boolean(flag, text)
        elif flag.kind == LIST:
            self.many(flag.name).append(text or "") if flag.name in self._values else (
                self._values.__setitem__(flag.name, [text or ""])
            )
        elif flag.kind == INT:
            try:
                self._values[flag.name] = int(text or "")
            except ValueError:
                raise self._invalid(flag, text) from None
        else:
            self._values[flag.name] = text or ""

    def _boolean(self, flag: Flag, text: str | None) -> bool:
        if text is None or text.lower() in ("1", "t", "true"):
            return True
        if text.lower() in ("0", "f", "false"):
            return False
        raise self._invalid(flag, text)

    def _invalid(self, flag: Flag, text: str | None) -> UsageError:
        message = f'invalid argument "{text}" for "--{flag.name}" flag: it takes a {flag.kind}'
        return UsageError(message, self.command.path)


class Command:
    """A command: how it is called, and the function that does it.

    ``run`` gets the command's surroundings (what they are is up to who dispatches) and arguments.

    ``least`` and ``most`` bound the arguments (``most`` None: any number). With ``mixed`` False the
    first argument ends the flags: what follows belongs to the container.
    """

    __slots__ = ("flags", "least", "mixed", "most", "path", "run", "summary", "usage")

    def __init__(
        self,
        path: str,
        usage: str,
        summary: str,
        run: Callable[[Any, Args], int],
        flags: Sequence[Flag] = (),
        least: int = 0,
        most: int | None = 0,
        mixed: bool = True,
    ) -> None:
        self.path = path
        self.usage = usage
        self.summary = summary
        self.run = run
        self.flags = flags
        self.least = least
        self.most = most
        self.mixed = mixed

    def help(self) -> str:
        """The text of ``--help``."""
        lines = [f"Usage:  sampan {self.path} {self.usage}".rstrip(), "", self.summary]
        if self.flags:
            lines += ["", "Options:"]
            left = [_left(flag) for flag in self.flags]
            width = max(map(len, left)) + 3
            lines += [
                f"{head:{width}}{flag.help}" for head, flag in zip(left, self.flags, strict=True)
            ]
        return "\n".join(lines)

    def parse(self, argv: Sequence[str]) -> Args | None:
        """The arguments; None when help was asked for. Raises UsageError."""
        args = Args(self)
        if not parse_into(args, self.flags, argv, self.mixed):
            return None
        found = len(args.rest)
        if found < self.least or (self.most is not None and found > self.most):
            raise UsageError(self._count_message(), self.path)
        return args

    def _count_message(self) -> str:
        name = f"sampan {self.path}"
        if self.most == 0:
            return f'"{name}" accepts no arguments'
        kind = "exactly" if self.least == self.most else "at least"
        count = self.least
        if self.most is not None and self.least != self.most:
            return f'"{name}" requires from {self.least} to {self.most} arguments'
        return f'"{name}" requires {kind} {count} argument{"s" if count != 1 else ""}'


def _left(flag: Flag) -> str:
    short = f"-{flag.short}, " if flag.short else "    "
    return f"  {short}--{flag.name}" + ("" if flag.kind == BOOL else f" {flag.kind}")


def parse_into(args: Args, flags: Sequence[Flag], argv: Sequence[str], mixed: bool) -> bool:
    """Fill ``args``; False when ``--help`` was met. Raises UsageError."""
    longs = {flag.name: flag for flag in flags}
    shorts = {flag.short: flag for flag in flags if flag.short}
    words = iter(argv)
    for word in words:
        if word == "--":
            args.rest += words
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if name not in longs:
                if name == "help":
                    return False
                raise _unknown(f"unknown flag: --{name}", name, longs, args.command.path)
            flag = longs[name]
            text = value if equals else None
            if text is None and flag.kind != BOOL:
                text = _next(words, f"flag needs an argument: --{name}", args)
            args.put(flag, text)
        elif word.startswith("-") and len(word) > 1:
            if not _shorts(args, shorts, word, words):
                return False
        elif mixed:
            args.rest.append(word)
        else:
            args.rest += [word, *words]
    return True


def _shorts(args: Args, shorts: dict[str, Flag], word: str, words: object) -> bool:
    cluster = word[1:]
    for position, letter in enumerate(cluster):
        if letter not in shorts:
            if letter == "h":
                return False
            raise UsageError(f"unknown shorthand flag: {letter!r} in {word}", args.command.path)
        flag, behind = shorts[letter], cluster[position + 1 :]
        if behind.startswith("="):
            args.put(flag, behind[1:])
            return True
        if flag.kind == BOOL:
            args.put(flag, None)
            continue
        text = behind or _next(words, f"flag needs an argument: {letter!r} in {word}", args)
        args.put(flag, text)
        return True
    return True


def _next(words: object, message: str, args: Args) -> str:
    text: str | None = next(words, None)  # type: ignore[call-overload]
    if text is None:
        raise UsageError(message, args.command.path)
    return text


def _unknown(message: str, name: str, longs: dict[str, Flag], path: str) -> UsageError:
    from difflib import get_close_matches

    near = get_close_matches(name, longs, 1)
    return UsageError(f"{message}: did you mean --{near[0]}?" if near else message, path)
