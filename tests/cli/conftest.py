"""Both commands, docker's and ours, against a manager in memory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sampan.cli import main
from sampan.testing.cluster_api import ClusterApi

DOCKER = shutil.which("docker") or ""
RECENT = 28
"""The docker whose words and flags ours are. A distribution's may be years older: what that one
says otherwise, or does not know yet, is written into the test, which holds it against a recent
docker where there is one."""


@dataclass
class Done:
    code: int
    out: str
    err: str


@dataclass
class Side:
    """One manager and one command that talks to it."""

    api: ClusterApi
    run: Callable[..., Done]
    recent: bool = True


def recent(command: str) -> bool:
    said = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    version = re.search(r"version (\d+)\.", said.stdout)
    assert version, said.stdout
    return int(version[1]) >= RECENT


@pytest.fixture
def ours(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Side]:
    """``ours.run("service", "ls")`` in this process."""
    api = ClusterApi()
    with api.serve(tmp_path / "ours.sock") as host:

        def run(*words: str) -> Done:
            capfd.readouterr()
            code = main.main(["-H", host, "--config", str(tmp_path), *words])
            got = capfd.readouterr()
            return Done(code, got.out, got.err)

        yield Side(api, run)


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[Side]:
    """The stock CLI, as a process."""
    if not DOCKER:
        pytest.skip("no docker command on this machine")
    api = ClusterApi()
    with api.serve(tmp_path / "docker.sock") as host:

        def run(*words: str) -> Done:
            done = subprocess.run(
                [DOCKER, "--config", str(tmp_path), "-H", host, *words],
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "NO_COLOR": "1"},
                timeout=60,
                check=False,
            )
            return Done(done.returncode, done.stdout, done.stderr)

        yield Side(api, run, recent(DOCKER))
