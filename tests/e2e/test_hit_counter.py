"""The main job, as ``script/demo`` does it: a base image from the host's own package sources, a
two-container web application from a Dockerfile and a compose file, a page with a growing count."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sampan.testing.clients import Shell
from sampan.testing.daemon import running_daemon, short_directory

EXAMPLE = Path(__file__).parents[2] / "examples" / "hit-counter"

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def with_debian(sampan: str) -> Iterator[Shell]:
    with short_directory() as base, running_daemon(Path(base) / "d") as daemon:
        sh = Shell(daemon)
        sh(sampan, "image", "bootstrap", "debian:bookworm", timeout=240)
        # licences, and what keeps later packages as small; nothing of the making
        unread = "cd /usr/share; find doc man info locale lintian -type f; ls /etc/dpkg/dpkg.cfg.d"
        listed = sh.docker("run", "--rm", "debian:bookworm", "sh", "-c", unread).stdout.split()
        kept = {name for name in listed if not name.endswith("/copyright")}
        # an index that installing makes, and the list that some packages of locales read
        assert kept - {"info/dir", "locale/locale.alias"} == {"50sampan"}
        yield sh
        assert daemon.settled() == {}, daemon.tail()


@pytest.fixture
def port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def counts(port: int) -> list[int]:
    url = f"http://127.0.0.1:{port}/"
    retry = ["--retry", "60", "--retry-delay", "1", "--retry-all-errors", "--max-time", "10"]
    found = []
    for _ in range(3):
        page = subprocess.run(["curl", "-fsS", *retry, url], capture_output=True, check=True)
        match = re.fullmatch(r"Hello World! 该页面已被访问 (\d+) 次。\s*", page.stdout.decode())
        assert match, page.stdout
        found.append(int(match[1]))
    return found


@pytest.mark.parametrize("tool", ["sampan", "docker-compose"])
def test_the_count_grows(with_debian: Shell, sampan: str, port: int, tool: str) -> None:
    sh, env = with_debian, {"PORT": str(port)}
    compose = [sampan, "compose"] if tool == "sampan" else ["docker-compose"]
    compose += ["-f", str(EXAMPLE / "compose.yaml")]
    sh(*compose, "up", "-d", env=env, timeout=240)
    try:
        assert counts(port) == [1, 2, 3]
        assert sh(*compose, "ps", env=env).stdout.count("Up") == 2
        # the other services of the host see the true client, the count survives a new web container
        sh.docker("restart", "-t", "1", sh(*compose, "ps", "-q", "web", env=env).stdout.strip())
        assert counts(port) == [4, 5, 6]
    finally:
        sh(*compose, "down", "-v", env=env)
    assert sh.docker("ps", "-aq").stdout == ""
    assert sh.docker("volume", "ls", "-q").stdout == ""
