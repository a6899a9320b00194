"""A host that lacks something says so, before a user runs into it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from sampan.components import CONMON, ETCD, INIT, Command, Component
from sampan.testing.clients import Shell
from sampan.testing.daemon import DaemonProcess, short_directory


def path_without(directory: Path, *lacking: Component) -> str:
    """A ``PATH`` of links to everything that this host's has, but for some components."""
    names = {n for c in lacking if isinstance(c.found_as, Command) for n in c.found_as.names}
    directory.mkdir()
    for place in map(Path, os.environ["PATH"].split(":")):
        for program in place.iterdir() if place.is_dir() else ():
            if program.name not in names and not (directory / program.name).is_symlink():
                (directory / program.name).symlink_to(program)
    return str(directory)


def test_what_is_missing_is_named_by_info_and_by_the_log_and_by_the_error(
    with_busybox: Callable[[DaemonProcess], None],
) -> None:
    with short_directory() as base:
        daemon = DaemonProcess(Path(base) / "d")
        daemon.path = path_without(Path(base) / "bin", INIT, ETCD)
        try:
            daemon.start()
            sh = Shell(daemon)
            with_busybox(daemon)
            said = json.loads(sh.docker("info", "--format", "{{json .Warnings}}").stdout)
            wanted = "no init found: `--init` will fail; install catatonit"
            assert f"WARNING: {wanted}" in said
            assert [line for line in said if "install" in line] == [
                f"WARNING: {lack.cure}" for lack in (INIT, ETCD)
            ]
            assert f"WARNING sampan: {wanted}\n" in daemon.log.read_text()

            run = ("run", "--rm", "--init", "busybox", "true")
            assert wanted in sh.docker(*run, ok=False).stderr
            made = sh.docker("swarm", "init", "--advertise-addr", "127.0.0.1", ok=False)
            assert ETCD.cure in made.stderr

            # installed while the daemon runs, it is there
            init = Path(daemon.path) / "catatonit"
            init.symlink_to("/usr/bin/catatonit")
            sh.docker(*run)
            assert wanted not in sh.docker("info").stdout
        finally:
            daemon.destroy()


def test_a_daemon_that_could_run_nothing_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sampan.api.daemon", "--root", str(tmp_path / "root")],
        env=os.environ | {"PATH": path_without(tmp_path / "bin", CONMON)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"sampand: {CONMON.cure}\n"
    assert not (tmp_path / "root").exists()
