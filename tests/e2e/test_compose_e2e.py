"""``sampan compose`` against a real daemon."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sampan.client import Client, containers
from sampan.testing.clients import Shell
from sampan.testing.contracts.engine_api import EngineApiContract
from sampan.testing.daemon import DaemonProcess
from sampan.testing.place import wait_until

FILE = """\
services:
  web:
    image: ${IMAGE:-busybox}
    command: sh -c "echo up; exec sleep 1000"
    stop_signal: SIGKILL
    depends_on: {db: {condition: service_healthy}}
    environment: {WHO: "${WHO:-nobody}"}
    secrets: [key]
  db:
    image: busybox
    command: sh -c "touch /data/ready; exec sleep 1000"
    stop_signal: SIGKILL
    volumes: ["data:/data", /scratch]
    healthcheck: {test: [CMD, cat, /data/ready], interval: 200ms}
volumes: {data: }
secrets: {key: {file: ./key.txt}}
"""


class TestRealApi(EngineApiContract):
    @pytest.fixture
    def api(self, daemon: DaemonProcess) -> Client:
        return Client(daemon.host, environ={})


@pytest.fixture
def app(tmp_path: Path) -> Path:
    directory = tmp_path / "shop"
    directory.mkdir()
    (directory / "compose.yaml").write_text(FILE)
    (directory / "key.txt").write_text("hush")
    return directory


@pytest.fixture
def compose(sh: Shell, sampan: str, app: Path):  # type: ignore[no-untyped-def]
    def run(*arguments: str, **how: object):  # type: ignore[no-untyped-def]
        return sh(sampan, "compose", *arguments, cwd=app, **how)  # type: ignore[arg-type]

    yield run
    run("down", "-v", "--remove-orphans", "-t", "0")


def test_up_change_scale_down(compose, sh: Shell) -> None:  # type: ignore[no-untyped-def]
    compose("up", "-d")
    assert compose("ps", "--services").stdout.split() == ["db", "web"]
    assert "up" in compose("logs", "web").stdout
    assert compose("exec", "-T", "web", "cat", "/run/secrets/key").stdout == "hush"
    assert compose("up", "-d", "--dry-run").stdout == "nothing to do\n"
    compose("exec", "-T", "db", "touch", "/scratch/kept")
    changed = compose("up", "-d", "--dry-run", env={"WHO": "me"}).stdout
    assert "recreate container shop-web-1: config changed: environment" in changed
    compose("up", "-d", env={"WHO": "me"})
    assert "WHO=me" in compose("exec", "-T", "web", "env").stdout
    compose("up", "-d", "--force-recreate", "--scale", "web=2")
    compose("exec", "-T", "db", "cat", "/scratch/kept")
    assert len(compose("ps", "-q").stdout.split()) == 3
    assert compose("run", "--rm", "-T", "web", "echo", "once").stdout == "once\n"
    compose("down", "-v")
    assert sh.docker("ps", "-aq").stdout == ""
    assert sh.docker("volume", "ls", "-q").stdout == ""


def test_one_that_cannot_start_takes_nobody_else_along(compose, app: Path) -> None:  # type: ignore[no-untyped-def]
    broken = FILE.replace("[CMD, cat, /data/ready]", "[CMD, cat, /data/never], retries: 1")
    (app / "compose.yaml").write_text(broken)
    failed = compose("up", "-d", ok=False)
    assert failed.returncode == 1
    assert 'service "db" is unhealthy: last output: cat:' in failed.stderr
    assert "Container shop-web-1  Not started" in failed.stderr
    assert compose("ps", "--services").stdout.split() == ["db"]
    (app / "compose.yaml").write_text(FILE)


def test_foreground_ends_with_the_service_that_was_named(compose, app: Path) -> None:  # type: ignore[no-untyped-def]
    (app / "compose.yaml").write_text(
        "services:\n"
        "  job: {image: busybox, command: sh -c 'echo working; exit 7'}\n"
        "  rest: {image: busybox, command: sleep 1000, stop_signal: SIGKILL}\n"
    )
    done = compose("up", "--exit-code-from", "job", ok=False)
    assert done.returncode == 7
    assert "job-1  | working" in done.stdout


def test_mistakes_in_the_file_come_before_any_request(compose, app: Path) -> None:  # type: ignore[no-untyped-def]
    good = (app / "compose.yaml").read_text()
    (app / "compose.yaml").write_text(good.replace("image: busybox", "imagee: busybox", 1))
    done = compose("up", "-d", ok=False)
    assert done.returncode == 15
    assert 'services.db.imagee: unknown key; did you mean "image"?' in done.stderr
    (app / "compose.yaml").write_text(good)


PAIR = """\
services:
  loud:
    image: busybox
    command: sh -c "echo LOUD; exec sleep 1"
    attach: false
  calm:
    image: busybox
    command: sh -c "echo CALM; exec sleep 1"
