"""Where a process under test runs: here, or inside the namespaces of another process."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

FORKED_WITHIN_S = 10.0


class Place(Protocol):
    """A view of the machine: its mounts and network devices, and a way to start programs in it."""

    def spawn(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        **how: Any,
    ) -> subprocess.Popen[bytes]:
        """Start ``command`` in ``/``; ``how`` is ``Popen``'s."""
        ...

    def pids(self, process: subprocess.Popen[bytes]) -> list[int]:
        """The pids, as seen from here, of what ``spawn`` returned; the command itself is last."""
        ...

    def mountinfo(self) -> str: ...

    def interfaces(self) -> list[str]: ...

    def run(self, *command: str) -> str:
        """Standard output of a command that must succeed."""
        ...


class Here:
    """The namespaces of the caller."""

    def spawn(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        **how: Any,
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command, env=env, stdin=stdin, stdout=stdout, stderr=stderr, cwd="/", **how
        )

    def pids(self, process: subprocess.Popen[bytes]) -> list[int]:
        return [process.pid]

    def mountinfo(self) -> str:
        return Path("/proc/self/mountinfo").read_text()

    def interfaces(self) -> list[str]:
        return [name for _, name in socket.if_nameindex()]

    def run(self, *command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class Inside:
    """All namespaces of ``pid``, a process of another pid namespace than the caller's."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def command(self, *command: str, where: str = "/") -> list[str]:
        """``command`` as one that enters the namespaces first; it runs in ``where``."""
        return ["nsenter", f"--target={self.pid}", "--all", f"--wdns={where}", "--", *command]

    def spawn(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        **how: Any,
    ) -> InsideProcess:
        # out of reach of the ^C that is meant for the caller
        how.setdefault("start_new_session", True)
        return InsideProcess(
            self.command(*command), env=env, stdin=stdin, stdout=stdout, stderr=stderr, **how
        )

    def pids(self, process: subprocess.Popen[bytes]) -> list[int]:
        inner = process.inner if isinstance(process, InsideProcess) else None
        return [process.pid] if inner is None else [process.pid, inner]

    def mountinfo(self) -> str:
        return Path(f"/proc/{self.pid}/mountinfo").read_text()

    def interfaces(self) -> list[str]:
        lines = Path(f"/proc/{self.pid}/net/dev").read_text().splitlines()[2:]
        return [line.partition(":")[0].strip() for line in lines]

    def run(self, *command: str) -> str:
        return subprocess.run(
            self.command(*command), capture_output=True, text=True, check=True
        ).stdout


class InsideProcess(subprocess.Popen[bytes]):
    """A command behind ``nsenter``, which stays as its parent: a pid namespace is entered by
    forking. Signals go to the command; nsenter ends as the command does, and stops as it does."""

    _inner: int | None = None

    @property
    def inner(self) -> int | None:
        """The command's pid as seen from here; None once it has ended before it was looked at."""
        if self._inner is None:
            wait_until(lambda: self.poll() is not None or self._child(), FORKED_WITHIN_S)
            self._inner = self._child()
        return self._inner

    def _child(self) -> int | None:
        with contextlib.suppress(OSError):
            for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
                return int(pid)
        return None

    def send_signal(self, sig: int) -> None:
        if self.poll() is not None:
            return
        if (inner := self.inner) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(inner, sig)
        if sig == signal.SIGSTOP:
            # else a SIGCONT that follows at once would come before nsenter has stopped itself
            wait_until(lambda: state_of(self.pid) in "TZ", FORKED_WITHIN_S)
        elif sig in (signal.SIGCONT, signal.SIGKILL):
            os.kill(self.pid, signal.SIGCONT)


def undisturbed(command: Sequence[str]) -> list[str]:
    """``command`` with every signal at its default, as a terminal's shell starts it: a shell's
    background jobs, and so what tests start in one, ignore SIGINT."""
    return ["env", "--default-signal", *command]


def state_of(pid: int) -> str:
    """The letter that ``ps`` shows; "Z" also for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def wait_until(done: Callable[[], object], deadline_s: float = 5.0) -> bool:
    """Poll for what the kernel does not announce (a namespace's end)."""
    deadline = time.monotonic() + deadline_s
    while not done():
        if time.monotonic() > deadline:
            return False
        select.select([], [], [], 0.02)
    return True
