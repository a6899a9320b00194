"""What the engine asks of the runtime: one run's life, from OCI bundle to exit code.

A run is held by a monitor (conmon), a process of its own that owns the container's stdio, writes
its log file and its exit code. The daemon may die and come back at any line of this: every method
works on a run by its id, from what is on disk under ``paths.run(id)``, not from memory.

    create ──> start ──> (exit) ──> delete
       └── attach, resize, kill, exec, wait: any time between create and delete
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from sampan.errors import Internal, InvalidArgument, NotFound
from sampan.kernel.usage import Usage
from sampan.store.records import HostConfig, MountPoint, Resources

Stream = Literal["stdout", "stderr"]


class CommandNotFound(InvalidArgument):
    """The command does not exist in the image (exit code 127)."""

    exit_code = 127


class CommandNotExecutable(InvalidArgument):
    """The command exists but cannot be executed (exit code 126)."""

    exit_code = 126


class RunFailed(Internal):
    """The OCI runtime could not do it, and says why: the host, or the runtime itself."""


class NoSuchUser(InvalidArgument):
    """``--user`` names nobody in the image."""


class NoSuchRun(NotFound):
    """No such run on this host: it was deleted, or the host was rebooted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleSpec:
    """Everything needed to write a run's OCI bundle."""

    id: str
    rootfs: Path
    """Mounted snapshot."""
    args: tuple[str, ...]
    env: tuple[str, ...]
    """Complete, PATH, HOSTNAME, TERM and HOME included."""
    user: str
    """As in the image: "", "name", "uid", "name:group", "uid:gid"; resolved against the rootfs."""
    working_dir: str
    hostname: str
    domainname: str
    tty: bool
    open_stdin: bool
    stdin_once: bool = True
    """Stdin ends when a client that was attached to it leaves; else it stays open."""
    stop_signal: int
    labels: dict[str, str]
    host: HostConfig
    mounts: tuple[MountPoint, ...]
    """User's mounts, resolved, shallow targets first."""
    etc_files: dict[str, Path]
    """"/etc/hosts" -> host file, and so on; bind-mounted read-write."""
    netns: Path | Literal["host"]
    """Namespace to join; ``container:ID`` and ``none`` are files too."""
    ipc_ns: Path | Literal["private", "host"] = "private"
    pid_ns: Path | Literal["private", "host"] = "private"
    uts_ns: Path | Literal["private", "host"] = "private"
    shm_path: Path | None = None
    """Another container's /dev/shm to share (``--ipc container:``)."""
    log_path: Path | None
    """None: not a line is kept."""
    log_max_bytes: int = 0
    """The log is rotated when it is larger; 0: never."""
    log_max_files: int = 1
    log_compress: bool = False
    """How many files there are, the one that is written to included."""
    default_shm_bytes: int
    default_ulimits: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CreatedRun:
    """A run whose process is set up, namespaces and all, but does not execute yet."""

    pid: int
    pid_started: int
    monitor_pid: int
    warnings: tuple[str, ...] = ()
    """What the host could not honour (a rlimit clamped ...)."""


@dataclass(frozen=True, slots=True)
class ExitStatus:
    exit_code: int
    """0..255; 128+N when killed by signal N; 255 when the monitor died first and nobody knows."""
    finished_at: float
    oom_killed: bool = False


@dataclass(frozen=True, slots=True)
class RunState:
    """What a restarted daemon finds."""

    alive: bool
    pid: int
    exit: ExitStatus | None
    """None while alive; otherwise what the monitor recorded."""
    paused: bool = False
    started: bool = True
    """False: created, but never told to start (the daemon died in between)."""


class AttachStream(Protocol):
    """The live ends of a run's stdio."""

    def output(self) -> AsyncIterator[tuple[Stream, bytes]]:
        """Chunks as they come; ends when the run's stdio closes. A tty has only ``stdout``."""
        ...

    async def write(self, data: bytes) -> None:
        """To stdin; waits while the container does not read.

        Raises:
            BrokenPipeError: stdin is closed.
        """
        ...

    async def close_stdin(self) -> None:
        """End of file for the container's stdin (not for a tty)."""
        ...

    async def close(self) -> None:
        """Detach; the run goes on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecSpec:
    exec_id: str
    run_id: str
    args: tuple[str, ...]
    env: tuple[str, ...]
    """Complete but for HOME, which is the user's where it is not given."""
    user: str
    working_dir: str
    tty: bool
    stdin: bool
    privileged: bool = False
    console_size: tuple[int, int] = (0, 0)
    """Rows, columns."""


