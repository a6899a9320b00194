"""Logical lines become instructions, instructions become stages."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

from sampan.build.contract import DockerfileError
from sampan.build.dockerfile import forms
from sampan.build.dockerfile.forms import Flags, Malformed
from sampan.build.dockerfile.instructions import (
    Arg,
    Cmd,
    Command,
    Copy,
    Dockerfile,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    Stage,
    Stopsignal,
    User,
    Volume,
    Workdir,
)
from sampan.build.dockerfile.source import Line, read


def parse(text: str, name: str = "Dockerfile") -> Dockerfile:
    """The whole file.

    Raises:
        DockerfileError: says the file, the line and what to write instead.
    """
    source = read(text, name)
    if not source.lines:
        raise DockerfileError(f"{name}: file with no instructions: begin with FROM <image>")
    args: list[Arg] = []
    stages: list[Stage] = []
    for line in source.lines:
        step = instruction(line, source.escape, name)
        if isinstance(step, From):
            stages.append(Stage(step))
        elif stages:
            stages[-1] = Stage(stages[-1].base, (*stages[-1].steps, step))
        elif isinstance(step, Arg):
            args.append(step)
        else:
            raise DockerfileError(
                f"{name}:{line.number}: no build stage in current context: only ARG may come "
                "before the first FROM"
            )
    if not stages:
        raise DockerfileError(f"{name}: no build stage in current context: add FROM <image>")
    return Dockerfile(name, source.escape, tuple(args), tuple(stages))


def instruction(line: Line, escape: str, name: str) -> Instruction:
    """One instruction.

    Raises:
        DockerfileError
    """
    keyword = line.text.split(None, 1)[0]
    rest = line.text[len(keyword) :].strip()
    make = _INSTRUCTIONS.get(keyword.upper())
    if make is None:
        near = difflib.get_close_matches(keyword.upper(), _INSTRUCTIONS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise DockerfileError(f"{name}:{line.number}: unknown instruction: {keyword}{hint}")
    flags, rest = forms.flags(rest)
    try:
        step = make(line, rest, flags, escape)
        flags.done(keyword.upper())
    except Malformed as wrong:
        raise DockerfileError(f"{name}:{line.number}: {wrong}") from None
    return step


def onbuild_steps(triggers: Iterable[str], escape: str, name: str) -> tuple[Instruction, ...]:
    """A base image's triggers, as instructions of the stage that builds on it."""
    steps: list[Instruction] = []
    for trigger in triggers:
        for line in read(trigger, f"{name} (ONBUILD)").lines:
            step = instruction(line, escape, f"{name} (ONBUILD)")
            if isinstance(step, From | Onbuild | Maintainer):
                raise DockerfileError(f"{name}: {line.text!r} is not allowed as an ONBUILD trigger")
            steps.append(step)
    return tuple(steps)


def _from(line: Line, rest: str, flags: Flags, escape: str) -> From:
    words = rest.split()
    platform = flags.take("platform")
    if len(words) == 3 and words[1].upper() == "AS":
        if not forms.STAGE_NAME.fullmatch(words[2].lower()):
            raise Malformed(
                f"invalid name for build stage: {words[2]!r}: a letter, then letters, digits, "
                "'_', '-', '.'"
            )
        return From(
            line=line.number,
            text=line.text,
            image=words[0],
            alias=words[2].lower(),
            platform=platform,
        )
    if len(words) != 1:
        raise Malformed("FROM requires either one or three arguments: FROM <image> [AS <name>]")
    return From(line=line.number, text=line.text, image=words[0], platform=platform)


def _run(line: Line, rest: str, flags: Flags, escape: str) -> Run:
    network = flags.take("network", "default")
    if network not in ("default", "none", "host"):
        raise Malformed(f"unsupported network mode {network!r}: use default, none or host")
    if flags.take("security", "sandbox") != "sandbox":
        raise Malformed("RUN --security is not supported: build steps are never privileged")
    mounts = flags.take_all("mount")
    command, script = forms.command(rest), None
    if not any(command.args):
        raise Malformed("RUN requires at least one argument")
    if line.heredocs and command.shell:
        only = line.heredocs[0]
        if len(line.heredocs) == 1 and rest.startswith("<<") and len(rest.split()) == 1:
            command, script = Command((only.content,), shell=True), only
        else:
            whole = "\n".join((rest, *(doc.raw for doc in line.heredocs)))
            command = Command((whole,), shell=True)
    return Run(
        line=line.number,
        text=line.text,
        command=command,
        network=network,
        mounts=mounts,
        script=script,
    )


def _copy(line: Line, rest: str, flags: Flags, escape: str) -> Copy:
    return _copy_or_add(line, rest, flags, add=False)


def _add(line: Line, rest: str, flags: Flags, escape: str) -> Copy:
    return _copy_or_add(line, rest, flags, add=True)


def _copy_or_add(line: Line, rest: str, flags: Flags, *, add: bool) -> Copy:
    words = forms.strings_or_words(rest)
    if len(words) < 2:
        keyword = "ADD" if add else "COPY"
        raise Malformed(f"{keyword} requires at least two arguments: sources, then the destination")
    names = {doc.name for doc in line.heredocs}
    sources = [w for w in words[:-1] if not (names and forms.heredoc_name(w) in names)]
    flags.take_bool("link")  # how layers are shared, not what is in them
    return Copy(
        line=line.number,
        text=line.text,
        sources=tuple(sources),
        dest=words[-1],
        from_="" if add else flags.take("from"),
        chown=flags.take("chown"),
        chmod=flags.take("chmod"),
        heredocs=line.heredocs,
        add=add,
        checksum=flags.take("checksum") if add else "",
    )


