"""Real command line clients, pointed at a daemon under test."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from sampan.testing.daemon import DaemonProcess

DOCKER = "docker"


class Shell:
    """Runs real client commands against one daemon."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self.daemon = daemon

    def __call__(
        self,
        *command: str,
        stdin: bytes | None = None,
        ok: bool = True,
        timeout: float = 60,
        cwd: Path | str = "/",
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``command``; with ``ok`` a non-zero exit is an AssertionError with both logs."""
        done = subprocess.run(
            command,
            input=stdin if stdin is not None else b"",
            capture_output=True,
            timeout=timeout,
            cwd=cwd,
            env=self.daemon.environment | (env or {}),
            check=False,
        )
        result = subprocess.CompletedProcess(
            done.args,
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )
        if ok and result.returncode != 0:
            raise AssertionError(
                f"{' '.join(command)} -> {result.returncode}\n{result.stdout}{result.stderr}\n"
                f"--- sampand ---\n{self.daemon.tail()}"
            )
        return result

    def docker(self, *arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
        return self(DOCKER, *arguments, **how)
