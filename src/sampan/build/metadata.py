"""Steps that only change the config: ``ENV``, ``LABEL``, ``CMD`` ... Pure, microseconds each."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sampan.build.contract import DockerfileError
from sampan.build.dockerfile import BadSubstitution, Instruction, expand
from sampan.build.dockerfile.instructions import (
    Arg,
    Cmd,
    Command,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Shell,
    Stopsignal,
    User,
    Volume,
)
from sampan.build.state import StageState, digest, with_env, with_history
from sampan.image.contract import ImageConfig

_PORT = re.compile(r"(\d+)(?:-(\d+))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_SIGNAL = re.compile(r"(?:SIG)?[A-Z][A-Z0-9+-]*|\d+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Scope:
    """What is the same for every step of a stage."""

    name: str
    """The Dockerfile's."""
    escape: str
    build_args: Mapping[str, str | None]
    global_args: Mapping[str, str]

    def wrong(self, step: Instruction, message: object) -> DockerfileError:
        return DockerfileError(f"{self.name}:{step.line}: {message}")

    def expand(self, step: Instruction, word: str, state: StageState) -> str:
        """Raises DockerfileError."""
        if "$" not in word and "'" not in word and '"' not in word and self.escape not in word:
            return word
        try:
            return expand(word, state.variables, escape=self.escape)
        except BadSubstitution as wrong:
            raise self.wrong(step, wrong) from None


def apply(state: StageState, step: Instruction, scope: Scope, now: float) -> StageState:
    """The state after a metadata step.

    Raises:
        DockerfileError
    """
    config, words = state.config, [""]
    args, late_args, cmd_set = state.args, state.late_args, state.cmd_set
    match step:
        case Arg():
            args, words = _args(state, step, scope)
            late_args |= {name for name, _ in step.pairs if name in args and name in state.env}
        case Env():
            pairs = _pairs(step.pairs, step, state, scope)
            config = replace(config, env=with_env(config.env, pairs))
            late_args -= {name for name, _ in pairs}
            words = [f"{name}={value}" for name, value in pairs]
        case Label():
            pairs = _pairs(step.pairs, step, state, scope)
            config = replace(config, labels={**config.labels, **dict(pairs)})
            words = [f"{name}={value}" for name, value in pairs]
        case Maintainer():
            config = replace(config, author=step.name)
            words = [step.name]
        case User():
            words = [scope.expand(step, step.user, state)]
            config = replace(config, user=words[0])
        case Expose():
            words = [p for port in step.ports for p in scope.expand(step, port, state).split()]
            found = [port for word in words for port in _ports(word, step, scope)]
            config = replace(
                config, exposed_ports=tuple(dict.fromkeys((*config.exposed_ports, *found)))
            )
        case Volume():
            words = [scope.expand(step, path, state) for path in step.paths]
            config = replace(config, volumes=tuple(dict.fromkeys((*config.volumes, *words))))
        case Cmd():
            config = replace(config, cmd=_command(step.command, state))
            cmd_set, words = True, [json.dumps(list(config.cmd or ()))]
        case Entrypoint():
            entrypoint = _command(step.command, state) or None
            # A CMD that came with the base image was meant for the base image's entrypoint.
            cmd = config.cmd if state.cmd_set else None
            config = replace(config, entrypoint=entrypoint, cmd=cmd)
            words = [json.dumps(list(entrypoint or ()))]
        case Shell():
            config = replace(config, shell=step.args)
            words = [json.dumps(list(step.args))]
        case Stopsignal():
            words = [scope.expand(step, step.signal, state)]
            if not _SIGNAL.fullmatch(words[0]):
                raise scope.wrong(step, f"invalid signal: {words[0]}: name one, as SIGTERM")
            config = replace(config, stop_signal=words[0])
        case Onbuild():
            config = replace(config, on_build=(*(config.on_build or ()), step.trigger))
            words = [step.trigger]
        case Healthcheck():
            config = replace(config, healthcheck=_healthcheck(step, config))
            words = [json.dumps(config.healthcheck)]
        case _:
            raise AssertionError(f"not a metadata step: {step}")
    text = f"{type(step).__name__.upper()} {' '.join(words)}"
    return replace(
        state,
        config=with_history(config, created=now, created_by=f"/bin/sh -c #(nop)  {text}"),
        key=digest(state.key, text),
        args=args,
        late_args=late_args,
        cmd_set=cmd_set,
        fresh=True,
    )


def workdir(state: StageState, path: str) -> str:
    """Absolute and clean: relative paths add to the one before."""
    return posixpath.normpath(posixpath.join("/", state.config.working_dir, path))


def _args(state: StageState, step: Arg, scope: Scope) -> tuple[dict[str, str], list[str]]:
    args, words = dict(state.args), []
    for name, default in step.pairs:
        given = scope.build_args.get(name)
        known = replace(state, args=args)  # an earlier one of the same line counts
        if default is not None:
            default = scope.expand(step, default, known)
        value = given if given is not None else default
        if value is None:
            value = scope.global_args.get(name)
        if value is not None:
            args[name] = value
        words.append(name if default is None else f"{name}={default}")
    return args, words


def _pairs(
    pairs: tuple[tuple[str, str], ...], step: Instruction, state: StageState, scope: Scope
) -> list[tuple[str, str]]:
    return [(scope.expand(step, n, state), scope.expand(step, v, state)) for n, v in pairs]


def _command(command: Command, state: StageState) -> tuple[str, ...]:
    return (*state.shell, *command.args) if command.shell else command.args


def _ports(word: str, step: Expose, scope: Scope) -> list[str]:
    match = _PORT.fullmatch(word)
    first = int(match[1]) if match else 0
    last = int(match[2]) if match and match[2] else first
    if match is None or not 0 < first <= last <= 65535:
        raise scope.wrong(step, f"invalid containerPort: {word}: write 80, 80/udp or 8000-8010")
    return [f"{port}/{(match[3] or 'tcp').lower()}" for port in range(first, last + 1)]


def _healthcheck(step: Healthcheck, config: ImageConfig) -> dict[str, object]:
    if step.none:
        return {"Test": ["NONE"]}
    assert step.command is not None
    kind = "CMD-SHELL" if step.command.shell else "CMD"
    found: dict[str, object] = {"Test": [kind, *step.command.args]}
    for name, value in (
        ("Interval", step.interval_ns),
        ("Timeout", step.timeout_ns),
        ("StartPeriod", step.start_period_ns),
        ("StartInterval", step.start_interval_ns),
        ("Retries", step.retries),
    ):
        if value:
            found[name] = value
    return found
