"""What an OCI runtime is: a program with the command line that the field has agreed on, and what is
known of this one beyond that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sampan.errors import InvalidArgument, Unavailable
from sampan.runtime.files import RunFiles

ANSWERS_WITHIN_S = 60.0
"""Of most runtimes. They need some milliseconds; a host under load makes seconds of them."""


class UnknownRuntime(InvalidArgument):
    """There is none of that name, or its program is not there. ``cure``: what to do about it."""

    def __init__(
        self,
        name: str,
        cure: str = "see the runtimes that `sampan info` lists, or add it to `runtimes` in "
        "daemon.json",
    ) -> None:
        super().__init__(f"unknown or invalid runtime name: {name}: {cure}")
        self.name = name


class RuntimeHangs(Unavailable):
    """A command of it took too long, and was killed."""

    def __init__(self, name: str, command: str, seconds: float) -> None:
        super().__init__(
            f"OCI runtime {name}: no answer to `{command}` within {seconds:.0f} s: it was killed. "
            "See what it waits for (a file server, the load of the host), or choose another one "
            "with --runtime"
        )
        self.name, self.command = name, command


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeCapabilities:
    """What a runtime does beyond the specification. Asked instead of its name."""

    writes_pid_in_place: bool = False
    """The pid file of an exec may be any descriptor: it is opened and written to. False: it is
    written beside under another name and renamed, as runc does."""
    takes_bpf: bool = False
    """It takes a compiled system call filter by crun's annotation, which spares it compiling."""
    binds_all_below: bool = False
    """A bind mount always brings along what is mounted below its source, also where the
    specification has "bind" and not "rbind"."""


class OciRuntime(Protocol):
    """One runtime of this daemon."""

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> RuntimeCapabilities: ...

    @property
    def answers_within_s(self) -> float:
        """How long one of its commands may take: then it is killed."""
        ...

    @property
    def path(self) -> str:
        """The program, for people to read; empty: it is not installed."""
        ...

    @property
    def arguments(self) -> tuple[str, ...]:
        """Before every command: ``--root`` and what the configuration adds."""
        ...

    @property
    def found(self) -> str:
        """What ``executable`` has found; empty: nobody has asked yet."""
        ...

    def executable(self) -> str:
        """What to execute: the path, or this process's descriptor of a sealed copy. Blocks at its
        first call: it looks through PATH, and may copy the program. From any thread.

        Raises:
            UnknownRuntime: it is not installed.
        """
        ...

    async def start(self, files: RunFiles, command: str) -> None:
        """Let a created run execute. ``command`` is its argv[0], for messages.

        Raises:
            CommandNotFound, CommandNotExecutable, Internal, RuntimeHangs.
        """
        ...

    async def delete(self, files: RunFiles) -> None:
        """Forget a dead run. Its cgroups and directories are the caller's to remove."""
        ...

    async def update(self, run_id: str, resources: bytes) -> str:
        """Apply an OCI ``resources`` object to a live run; says what went wrong, or nothing."""
        ...

    def close(self) -> None:
        """The daemon goes; runs stay."""
        ...
