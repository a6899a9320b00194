"""The daemon's command line and daemon.json."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
from pathlib import Path

import msgspec
import pytest

from sampan.api import preflight
from sampan.api.foreign_options import HARMLESS, NO_EFFECT
from sampan.api.lock import locked
from sampan.api.options import DaemonFile, load
from sampan.config import RuntimeProgram
from sampan.engine.spec.defaults import with_daemons_defaults
from sampan.errors import Conflict, InvalidArgument
from sampan.http.sockets import open_unix
from sampan.store.records import HostConfig


def file(tmp_path: Path, **keys: object) -> str:
    path = tmp_path / "daemon.json"
    path.write_text(json.dumps({name.replace("_", "-"): value for name, value in keys.items()}))
    return str(path)


def test_everything_has_a_default(tmp_path: Path) -> None:
    config = load(["--config", file(tmp_path)]).config
    assert str(config.paths.root) == "/var/lib/sampan"
    assert config.hosts == ("unix:///run/sampan/sampan.sock",)
    assert config.default_shm_bytes == 64 << 20


def test_the_file_takes_dockers_keys(tmp_path: Path) -> None:
    config = load(
        [
            "--config",
            file(
                tmp_path,
                data_root="/r",
                exec_root="/s",
                registry_mirrors=["http://m"],
                bip="10.1.0.1/24",
                default_address_pools=[{"base": "10.2.0.0/16", "size": 24}],
                dns=["9.9.9.9"],
                debug=True,
                runtimes={"mine": {"path": "/bin/mine", "runtimeArgs": ["--debug"]}},
                log_driver="local",
                log_opts={"max-size": "5m"},
                default_ulimits={"nofile": {"Name": "nofile", "Soft": 1, "Hard": 2}},
                default_shm_size="128M",
                iptables=False,
                shutdown_timeout=3,
            ),
        ]
    ).config
    assert (str(config.paths.root), str(config.paths.state)) == ("/r", "/s")
    assert config.hosts == ("unix:///s/sampan.sock",)
    assert config.default_bridge_subnet == "10.1.0.1/24"
    assert config.default_address_pools == (("10.2.0.0/16", 24),)
    assert config.log_level == "debug"
    assert config.runtimes == {"mine": RuntimeProgram("/bin/mine", ("--debug",))}
    assert config.default_ulimits == {"nofile": (1, 2)}
    assert config.default_shm_bytes == 128 << 20
    assert not config.iptables
    assert config.shutdown_timeout_s == 3


@pytest.mark.parametrize(
    ("keys", "arguments", "sentence"),
    [
        ({"nope": 1}, [], "nope is nothing that sampand takes: remove it"),
        ({"dns": "9.9.9.9"}, [], "dns"),
        ({"log_level": "loud"}, [], "log-level"),
        ({"default_shm_size": "much"}, [], "default-shm-size"),
        ({"data_root": "/a"}, ["--root", "/b"], "data-root"),
        ({"hosts": ["tcp://0.0.0.0:2375"]}, [], "without client certificates"),
        ({}, ["-H", "http://x"], "unix://PATH or tcp://"),
        ({}, ["-H", "tcp://x:1", "--tlsverify", "--tlscacert", "a"], "client certificates"),
    ],
)
def test_mistakes_are_named(
    tmp_path: Path, keys: dict[str, object], arguments: list[str], sentence: str
) -> None:
    with pytest.raises(InvalidArgument, match=sentence):
        load(["--config", file(tmp_path, **keys), *arguments])


def test_a_runtime_whose_program_is_not_there_is_warned_of(tmp_path: Path) -> None:
    runtimes = {"gone": {"path": "/no/such/program"}, "there": {"path": sys.executable}}
    config = load(["--config", file(tmp_path, runtimes=runtimes)]).config
    found = [warning for warning in preflight.warnings(config) if "runtime" in warning]
    assert len([warning for warning in found if "daemon.json" in warning]) == 1
    assert any("/no/such/program" in w and "`--runtime gone` will fail" in w for w in found)


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="does not exist"):
        load(["--config", str(tmp_path / "none.json")])


def test_one_daemon_a_root(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(Conflict, match=f"pid {os.getpid()}"), locked(tmp_path):
            pass
    with locked(tmp_path):
        pass
    with open(tmp_path / "sampand.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with open_unix(path, "no such group") as first:
        assert path.stat().st_mode & 0o777 == 0o660
        first.listen()
        with pytest.raises(Conflict, match="another process listens"):
            open_unix(path, "no such group")
    with open_unix(path, "root") as second:
        assert isinstance(second, socket.socket)


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(Conflict, match="not a socket"):
        open_unix(path, "root")
    assert path.read_text() == "precious"


def test_plugins_are_looked_for_where_the_file_or_the_command_line_says(tmp_path: Path) -> None:
    usual = load(["--config", file(tmp_path)]).config.plugins
    assert str(usual.sockets) == "/run/docker/plugins"
    assert [str(d) for d in usual.specifications] == [
        "/etc/docker/plugins",
        "/usr/lib/docker/plugins",
    ]
    assert (usual.connect_s, usual.answer_s, usual.authorization) == (30, 120, ())
    said = file(tmp_path, authorization_plugins=["a", "b", "a"], plugin_timeout=60)
    more = ["--plugin-sockets", "/s", "--plugin-specs", "/e", "--plugin-specs", "/l"]
    config = load(["--config", said, *more]).config.plugins
    assert str(config.sockets) == "/s"
    assert [str(directory) for directory in config.specifications] == ["/e", "/l"]
    assert (config.connect_s, config.answer_s, config.authorization) == (30, 60, ("a", "b"))
    short = load(["--config", file(tmp_path), "--plugin-timeout", "2"]).config.plugins
    assert (short.connect_s, short.answer_s) == (2, 2)
    with pytest.raises(InvalidArgument, match="plugin-timeout: 0: give 1 second or more"):
        load(["--config", file(tmp_path), "--plugin-timeout", "0"])


def keyed(tmp_path: Path, key: str, value: object) -> str:
    path = tmp_path / "daemon.json"
    path.write_text(json.dumps({key: value}))
    return str(path)


@pytest.mark.parametrize("key", sorted(NO_EFFECT))
def test_a_key_without_a_meaning_here_is_named(tmp_path: Path, key: str) -> None:
    options = load(["--config", keyed(tmp_path, key, "anything")])
    assert len(options.warnings) == 1
    assert f"{key} has no effect: {NO_EFFECT[key]}" in options.warnings[0]


@pytest.mark.parametrize("key", sorted(HARMLESS))
def test_a_key_that_must_not_be_ignored_stops_the_start(tmp_path: Path, key: str) -> None:
    for value in HARMLESS[key]:
        assert load(["--config", keyed(tmp_path, key, value)]).warnings == ()
    with pytest.raises(InvalidArgument, match=f"daemon.json: {key}: 'other' is not supported"):
        load(["--config", keyed(tmp_path, key, "other")])


def test_no_key_is_in_two_places() -> None:
    ours = {field.encode_name for field in msgspec.structs.fields(DaemonFile)}
    assert not ours & (NO_EFFECT.keys() | HARMLESS.keys())
    assert not NO_EFFECT.keys() & HARMLESS.keys()


def test_a_daemon_that_lets_containers_run_on_says_so(tmp_path: Path) -> None:
    assert load(["--config", keyed(tmp_path, "live-restore", True)]).warnings == ()
    (warning,) = load(["--config", keyed(tmp_path, "live-restore", False)]).warnings
    assert "live-restore: false has no effect" in warning


def test_defaults_of_containers(tmp_path: Path) -> None:
    config = load(
        [
            "--config",
            file(tmp_path, init=True, no_new_privileges=True, default_cgroupns_mode="host"),
        ]
    ).config
    host = with_daemons_defaults(HostConfig(), config)
    assert host.init
    assert host.security_opt == ("no-new-privileges",)
    assert host.cgroupns_mode == "host"
    own = HostConfig(init=False, security_opt=("no-new-privileges=false",), cgroupns_mode="private")
    kept = with_daemons_defaults(own, config)
    assert (kept.init, kept.security_opt, kept.cgroupns_mode) == (
        False, own.security_opt, "private",
    )  # fmt: skip
    with pytest.raises(InvalidArgument, match="default-cgroupns-mode"):
        load(["--config", file(tmp_path, default_cgroupns_mode="odd")])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bip", "abc"),
        ("bip", "10.0.0.1"),
        ("dns", ["abc"]),
        ("dns", ["1.1.1.1\nnameserver 6.6.6.6"]),
        ("dns-search", ["a b"]),
        ("labels", ["x"]),
        ("registry-mirrors", ["x y"]),
        ("insecure-registries", ["???"]),
    ],
)
def test_a_wrong_value_stops_the_start_with_its_key(
    tmp_path: Path, key: str, value: object
) -> None:
    with pytest.raises(InvalidArgument, match=key):
        load(["--config", keyed(tmp_path, key, value)])
    if isinstance(value, str):
        with pytest.raises(InvalidArgument, match=key):
            load(["--config", file(tmp_path), f"--{key}", value])


def test_registries_as_people_write_them(tmp_path: Path) -> None:
    names = ["reg.example:5000", "10.0.0.0/8", "[::1]:5000", "https://m.example/path/", "localhost"]
    said = file(tmp_path, insecure_registries=names, registry_mirrors=names)
    assert load(["--config", said]).config.insecure_registries == tuple(names)