def _env(line: Line, rest: str, flags: Flags, escape: str) -> Env:
    return Env(line=line.number, text=line.text, pairs=forms.pairs(rest, escape, "ENV"))


def _label(line: Line, rest: str, flags: Flags, escape: str) -> Label:
    return Label(line=line.number, text=line.text, pairs=forms.pairs(rest, escape, "LABEL"))


def _arg(line: Line, rest: str, flags: Flags, escape: str) -> Arg:
    words = forms.quoted_words(rest, escape)
    if not words:
        raise Malformed("ARG requires at least one argument")
    pairs: list[tuple[str, str | None]] = []
    for word in words:
        key, equals, value = word.partition("=")
        if not key:
            raise Malformed(f"ARG names can not be blank: {word!r}")
        pairs.append((key, value if equals else None))
    return Arg(line=line.number, text=line.text, pairs=tuple(pairs))


def _one(keyword: str, rest: str) -> str:
    if not rest:
        raise Malformed(f"{keyword} requires exactly one argument")
    return rest


def _workdir(line: Line, rest: str, flags: Flags, escape: str) -> Workdir:
    return Workdir(line=line.number, text=line.text, path=_one("WORKDIR", rest))


def _user(line: Line, rest: str, flags: Flags, escape: str) -> User:
    return User(line=line.number, text=line.text, user=_one("USER", rest))


def _stopsignal(line: Line, rest: str, flags: Flags, escape: str) -> Stopsignal:
    return Stopsignal(line=line.number, text=line.text, signal=_one("STOPSIGNAL", rest))


def _maintainer(line: Line, rest: str, flags: Flags, escape: str) -> Maintainer:
    return Maintainer(line=line.number, text=line.text, name=_one("MAINTAINER", rest))


def _expose(line: Line, rest: str, flags: Flags, escape: str) -> Expose:
    words = tuple(rest.split())
    if not words:
        raise Malformed("EXPOSE requires at least one argument")
    return Expose(line=line.number, text=line.text, ports=words)


def _volume(line: Line, rest: str, flags: Flags, escape: str) -> Volume:
    words = forms.strings_or_words(rest)
    if not words or not all(words):
        raise Malformed("VOLUME requires at least one argument, none of them an empty string")
    return Volume(line=line.number, text=line.text, paths=words)


def _cmd(line: Line, rest: str, flags: Flags, escape: str) -> Cmd:
    return Cmd(line=line.number, text=line.text, command=forms.command(rest))


def _entrypoint(line: Line, rest: str, flags: Flags, escape: str) -> Entrypoint:
    return Entrypoint(line=line.number, text=line.text, command=forms.command(rest))


def _shell(line: Line, rest: str, flags: Flags, escape: str) -> Shell:
    command = forms.command(rest)
    if command.shell or not command.args:
        raise Malformed('SHELL requires the arguments to be in JSON form: SHELL ["/bin/sh", "-c"]')
    return Shell(line=line.number, text=line.text, args=command.args)


def _onbuild(line: Line, rest: str, flags: Flags, escape: str) -> Onbuild:
    trigger = rest.split(None, 1)[0].upper() if rest else ""
    if trigger in ("ONBUILD", "FROM", "MAINTAINER", ""):
        raise Malformed(
            "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"
            if trigger == "ONBUILD"
            else f"{trigger or 'nothing'} isn't allowed as an ONBUILD trigger"
        )
    if trigger not in _INSTRUCTIONS:
        raise Malformed(f"unknown instruction in ONBUILD: {rest.split()[0]}")
    whole = line.text.split(None, 1)[1]
    bodies = [doc.raw for doc in line.heredocs]
    return Onbuild(line=line.number, text=line.text, trigger="\n".join((whole, *bodies)))


def _healthcheck(line: Line, rest: str, flags: Flags, escape: str) -> Healthcheck:
    kind, _, tail = rest.partition(" ")
    if kind.upper() == "NONE":
        if tail.strip():
            raise Malformed("HEALTHCHECK NONE takes no arguments")
        return Healthcheck(line=line.number, text=line.text, none=True)
    if kind.upper() != "CMD":
        raise Malformed(f"unknown type {kind!r} in HEALTHCHECK: use CMD or NONE")
    command = forms.command(tail.strip())
    if not any(command.args):
        raise Malformed("missing command after HEALTHCHECK CMD")
    retries = flags.take("retries", "0")
    if not retries.isdecimal():
        raise Malformed(f"--retries must be a number of at least 1, not {retries!r}")
    return Healthcheck(
        line=line.number,
        text=line.text,
        command=command,
        interval_ns=forms.duration_ns(flags.take("interval"), "--interval"),
        timeout_ns=forms.duration_ns(flags.take("timeout"), "--timeout"),
        start_period_ns=forms.duration_ns(flags.take("start-period"), "--start-period"),
        start_interval_ns=forms.duration_ns(flags.take("start-interval"), "--start-interval"),
        retries=int(retries),
    )


_INSTRUCTIONS: dict[str, Callable[[Line, str, Flags, str], Instruction]] = {
    "FROM": _from,
    "RUN": _run,
    "COPY": _copy,
    "ADD": _add,
    "ENV": _env,
    "ARG": _arg,
    "LABEL": _label,
    "WORKDIR": _workdir,
    "USER": _user,
    "EXPOSE": _expose,
    "VOLUME": _volume,
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "HEALTHCHECK": _healthcheck,
}
