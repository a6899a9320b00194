"""The daemon as a process of the host: its pid file, its directory, and how it refuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sampan.testing.clients import Shell
from sampan.testing.daemon import DaemonProcess, running_daemon, short_directory

SAMPAND = [sys.executable, "-m", "sampan.api.daemon"]


def refused(*arguments: str) -> str:
    """What a daemon says that does not start."""
    done = subprocess.run(
        [*SAMPAND, *arguments], check=False, capture_output=True, text=True, timeout=30
    )
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    return done.stderr


def test_tells_its_pid_for_as_long_as_it_runs(own_daemon: DaemonProcess) -> None:
    told = own_daemon.state / "sampand.pid"
    assert own_daemon.process
    assert told.read_text() == f"{own_daemon.process.pid}\n"
    own_daemon.kill()
    assert told.exists()
    own_daemon.start()
    assert told.read_text() == f"{own_daemon.process.pid}\n"
    assert own_daemon.stop() == 0
    assert not told.exists()


def test_relative_paths_are_the_starters_and_nothing_is_left_there() -> None:
    with short_directory() as base:
        where = Path(base) / "here"
        where.mkdir()
        config = where / "daemon.json"
        config.write_text(json.dumps({"pidfile": "the.pid"}))
        command = [*SAMPAND, "--root", "root", "--state", "state"]
        command += ["--host", "unix://sampan.sock"]
        daemon = DaemonProcess(where)
        process = subprocess.Popen(
            [*command, "--config", "daemon.json"],
            cwd=where, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert process.stderr
            assert any("is ready on" in line for line in process.stderr)
            assert daemon.answers()
            assert (where / "the.pid").read_text() == f"{process.pid}\n"
            assert Path(os.readlink(f"/proc/{process.pid}/cwd")) == daemon.state
        finally:
            process.terminate()
            assert process.wait(20) == 0
            daemon.destroy()


def test_out_of_memory_leaves_no_file_where_the_daemon_was_started(
    own_daemon: DaemonProcess,
) -> None:
    sh = Shell(own_daemon)
    before = time.time()
    sh.docker(
        "run", "--name", "eats", "-m", "8m", "--memory-swap", "8m", "busybox",
        "tail", "/dev/zero", ok=False,
    )  # fmt: skip
    assert sh.docker("inspect", "-f", "{{.State.OOMKilled}}", "eats").stdout == "true\n"
    for place in (Path("oom"), Path("/oom")):
        assert not place.exists() or place.stat().st_mtime < before


def test_a_second_daemon_names_the_first(own_daemon: DaemonProcess) -> None:
    assert own_daemon.process
    said = refused(
        "--root", str(own_daemon.root), "--state", str(own_daemon.state),
        "--host", f"unix://{own_daemon.base}/other.sock",
    )  # fmt: skip
    assert f"another sampand (pid {own_daemon.process.pid})" in said
    assert (own_daemon.state / "sampand.pid").read_text() == f"{own_daemon.process.pid}\n"


def test_configuration_mistakes_name_file_and_key(tmp_path: Path) -> None:
    config = tmp_path / "daemon.json"
    for text, said in (
        ('{"no-such-key": 1}', "no-such-key"),
        ('{"dns": "1.1.1.1"}', "$.dns"),
        ("{", "daemon.json"),
        ('{"hosts": ["udp://x"]}', "udp://x"),
    ):
        config.write_text(text)
        assert said in (answer := refused("--config", str(config)))
        assert str(config) in answer or "udp" in answer
    config.write_text('{"data-root": "/x"}')
    assert "data-root" in refused("--config", str(config), "--root", str(tmp_path / "r"))


def test_a_stale_socket_gives_way_and_a_file_does_not() -> None:
    with short_directory() as base, running_daemon(Path(base) / "d") as daemon:
        daemon.kill()
        assert daemon.socket.exists()
        daemon.start()
        daemon.stop()
        assert not daemon.socket.exists()
        daemon.socket.write_text("precious")
        said = refused(
            "--root", str(daemon.root), "--state", str(daemon.state), "--host", daemon.host
        )
        assert "is not a socket" in said
        assert daemon.socket.read_text() == "precious"


def test_a_volume_on_etc_does_not_hide_the_files_of_the_container(daemon: DaemonProcess) -> None:
    sh = Shell(daemon)
    out = sh.docker(
        "run", "--rm", "-h", "me", "-v", "/etc", "busybox", "cat", "/etc/hosts", "/etc/hostname"
    ).stdout
    assert "127.0.0.1\tlocalhost" in out
    assert out.endswith("me\n")


def test_what_holds_up_its_loop_is_found_in_its_log(
    with_busybox: Callable[[DaemonProcess], None],
) -> None:
    # The files of a run are read on the loop, for they are in memory. Not here.
    with short_directory() as base:
        daemon = DaemonProcess(Path(base) / "d")
        daemon.state = daemon.root / "state"
        try:
            daemon.start()
            with_busybox(daemon)
            Shell(daemon).docker("run", "--rm", "busybox", "true")
            found = DaemonProcess.held_up()
        finally:
            daemon.destroy()
    DaemonProcess.held_up()
    assert "held up" in found[0]
    assert re.search(r'File ".*sampan/.*\.py", line \d+', "".join(found))