class ExecProcess(AttachStream, Protocol):
    """A process started in a running container: a direct child of the daemon."""

    @property
    def pid(self) -> int: ...

    async def wait(self) -> int:
        """Exit code (0..255), once its output is drained into the pipes."""
        ...

    async def resize(self, rows: int, columns: int) -> None: ...

    async def kill(self, signal: int) -> None: ...


class Runs(Protocol):
    """The runtime's facade."""

    async def create(self, spec: BundleSpec, *, runtime: str) -> CreatedRun:
        """Write the bundle, start the monitor, have the OCI runtime set the process up.

        On failure nothing is left: no monitor, no cgroup, no directory.

        Raises:
            CommandNotFound, CommandNotExecutable, NoSuchUser, InvalidArgument, Internal.
        """
        ...

    async def attach(self, run_id: str) -> AttachStream:
        """Connect to the stdio. Connect between create and start to see the first byte."""
        ...

    async def start(self, run_id: str) -> None:
        """Let the process execute.

        Raises:
            CommandNotFound, CommandNotExecutable: some runtimes only find out now.
        """
        ...

    async def wait(self, run_id: str) -> ExitStatus:
        """Until the run has ended and its monitor has drained the log. Any number of waiters."""
        ...

    async def kill(self, run_id: str, signal: int, *, everyone: bool = False) -> None:
        """Send ``signal`` to init (through a pidfd checked against ``pid_started``), or to every
        process of the run's cgroup.

        Raises:
            NoSuchRun: it has ended already.
        """
        ...

    async def pause(self, run_id: str) -> None: ...
    async def resume(self, run_id: str) -> None: ...
    async def resize(self, run_id: str, rows: int, columns: int) -> None: ...

    async def update(self, run_id: str, resources: Resources) -> None:
        """Change the limits of a live run."""
        ...

    async def pids(self, run_id: str) -> list[int]:
        """Host pids of every process in the run's cgroup."""
        ...

    async def usage(self, run_id: str) -> Usage:
        """What the run's cgroup has used until now.

        Raises:
            NoSuchRun: it has ended.
        """
        ...

    async def exec(self, spec: ExecSpec) -> ExecProcess:
        """Start one more process.

        Raises:
            CommandNotFound, CommandNotExecutable, NoSuchUser, NoSuchRun.
        """
        ...

    async def check_user(self, run_id: str, user: str) -> None:
        """Whether an exec as ``user`` is possible, by the container's own accounts at this moment.

        Raises:
            NoSuchUser, NoSuchRun; InvalidArgument: a number out of range.
        """
        ...

    async def inspect(self, run_id: str) -> RunState:
        """True state, from the kernel and the monitor's files.

        Raises:
            NoSuchRun: nothing is known of it.
        """
        ...

    async def delete(self, run_id: str) -> None:
        """Kill what is left, remove cgroups, runtime state, the run's directory. Idempotent."""
        ...

    async def known(self) -> list[str]:
        """Ids of every run that left anything on disk: what a restarted daemon must look at."""
        ...


# ---------------------------------------------------------------- logs


class LogEntry(msgspec.Struct, frozen=True, gc=False):
    """A struct: made by the hundred thousand, four times as fast as a frozen dataclass."""

    time_ns: int
    stream: Stream
    line: bytes
    """Ends with a newline, unless it is part of a longer line (``partial``)."""
    partial: bool = False


class LogPlace(msgspec.Struct, frozen=True):
    """A place in a log that is written to and rotated: behind the last line that was handled."""

    inode: int
    offset: int
    head: str
    """The file's first bytes, as Latin-1: inodes are given again, and these tell files apart."""


class LogReader(Protocol):
    """Reads a monitor's log file (and what was rotated away), while it is being written."""

    def read(
        self,
        path: Path,
        *,
        tail: int | None = None,
        since_ns: int = 0,
        until_ns: int = 0,
        streams: frozenset[Stream] = frozenset(("stdout", "stderr")),
        follow: AsyncIterator[None] | None = None,
    ) -> AsyncIterator[list[LogEntry]]:
        """Batches of entries in the order written; never one object a line through the loop.

        ``follow``: goes on until this iterator is exhausted (the run ended) and the rest is read;
        new data is noticed by inotify. None: up to what is there now.
        """
        ...

    def forward(
        self, path: Path, place: LogPlace | None, follow: AsyncIterator[None]
    ) -> AsyncIterator[tuple[list[LogEntry], LogPlace]]:
        """All entries behind ``place`` (None: from the oldest there is), followed as ``read``
        does, each batch with the place behind it. What was rotated away meanwhile is lost."""
        ...

    async def behind(self, path: Path, place: LogPlace | None) -> bool:
        """Whether there is anything behind ``place``."""
        ...
