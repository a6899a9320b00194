"""Authorization plugins, with the stock docker command."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sampan.testing.clients import Shell
from sampan.testing.daemon import DaemonProcess, running_daemon, short_directory
from sampan.testing.place import wait_until
from sampan.testing.plugins.process import PluginProcess, running_plugin

PRIVILEGED = "authorization denied by plugin guard: privileged containers are not allowed"


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with short_directory() as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def guards(place: Path) -> Iterator[tuple[PluginProcess, PluginProcess]]:
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(running_plugin("authz", name, place / "run", place / name))
            for name in ("guard", "second")
        )
        yield first, second


@pytest.fixture(scope="module")
def guarded(
    place: Path,
    guards: tuple[PluginProcess, PluginProcess],
    with_busybox: Callable[[DaemonProcess], None],
) -> Iterator[DaemonProcess]:
    file = place / "daemon.json"
    file.write_text(json.dumps({"authorization-plugins": ["guard", "second"]}))
    arguments = ("--config", str(file), "--plugin-sockets", str(place / "run"))
    with running_daemon(place / "d", *arguments, "--plugin-timeout", "2") as daemon:
        with_busybox(daemon)
        yield daemon
        assert daemon.settled() == {}, daemon.tail()


@pytest.fixture
def sh(guarded: DaemonProcess, guards: tuple[PluginProcess, PluginProcess]) -> Iterator[Shell]:
    for plugin in guards:
        plugin.forget_calls()
    yield Shell(guarded)
    for plugin in guards:
        plugin.behave()
        if plugin.process is None:
            plugin.start()


@pytest.fixture
def guard(guards: tuple[PluginProcess, PluginProcess]) -> PluginProcess:
    return guards[0]


@pytest.fixture
def second(guards: tuple[PluginProcess, PluginProcess]) -> PluginProcess:
    return guards[1]


def test_a_privileged_container_is_denied_and_the_rest_is_allowed(
    sh: Shell, guard: PluginProcess, second: PluginProcess
) -> None:
    denied = sh.docker("run", "--rm", "--privileged", "busybox", "true", ok=False)
    assert denied.returncode == 125
    assert PRIVILEGED in denied.stderr
    creates = [c for c in guard.calls() if "/containers/create" in c.request["RequestUri"]]
    assert [c.method for c in creates] == ["AuthZPlugin.AuthZReq"]
    assert not [c for c in second.calls() if "/containers/create" in c.request["RequestUri"]]
    assert sh.docker("ps", "-aq").stdout == ""
    assert sh.docker("run", "--rm", "busybox", "echo", "hello").stdout == "hello\n"
    assert "Authorization: guard second" in sh.docker("info").stdout


def test_a_plugin_sees_requests_and_answers(sh: Shell, second: PluginProcess) -> None:
    sh.docker("create", "--name", "seen", "--label", "of=test", "busybox", "true")
    try:
        create = [
            c for c in second.calls() if "/containers/create?name=seen" in c.request["RequestUri"]
        ]
        asked, answered = (c.request for c in create)
        assert asked["RequestMethod"] == "POST"
        body = json.loads(base64.b64decode(asked["RequestBody"]))
        assert body["Labels"] == {"of": "test"}
        assert asked["RequestHeaders"]["Content-Type"] == "application/json"
        assert answered["ResponseStatusCode"] == 201
        made = json.loads(base64.b64decode(answered["ResponseBody"]))
        assert len(made["Id"]) == 64
        assert answered["ResponseHeaders"]["Content-Type"].startswith("application/json")
    finally:
        sh.docker("rm", "seen")


def test_an_answer_can_be_held_back(sh: Shell) -> None:
    sh.docker("create", "--name", "secret", "busybox", "true")
    try:
        listed = sh.docker("ps", "-a", ok=False)
        assert "authorization denied by plugin guard: this is secret" in listed.stderr
        assert listed.stdout == ""
        assert sh.docker("inspect", "secret", ok=False).returncode == 1
    finally:
        sh.docker("rm", "secret")


def test_passwords_are_not_shown(sh: Shell, guard: PluginProcess) -> None:
    sh.docker("login", "-u", "u", "-p", "hunter2", "127.0.0.1:1", ok=False)
    calls = [c for c in guard.calls("AuthZPlugin.AuthZReq") if "/auth" in c.request["RequestUri"]]
    assert calls
    assert all("RequestBody" not in call.request for call in calls)


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        (
            "hang",
            'plugin second failed with error: plugin "second": AuthZPlugin.AuthZReq: no answer within 2 s',
        ),
        ("garbage", "plugin second failed with error"),
        ("error", "the disk is on fire"),
    ],
)
def test_a_plugin_that_does_not_decide_denies(
    sh: Shell, second: PluginProcess, how: str, problem: str
) -> None:
    second.behave(AuthZPlugin_AuthZReq=how)  # type: ignore[arg-type]
    denied = sh.docker("ps", ok=False)
    assert denied.returncode == 1
    assert problem in denied.stderr


def test_a_plugin_that_is_gone_denies_until_it_is_back(
    sh: Shell, guarded: DaemonProcess, second: PluginProcess
) -> None:
    second.stop()
    denied = sh.docker("ps", ok=False)
    assert "plugin second failed with error" in denied.stderr
    assert "cannot connect: Connection refused" in denied.stderr
    second.start()
    sh.docker("ps")


def test_what_is_larger_than_plugins_see_is_denied_when_it_might_be_json(
    sh: Shell, tmp_path: Path
) -> None:
    """Docker lets it pass unseen: CVE-2024-41110's kind of way around."""
    body = tmp_path / "body"
    body.write_text(
        json.dumps({"Image": "busybox", "HostConfig": {"Privileged": True}}) + " " * (1 << 20)
    )
    socket = str(sh.daemon.socket)
    for header in ("Content-Type: application/json", "Content-Type:"):
        for encoding in (
            "Content-Length: " + str(body.stat().st_size),
            "Transfer-Encoding: chunked",
        ):
            headers = ["-H", header, "-H", encoding, "-H", "Expect:"]
            command = ["curl", "-sS", "--unix-socket", socket, *headers]
            command += ["--data-binary", f"@{body}", "http://d/containers/create"]
            said = subprocess.run(command, capture_output=True, text=True, check=True)
            assert "larger than 1 MiB" in said.stdout, (header, encoding)
    assert sh.docker("ps", "-aq").stdout == ""