"""


def test_attach_false_keeps_output_out_of_up_and_logs(compose, app: Path) -> None:  # type: ignore[no-untyped-def]
    (app / "compose.yaml").write_text(PAIR)
    shown = compose("up").stdout
    assert "CALM" in shown
    assert "LOUD" not in shown
    logs = compose("logs").stdout
    assert "CALM" in logs
    assert "LOUD" not in logs
    assert "LOUD" in compose("logs", "loud").stdout
    asked = compose("up", "--attach", "loud", "--timestamps").stdout
    assert "CALM" not in asked
    assert re.search(r"loud-1 +\| 20\d\d-\d\d-\d\dT[^ ]+Z LOUD", asked)


SLEEPERS = """\
services:
  web:
    image: busybox
    command: sleep 600
    stop_signal: SIGKILL
    expose: ["6000-6001/udp"]
    depends_on: {db: {condition: service_started, restart: true}}
  db: {image: busybox, command: sleep 600, stop_signal: SIGKILL}
"""


def test_a_restart_reaches_dependents_unless_told_not_to(compose, app: Path, sh: Shell) -> None:  # type: ignore[no-untyped-def]
    (app / "compose.yaml").write_text(SLEEPERS)
    compose("up", "-d", "--detach=true")

    def started(name: str) -> str:
        return sh.docker("inspect", "-f", "{{.State.StartedAt}}", f"shop-{name}-1").stdout

    first = started("web")
    compose("restart", "--no-deps", "db")
    assert started("web") == first
    compose("restart", "db")
    assert started("web") != first


def test_what_scripts_use(compose, app: Path, sh: Shell, daemon: DaemonProcess) -> None:  # type: ignore[no-untyped-def]
    (app / "compose.yaml").write_text(SLEEPERS)
    compose("up", "-d", "web")
    assert (
        compose("ps", "--format", "{{.Service}} {{.State}}").stdout == "db running\nweb running\n"
    )
    table = compose("ps", "--format", "table {{.Name}}\\t{{.Service}}").stdout.splitlines()
    assert table[0].split() == ["NAME", "SERVICE"]
    assert table[1].split() == ["shop-db-1", "db"]
    exposed = sh.docker("inspect", "-f", "{{json .Config.ExposedPorts}}", "shop-web-1").stdout
    assert "6001/udp" in exposed
    plain = compose("run", "-d", "--rm", "--no-deps", "web", "sleep", "600").stdout.strip()
    named = compose("run", "-d", "--use-aliases", "web", "sleep", "600").stdout.strip()
    form = "{{json .NetworkSettings.Networks}}"
    networks = [json.loads(sh.docker("inspect", "-f", form, c).stdout) for c in (plain, named)]
    without, with_aliases = (n["shop_default"]["Aliases"] for n in networks)
    assert "web" not in without
    assert "web" in with_aliases
    sh.docker("rm", "-f", named)
    client = Client(daemon.host, environ={})
    gone = containers.wait(client, plain, "removed")
    sh.docker("kill", plain)
    containers.exit_code(gone)
    assert plain not in sh.docker("ps", "-aq", "--no-trunc").stdout


def test_a_reader_that_goes_keeps_nothing_from_being_done(  # type: ignore[no-untyped-def]
    compose, app: Path, sh: Shell, sampan: str
) -> None:
    names = "".join(
        f"  s{n}:\n    image: busybox\n    init: false\n    command: sleep 100\n" for n in range(6)
    )
    (app / "compose.yaml").write_text(f"services:\n{names}")
    for command, left in (("up -d", 6), ("down -t 0", 0)):
        done = sh("sh", "-c", f"{sampan} compose {command} 2>&1 | head -n 1", cwd=app, timeout=60)
        assert len(done.stdout.splitlines()) == 1
        assert wait_until(lambda left=left: len(sh.docker("ps", "-q").stdout.split()) == left, 20)  # type: ignore[misc]
