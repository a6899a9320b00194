"""A plugin's process, as a test sees it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

READY_WITHIN_S = 20.0
Behaviour = Literal["hang", "die", "garbage", "error", "refuse", "missing"]
"""hang: no answer, for ever. die: the process ends in the middle of the answer. garbage: 200 with
something that is not JSON. error: 200 with ``Err``. refuse: 500 with ``Err``. missing: 404."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a plugin was asked."""

    method: str
    request: Any
    """The body, decoded; None where there was none."""
    headers: dict[str, str]
    """Names in lower case."""


class PluginProcess:
    """A plugin of ``kind`` (volume, network, ipam, log or authz; several with commas), called
    ``name``. Its state in ``directory`` outlives the process, as that of a real one does."""

    def __init__(self, kind: str, name: str, sockets: Path, directory: Path) -> None:
        self.kind, self.name = kind, name
        self.socket = sockets / f"{name}.sock"
        self.directory = directory
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "sampan.testing.plugins.server"]
        command += [self.kind, str(self.socket), str(self.directory)]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        ended = os.pidfd_open(self.process.pid)
        deadline = time.monotonic() + READY_WITHIN_S
        try:
            while not self.answers():
                if self.process.poll() is not None or time.monotonic() > deadline:
                    log_text = (self.directory / "log").read_text()
                    raise RuntimeError(f"plugin {self.name} does not answer:\n{log_text}")
                select.select([ended], [], [], 0.02)
        finally:
            os.close(ended)

    def answers(self) -> bool:
        """Whether it takes connections."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.socket))
            return True
        return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it. Its socket's file stays, as after a crash."""
        if self.process is not None:
            self.process.send_signal(how)
            if how != signal.SIGKILL:
                self.thaw()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """Stop it where it stands, with every file open."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def wait(self) -> None:
        """Until it has died of itself."""
        assert self.process is not None
        self.process.wait(READY_WITHIN_S)
        self.process = None

    def behave(self, **methods: Behaviour | None) -> None:
        """How it answers from now on: ``behave(VolumeDriver_Mount="hang")``; others: well."""
        self._say({name: how for name, how in methods.items() if how})

    def answer(self, **methods: dict[str, Any]) -> None:
        """What it answers from now on, whatever it is asked; other calls: well."""
        self._say(methods)

    def _say(self, methods: Mapping[str, Behaviour | dict[str, Any]]) -> None:
        said = {name.replace("_", "."): what for name, what in methods.items()}
        new = self.directory / "behaviour.new"
        new.write_text(json.dumps(said))
        new.replace(self.directory / "behaviour")

    def calls(self, *methods: str) -> list[Call]:
        """What it was asked, in order: ``methods``, or everything."""
        try:
            lines = (self.directory / "calls").read_text().splitlines()
        except FileNotFoundError:
            return []
        found = [Call(**json.loads(line)) for line in lines]
        return [call for call in found if not methods or call.method in methods]

    def forget_calls(self) -> None:
        (self.directory / "calls").unlink(missing_ok=True)


@contextlib.contextmanager
def running_plugin(kind: str, name: str, sockets: Path, directory: Path) -> Iterator[PluginProcess]:
    """A plugin that answers; ended at the end."""
    plugin = PluginProcess(kind, name, sockets, directory)
    try:
        plugin.start()
        yield plugin
    finally:
        plugin.stop(signal.SIGKILL)


Start = Callable[..., PluginProcess]
"""A fixture: ``start("volume", "store")`` is a plugin of that kind and name."""
