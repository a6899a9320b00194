"""docker-compose 1.29.2, a Python program of 2021, and sampan's own compose on one daemon: each
sees what the other made."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sampan.testing.clients import Shell

pytestmark = pytest.mark.skipif(
    shutil.which("docker-compose") is None, reason="Debian's docker-compose is not installed"
)

PROJECT = """\
version: "3.8"
services:
  front:
    image: busybox
    command: sh -c "mkdir -p /www && echo front > /www/index.html && exec httpd -f -p 80 -h /www"
    ports: ["127.0.0.1::80"]
    depends_on: [back]
    stop_signal: SIGKILL
  back:
    image: busybox
    command: sleep 1000
    stop_signal: SIGKILL
    environment: {A: "1"}
    volumes: ["data:/data"]
volumes:
  data:
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "harbour"
    directory.mkdir()
    (directory / "docker-compose.yml").write_text(PROJECT)
    return directory


def test_up_ps_down(sh: Shell, project: Path) -> None:
    sh("docker-compose", "up", "-d", cwd=project)
    listed = sh("docker-compose", "ps", cwd=project).stdout
    assert listed.count("Up") == 2
    out = sh("docker-compose", "exec", "-T", "front", "ping", "-c1", "-W2", "back", cwd=project)
    assert "1 packets received" in out.stdout
    assert "is up-to-date" in sh("docker-compose", "up", "-d", cwd=project).stderr
    sh("docker-compose", "logs", "front", cwd=project)
    sh("docker-compose", "down", "-v", cwd=project)
    assert sh.docker("network", "ls", "-q", "-f", "name=harbour").stdout == ""
    assert sh.docker("volume", "ls", "-q").stdout == ""


def test_each_sees_the_others_containers(sh: Shell, project: Path, sampan: str) -> None:
    sh("docker-compose", "up", "-d", cwd=project)
    assert sh(sampan, "compose", "ps", "-q", cwd=project).stdout.count("\n") == 2
    sh(sampan, "compose", "down", "-v", cwd=project)
    sh(sampan, "compose", "up", "-d", cwd=project)
    assert sh("docker-compose", "ps", "-q", cwd=project).stdout.count("\n") == 2
    sh("docker-compose", "down", "-v", cwd=project)
    assert sh.docker("ps", "-aq").stdout == ""
