"""Log, volume and runtime drivers through a real daemon and the stock client."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sampan.testing.clients import Shell
from sampan.testing.daemon import DaemonProcess, running_daemon, short_directory
from sampan.testing.place import wait_until


def info(sh: Shell) -> dict[str, object]:
    found: dict[str, object] = json.loads(sh.docker("info", "--format", "{{json .}}").stdout)
    return found


def test_info_tells_what_there_is(sh: Shell) -> None:
    said = info(sh)
    plugins = said["Plugins"]
    assert isinstance(plugins, dict)
    assert plugins["Log"] == ["json-file", "local", "none"]
    assert plugins["Volume"] == ["local"]
    assert {"bridge", "host", "null", "overlay"} <= set(plugins["Network"])
    assert said["LoggingDriver"] == "json-file"
    runtimes = said["Runtimes"]
    assert isinstance(runtimes, dict)
    assert {name: shutil.which(name) for name in runtimes} == {
        name: runtime["path"] for name, runtime in runtimes.items()
    }
    init = said["InitBinary"]
    assert isinstance(init, str)
    assert not init or shutil.which(init)


def test_options_of_logs(sh: Shell) -> None:
    done = sh.docker("run", "--rm", "--log-opt", "nosuch=1", "busybox", "true", ok=False)
    assert "unknown log opt 'nosuch' for json-file log driver" in done.stderr
    done = sh.docker("run", "--rm", "--log-opt", "compress=true", "busybox", "true", ok=False)
    assert "compress cannot be true when max-file is less than 2" in done.stderr
    done = sh.docker("run", "--rm", "--log-driver", "syslog", "busybox", "true", ok=False)
    assert "logger: no log driver named 'syslog' is registered" in done.stderr
    sh.docker("run", "--rm", "--log-opt", "max-file=3", "busybox", "true")
    chosen = ("--log-opt", "labels=la", "--log-opt", "env=EA", "--log-opt", "tag={{.Name}}")
    given = ("--label", "la=lb", "--label", "other=x", "-e", "EA=eb")
    sh.docker("run", "--name", "detailed", *given, *chosen, "busybox", "echo", "line")
    assert sh.docker("logs", "detailed").stdout == "line\n"
    assert sh.docker("logs", "--details", "detailed").stdout == "EA=eb,la=lb,tag=detailed line\n"


def test_complete_files_of_a_log_are_compressed_and_read_back(sh: Shell) -> None:
    options = ("max-size=20k", "max-file=50", "compress=true")
    given = [word for option in options for word in ("--log-opt", option)]
    count = "i=0; while [ $i -lt 4000 ]; do echo line $i; i=$((i+1)); done; sleep 1000"
    sh.docker("run", "-d", "--name", "packed", *given, "busybox", "sh", "-c", count)
    path = Path(sh.docker("inspect", "-f", "{{.LogPath}}", "packed").stdout.strip())
    whole = [f"line {n}" for n in range(4000)]
    assert wait_until(lambda: sh.docker("logs", "packed").stdout.splitlines() == whole)
    assert wait_until(lambda: list(path.parent.glob(f"{path.name}.*.gz")))
    assert sh.docker("logs", "packed").stdout.splitlines() == whole
    assert sh.docker("logs", "--tail", "3990", "packed").stdout.splitlines() == whole[10:]
    sh.docker("rm", "-f", "packed")
    assert not list(path.parent.glob(f"{path.name}*"))


def test_a_volume_driver_that_is_not_there(sh: Shell) -> None:
    done = sh.docker("volume", "create", "-d", "flocker", "vv", ok=False)
    assert 'error looking up volume plugin flocker: plugin "flocker" not found' in done.stderr
    assert sh.docker("volume", "ls", "-q").stdout == ""


def test_an_option_that_a_network_has_not_is_warned_of(
    sh: Shell, sampan: str, tmp_path: Path
) -> None:
    known, unknown = "com.docker.network.driver.mtu", "com.docker.network.bridge.mtu"
    options = ("-o", f"{known}=1400", "-o", f"{unknown}=1400")
    done = sh(sampan, "network", "create", *options, "odd")
    assert done.stderr.startswith("WARNING: network odd: its driver bridge has no option ")
    assert unknown in done.stderr
    assert known not in done.stderr
    done = sh(sampan, "network", "create", "-o", f"{known}=1400", "even")
    assert done.stderr == ""
    file = tmp_path / "compose.yaml"
    options_of_it = f"driver_opts: {{{unknown}: 1400}}"
    file.write_text(
        "services:\n  a: {image: busybox, command: 'true', networks: [n]}\n"
        f"networks:\n  n: {{{options_of_it}}}\n"
    )
    done = sh(sampan, "compose", "-f", str(file), "-p", "odd", "up", "-d")
    assert f"odd_n: its driver bridge has no option {unknown}" in done.stderr + done.stdout
    sh(sampan, "compose", "-f", str(file), "-p", "odd", "down", "-t", "0")
    sh(sampan, "network", "rm", "odd", "even")


@pytest.mark.skipif(shutil.which("runc") is None, reason="runc is not installed")
def test_exec_in_a_container_of_another_runtime(sh: Shell) -> None:
    sh.docker("run", "-d", "--name", "other", "--runtime", "runc", "busybox", "sleep", "1000")
    assert sh.docker("exec", "other", "echo", "in").stdout == "in\n"
    done = sh.docker("exec", "other", "nosuchcommand", ok=False)
    assert done.returncode == 127
    assert "executable file not found" in done.stdout + done.stderr


def test_the_daemons_own_drivers(tmp_path: Path, busybox_tar: Path) -> None:
    """``log-driver``, ``log-opts`` and ``runtimes`` of daemon.json."""
    notes = tmp_path / "notes"
    program = tmp_path / "noting"
    program.write_text(f'#!/bin/sh\necho "$@" >> {notes}\nexec crun "$@"\n')
    program.chmod(0o755)
    settings = {
        "log-driver": "local",
        "log-opts": {"max-size": "3m"},
        "default-runtime": "noting",
        "runtimes": {"noting": {"path": str(program), "runtimeArgs": ["--debug"]}},
    }
    file = tmp_path / "daemon.json"
    file.write_text(json.dumps(settings))
    with short_directory() as base, running_daemon(Path(base) / "d", "--config", str(file)) as own:
        sh = Shell(own)
        sh.docker("import", "--change", 'CMD ["sh"]', str(busybox_tar), "busybox:latest")
        said = info(sh)
        assert (said["LoggingDriver"], said["DefaultRuntime"]) == ("local", "noting")
        runtimes = said["Runtimes"]
        assert isinstance(runtimes, dict)
        assert runtimes["noting"] == {"path": str(program), "runtimeArgs": ["--debug"]}
        sh.docker("run", "--name", "boat", "busybox", "echo", "hi")
        host = json.loads(sh.docker("inspect", "boat").stdout)[0]["HostConfig"]
        assert host["LogConfig"] == {"Type": "local", "Config": {"max-size": "3m"}}
        assert host["Runtime"] == "noting"
        assert sh.docker("logs", "boat").stdout == "hi\n"
        assert "--debug create" in notes.read_text()
        sh.docker("rm", "boat")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"log-driver": "gelf"}, "no log driver named 'gelf' is registered"),
        ({"log-opts": {"nosuch": "1"}}, "unknown log opt 'nosuch' for json-file log driver"),
        ({"default-runtime": "kata"}, "unknown or invalid runtime name: kata"),
        (
            {"runtimes": {"kata": {"runtimeType": "io.containerd.kata.v2"}}},
            "runtimes.kata: runtimeType is not supported",
        ),
        (
            {"runtimes": {"x": {"path": "/bin/true", "options": {"BinaryName": "y"}}}},
            "runtimes.x: options is not supported",
        ),
    ],
)
def test_a_daemon_that_cannot_do_as_told_does_not_start(
    tmp_path: Path, settings: dict[str, object], sentence: str
) -> None:
    file = tmp_path / "daemon.json"
    file.write_text(json.dumps(settings))
    with short_directory() as base:
        daemon = DaemonProcess(Path(base) / "d", "--config", str(file))
        try:
            with pytest.raises(RuntimeError, match="ended at start"):
                daemon.start()
            assert sentence in daemon.tail()
        finally:
            daemon.destroy()