def test_streams_and_what_is_not_json_pass(sh: Shell, tmp_path: Path) -> None:
    script = "echo out; echo data >/file; exec sleep 900"
    sh.docker("run", "-d", "--name", "plain", "busybox", "sh", "-c", script)
    try:
        assert wait_until(lambda: sh.docker("logs", "plain").stdout == "out\n")
        sh.docker("cp", "plain:/file", str(tmp_path / "file"))
        assert (tmp_path / "file").read_text() == "data\n"
        (tmp_path / "big").write_bytes(b"x" * (3 << 20))
        sh.docker("cp", str(tmp_path / "big"), "plain:/big")
        counted = sh.docker("exec", "-i", "plain", "wc", "-c", stdin=b"x" * (3 << 20))
        assert counted.stdout == f"{3 << 20}\n"
        (tmp_path / "Dockerfile").write_text("FROM busybox\nCOPY big /\nRUN test -s /big\n")
        sh.docker("build", "-t", "built", str(tmp_path), env={"DOCKER_BUILDKIT": "0"})
        sh.docker("rmi", "built")
    finally:
        sh.docker("rm", "-f", "plain")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command")
def test_a_client_certificate_says_who_asks(place: Path, guard: PluginProcess) -> None:
    key, certificate = place / "key.pem", place / "cert.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    command += f" -subj /CN=alice -addext subjectAltName=IP:127.0.0.1 -keyout {key}"
    subprocess.run([*command.split(), "-out", certificate], check=True, capture_output=True)
    tls = ["--tlsverify", "--tlscacert", str(certificate), "--tlscert", str(certificate)]
    arguments = [*tls, "--tlskey", str(key), "--plugin-sockets", str(place / "run")]
    arguments += ["--authorization-plugin", "guard", "-H", "tcp://127.0.0.1:23761"]
    with running_daemon(place / "t", *arguments) as daemon:
        guard.forget_calls()
        url = "https://127.0.0.1:23761/version"
        subprocess.run(
            ["curl", "-sSf", "--cacert", certificate, "--cert", certificate, "--key", key, url],
            check=True,
            capture_output=True,
        )
        asked = next(c.request for c in guard.calls() if c.request["RequestUri"] == "/version")
        assert (asked["User"], asked["UserAuthNMethod"]) == ("alice", "TLS")
        (shown,) = asked["RequestPeerCertificates"]
        assert base64.b64decode(shown).strip() == certificate.read_bytes().strip()
        assert daemon.answers()


def test_a_daemon_starts_without_its_plugin_and_lets_nobody_in_until_it_is_there(
    place: Path,
) -> None:
    """After a reboot nobody can say which of the two is first."""
    arguments = ("--plugin-sockets", str(place / "run"), "--authorization-plugin", "late")
    daemon = DaemonProcess(place / "e", *arguments, "--plugin-timeout", "1")
    daemon.base.mkdir()
    with daemon.log.open("ab") as log:
        daemon.process = daemon.place.spawn(daemon.command, stdout=log, stderr=log)
    shell = Shell(daemon)
    try:
        assert wait_until(lambda: "is ready on" in daemon.tail(), 20)
        denied = shell.docker("ps", ok=False)
        assert 'plugin late failed with error: plugin "late" not found' in denied.stderr
        with running_plugin("authz", "late", place / "run", place / "late"):
            shell.docker("ps")
    finally:
        daemon.destroy()


def test_managed_plugins_are_refused_by_name(sh: Shell) -> None:
    assert sh.docker("plugin", "ls", "-q").stdout == ""
    refused = sh.docker("plugin", "install", "--grant-all-permissions", "vieux/sshfs", ok=False)
    assert "plugin docker.io/vieux/sshfs cannot be installed: managed plugins" in refused.stderr
    missing = sh.docker("plugin", "inspect", "vieux/sshfs", ok=False)
    assert missing.returncode == 1
    # a docker of 2023 says the second whatever the answer was
    assert "not found" in missing.stderr or "No such plugin: vieux/sshfs" in missing.stderr
