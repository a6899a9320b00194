"""A real ``sampand`` in directories of its own, for tests, benchmarks and the laboratory.

It is started as a user would start it, is ready when its socket answers ``_ping``, and can be
stopped, killed and started again on the same directories. ``leftovers`` tells everything that this
instance still has in the kernel or on disk: a test ends by asserting that it is empty.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from sampan.config import Instance
from sampan.testing.place import Here, Place, wait_until
from sampan.watchdog import HELD_UP

_LINE = re.compile(r"\d{4}-\d\d-\d\dT")
"""How a new line of a daemon's log begins."""
READY_WITHIN_S = 60.0
GONE_WITHIN_S = 20.0


class DaemonProcess:
    """One daemon on ``base/root`` and ``base/state``, listening on ``base/sampan.sock``.

    With a ``place`` the daemon lives in namespaces of its own; what it has is looked for there.
    """

    name = "sampand"
    loop_limit_ms = 0
    """What may keep its event loop, in milliseconds; 0: nobody looks. Tests set it for all."""
    _live: ClassVar[set[DaemonProcess]] = set()
    _reports: ClassVar[list[str]] = []

    def __init__(self, base: Path, *arguments: str, place: Place | None = None) -> None:
        self.base = base
        self.root = base / "root"
        self.state = base / "state"
        self.socket = base / "sampan.sock"
        self.log = base / "sampand.log"
        self.arguments = arguments
        self.path: str | None = None
        """Its ``PATH``; None: the caller's."""
        self.python = sys.executable
        """Of another checkout's environment: that sampand is started."""
        self.place: Place = place or Here()
        self.process: subprocess.Popen[bytes] | None = None
        self._read = 0
        """Bytes of the log that were looked through for what held up its loop."""

    @property
    def instance(self) -> Instance:
        return Instance.of(self.root)

    @property
    def host(self) -> str:
        """For ``DOCKER_HOST``."""
        return f"unix://{self.socket}"

    @property
    def environment(self) -> dict[str, str]:
        """The caller's environment with clients pointed at this daemon and at no one else."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DOCKER_", "COMPOSE_"))}
        return kept | {"DOCKER_HOST": self.host, "DOCKER_CONFIG": str(self.base / "docker-config")}

    @property
    def pid(self) -> int:
        """Its process id as seen from here; 0 when it does not run."""
        if self.process is None or self.process.poll() is not None:
            return 0
        return self.place.pids(self.process)[-1]

    @property
    def command(self) -> list[str]:
        """What is typed to start it."""
        command = [self.python, "-m", "sampan.api.daemon"]
        command += ["--root", str(self.root), "--state", str(self.state)]
        if self.loop_limit_ms:
            command += ["--loop-watchdog", str(self.loop_limit_ms)]
        return [*command, "--host", self.host, *self.arguments]

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: it ended, or did not answer within ``READY_WITHIN_S``; with its log.
        """
        self.base.mkdir(parents=True, exist_ok=True)
        self._live.add(self)
        with self.log.open("ab") as log:
            env = None if self.path is None else os.environ | {"PATH": self.path}
            self.process = self.place.spawn(self.command, env=env, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_WITHIN_S
        ended = os.pidfd_open(self.process.pid)
        try:
            while not self.answers():
                if self.process.poll() is not None:
                    raise RuntimeError(f"{self.name} ended at start:\n{self.tail()}")
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{self.name} does not answer:\n{self.tail()}")
                select.select([ended], [], [], 0.02)
        finally:
            os.close(ended)

    def answers(self) -> bool:
        """Whether ``_ping`` is answered."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(self.socket))
            client.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
            return client.recv(64).startswith(b"HTTP/1.1 200")
        return False

    def tail(self, lines: int = 60) -> str:
        """The end of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send ``how`` and wait until the process has ended; returns its exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            code = self.process.wait(GONE_WITHIN_S)
            self._look_for_reports()
            self._live.discard(self)
            return code
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"{self.name} ignored {how.name}:\n{self.tail()}") from None

    @classmethod
    def held_up(cls) -> list[str]:
        """What has held up the loop of any daemon since this was asked last, with the stacks."""
        for daemon in tuple(cls._live):
            daemon._look_for_reports()
        found, cls._reports[:] = list(cls._reports), []
        return found

    def _look_for_reports(self) -> None:
        if not self.loop_limit_ms or not self.log.exists():
            return
        with self.log.open("rb") as log:
            log.seek(self._read)
            text = log.read()
            self._read += len(text)
        if HELD_UP.encode() in text:
            self._reports.extend(reports_in(text.decode(errors="replace")))

    def kill(self) -> None:
        """``kill -9``."""
        self.stop(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop it where it stands, with every connection open: what a hang looks like."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen daemon go on."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Stop it in good order and start it again."""
        self.stop()
        self.start()

    def destroy(self) -> None:
        """Stop it, kill whatever it left, and delete its directories. For a test's last line."""
        self.stop()
        for pid in (*self.processes(), *self.helpers()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.processes() and not self.helpers())
        for point in sorted(self.mounts(), key=len, reverse=True):
            subprocess.run(["umount", "-l", point], check=False, capture_output=True)
        for interface in self.interfaces():
            subprocess.run(["ip", "link", "del", interface], check=False, capture_output=True)
        if self.tables():
            subprocess.run(["nft", "delete", "table", "inet", self.instance.table], check=False)
        self.remove_cgroups()
        shutil.rmtree(self.base, ignore_errors=True)

    def remove_cgroups(self) -> None:
        """Take away its cgroups in which no process is left."""
        for group in sorted(self.cgroups(), key=len, reverse=True):
            with contextlib.suppress(OSError):
                os.rmdir(group)

    # -- what is left

    def leftovers(self) -> dict[str, list[str]]:
        """Everything of this instance that is still there although no container should be."""
        found = {
            "processes": [self._command(pid) for pid in self.processes()],
            "mounts": self.mounts(),
            "interfaces": [i for i in self.interfaces() if i != self.instance.default_bridge],
            "cgroups": [
                g for g in self.cgroups() if Path(g).name not in (self.instance.cgroup, "monitors")
            ],
        }
        return {kind: names for kind, names in found.items() if names}

    def settled(self) -> dict[str, list[str]]:
        """``leftovers`` once the kernel had time to finish what was asked of it: it takes
        namespaces and their interfaces away after the last process has gone, on its own time."""
        wait_until(lambda: not self.leftovers())
        return self.leftovers()

    def processes(self) -> list[int]:
        """Every process, other than the daemon itself, that names this instance's directories."""
        running = self.process is not None and self.process.poll() is None
        own = self.place.pids(self.process) if running and self.process is not None else []
        found = []
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit() or int(entry.name) in (*own, os.getpid()):
                continue
            command = self._command(int(entry.name))
            if (
                str(self.root) in command or str(self.state) in command
            ) and "sampan.network.dns" not in command:
                found.append(int(entry.name))
        return found

    def helpers(self) -> list[int]:
        """Processes that belong to the daemon as a whole (its DNS), not to a container."""
        return [
            int(entry.name)
            for entry in os.scandir("/proc")
            if entry.name.isdigit()
            and "sampan.network.dns" in (command := self._command(int(entry.name)))
            and str(self.state) in command
        ]

    @staticmethod
    def _command(pid: int) -> str:
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        return ""

    def mounts(self) -> list[str]:
        points = [line.split()[4] for line in self.place.mountinfo().splitlines()]
        return [p for p in points if p.startswith(f"{self.base}/")]

    def interfaces(self) -> list[str]:
        suffix = self.instance.suffix
        marks = (f"br{suffix}", f"ve{suffix}", self.instance.default_bridge)
        return [name for name in self.place.interfaces() if name.startswith(marks)]

    def tables(self) -> list[str]:
        listed = self.place.run("nft", "list", "tables")
        return [t for t in listed.splitlines() if t.split()[-1] == self.instance.table]

    def cgroups(self) -> list[str]:
        found: list[str] = []
        top = Path("/sys/fs/cgroup")
        for tree in (top, *top.iterdir()):
            # os.walk passes over what vanishes while it looks
            found += [directory for directory, _, _ in os.walk(tree / self.instance.cgroup)]
        return found


def reports_in(log: str) -> list[str]:
    """What a daemon's log says of what held up its loop: each line and the stack that follows."""
    reports: list[str] = []
    inside = False
    for line in log.splitlines():
        if _LINE.match(line):
            inside = HELD_UP in line
            if inside:
                reports.append(line)
        elif inside:
            reports[-1] += f"\n{line}"
    return reports


def short_directory() -> tempfile.TemporaryDirectory[str]:
    """A temporary directory whose path leaves room in a unix socket's 108 bytes."""
    return tempfile.TemporaryDirectory(prefix="smp", ignore_cleanup_errors=True)


@contextlib.contextmanager
def running_daemon(base: Path, *arguments: str) -> Iterator[DaemonProcess]:
    """A daemon that answers; destroyed at the end, whatever happened."""
    daemon = DaemonProcess(base, *arguments)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.destroy()
