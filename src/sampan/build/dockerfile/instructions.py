"""What a Dockerfile says, typed: one frozen value an instruction, variables not yet replaced."""

from __future__ import annotations

from dataclasses import dataclass, field

from sampan.build.dockerfile.source import Heredoc


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    line: int
    text: str
    """As written, continuations joined: what ``Step 3/7 : ...`` shows."""


@dataclass(frozen=True, slots=True)
class Command:
    """``["a", "b"]`` (exec form) or ``a b`` (shell form: one string for the shell)."""

    args: tuple[str, ...]
    shell: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class From(Instruction):
    image: str
    alias: str = ""
    platform: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(Instruction):
    pairs: tuple[tuple[str, str | None], ...]
    """Name and default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Instruction):
    command: Command
    network: str = "default"
    mounts: tuple[str, ...] = ()
    """Each ``--mount``'s value, as written."""
    script: Heredoc | None = None
    """The whole command is this heredoc."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Instruction):
    """``COPY`` and, with ``add``, ``ADD``."""

    sources: tuple[str, ...]
    dest: str
    from_: str = ""
    chown: str = ""
    chmod: str = ""
    heredocs: tuple[Heredoc, ...] = ()
    """Inline files; each stands for one source."""
    add: bool = False
    checksum: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(Instruction):
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Instruction):
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(Instruction):
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Instruction):
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(Instruction):
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Instruction):
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(Instruction):
    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(Instruction):
    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(Instruction):
    args: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopsignal(Instruction):
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer(Instruction):
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Onbuild(Instruction):
    trigger: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck(Instruction):
    """Durations in nanoseconds; 0 and 0 retries: the default."""

    none: bool = False
    command: Command | None = None
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Stage:
    """``FROM`` and all up to the next one."""

    base: From
    steps: tuple[Instruction, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Dockerfile:
    name: str
    escape: str
    args: tuple[Arg, ...]
    """Before the first ``FROM``."""
    stages: tuple[Stage, ...]
