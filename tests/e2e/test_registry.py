"""The stock docker command, a real daemon, and registries that behave and misbehave."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sampan.testing.clients import DOCKER, Shell
from sampan.testing.daemon import DaemonProcess
from sampan.testing.registry import Registry, digest_of, image_config, layer_tar, manifest, registry

ACCOUNT = "u:$2b$04$VYvwnW5O3h1K7PM3o/dHzeQw/SqlD/P/wjDEed/msXaKQtf4ndFvW\n"
"""Password: secret."""
LAYER = layer_tar({"etc/": "", "etc/a": "1", "big": os.urandom(1_500_000).hex()})
WAIT_S = 30.0


@contextmanager
def running(tmp: Path, htpasswd: str = "") -> Iterator[Registry]:
    with asyncio.Runner() as runner:
        opening = registry(tmp, htpasswd=htpasswd)
        found = runner.run(opening.__aenter__())
        try:
            yield found
        finally:
            runner.run(opening.__aexit__(None, None, None))


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Registry]:
    with running(tmp_path / "registry") as found:
        yield found


def image_id(sh: Shell, name: str) -> str:
    return sh.docker("inspect", "-f", "{{.Id}}", name).stdout.strip()


def test_push_and_pull(sh: Shell, remote: Registry) -> None:
    name = f"{remote.url}/team/box:1"
    sh.docker("tag", "busybox", name)
    pushed = sh.docker("push", name).stdout
    assert "Pushed" in pushed
    digest = pushed.rpartition("digest: ")[2].split()[0]
    before = image_id(sh, name)
    assert "Layer already exists" in sh.docker("push", name).stdout
    sh.docker("rmi", name)
    assert f"Digest: {digest}" in sh.docker("pull", name).stdout
    assert image_id(sh, name) == before
    assert sh.docker("run", "--rm", name, "echo", "hi").stdout == "hi\n"
    listed = json.loads(sh.docker("inspect", name).stdout)[0]
    assert f"{remote.url}/team/box@{digest}" in listed["RepoDigests"]
    sh.docker("rmi", name)
    by_digest = f"{remote.url}/team/box@{digest}"
    sh.docker("pull", by_digest)
    assert sh.docker("run", "--rm", by_digest, "echo", "hi").stdout == "hi\n"
    sh.docker("rmi", by_digest)
    missing = sh.docker("pull", f"{remote.url}/team/box:2", ok=False)
    assert missing.returncode == 1
    assert "manifest unknown" in missing.stderr


def test_what_the_registry_says_without_a_pull(sh: Shell, remote: Registry) -> None:
    name = f"{remote.url}/box:1"
    sh.docker("tag", "busybox", name)
    digest = sh.docker("push", name).stdout.rpartition("digest: ")[2].split()[0]
    sh.docker("rmi", name)
    asked = sh("curl", "-s", "--unix-socket", str(sh.daemon.socket),
               f"http://d/v1.44/distribution/{name}/json")  # fmt: skip
    found = json.loads(asked.stdout)
    assert found["Descriptor"]["digest"] == digest
    assert found["Platforms"] == [{"architecture": "amd64", "os": "linux"}]


def test_a_registry_that_wants_a_login(sh: Shell, tmp_path: Path) -> None:
    with running(tmp_path / "locked", ACCOUNT) as locked:
        name = f"{locked.url}/box:1"
        sh.docker("tag", "busybox", name)
        refused = sh.docker("push", name, ok=False)
        assert refused.returncode == 1
        assert "denied" in refused.stderr
        wrong = sh.docker("login", "-u", "u", "-p", "wrong", locked.url, ok=False)
        assert wrong.returncode == 1
        assert "unauthorized" in wrong.stderr.lower()
        login = sh.docker("login", "-u", "u", "-p", "secret", locked.url)
        assert "Login Succeeded" in login.stdout
        sh.docker("push", name)
        sh.docker("rmi", name)
        sh.docker("pull", name)
        sh.docker("rmi", name)
        sh.docker("logout", locked.url)
        refused = sh.docker("pull", name, ok=False)
        assert refused.returncode == 1
        assert "denied" in refused.stderr


# ---------------------------------------------------------------- one that misbehaves


class Misbehaving(ThreadingHTTPServer):
    """Serves ``x:latest`` and delivers its layer as told."""

    daemon_threads = True

    def __init__(self, deliver: Callable[[Misbehaving, Delivery], None]) -> None:
        super().__init__(("127.0.0.1", 0), Delivery)
        self.blob = gzip.compress(LAYER, 0, mtime=0)
        self.config = image_config([LAYER], {"Cmd": ["x"]})
        self.deliver = deliver
        self.tries = 0
        self.half = threading.Event()
        self.free = threading.Event()

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}/x:latest"


class Delivery(BaseHTTPRequestHandler):
    server: Misbehaving
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        config = (digest_of(server.config), len(server.config))
        if "/manifests/" in self.path:
            self.whole(manifest(config, [(digest_of(server.blob), len(server.blob))]))
        elif self.path.endswith(config[0]):
            self.whole(server.config)
        elif "/blobs/" in self.path:
            server.tries += 1
            self.begin(len(server.blob) - self.start)
            server.deliver(server, self)
            self.close_connection = True
        else:
            self.whole(b"{}")

    @property
    def start(self) -> int:
        return int(self.headers.get("Range", "bytes=0-")[6:-1])

    def whole(self, body: bytes) -> None:
        self.begin(len(body))
        self.wfile.write(body)

    def begin(self, length: int) -> None:
        self.send_response(206 if self.start else 200)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def handle(self) -> None:
        with suppress(ConnectionError):  # the daemon was killed, or had enough
            super().handle()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def misbehaving(deliver: Callable[[Misbehaving, Delivery], None]) -> Iterator[Misbehaving]:
    server = Misbehaving(deliver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.free.set()
        server.shutdown()
        server.server_close()
        thread.join()


def debris(daemon: DaemonProcess) -> list[str]:
    """What is in a store beside whole layers that an image needs."""
    return os.listdir(daemon.root / "tmp") + os.listdir(daemon.root / "blobs")


def test_a_hang_up_in_the_middle_costs_nothing(sh: Shell) -> None:
    def once(server: Misbehaving, to: Delivery) -> None:
        end = len(server.blob) if server.tries > 1 else 1_000_000
        to.wfile.write(server.blob[to.start : end])

    with misbehaving(once) as server:
        sh.docker("pull", server.name)
        assert server.tries == 2
        sh.docker("rmi", server.name)


@pytest.mark.parametrize(
    ("at", "sentence"),
    [(4, "verification failed"), (2_000_000, "invalid gzip")],  # 4: a time stamp that means nothing
)
def test_wrong_bytes_are_refused(sh: Shell, at: int, sentence: str) -> None:
    before = sorted(os.listdir(sh.daemon.root / "layers"))

    def wrong(server: Misbehaving, to: Delivery) -> None:
        body = bytearray(server.blob)
        body[at] ^= 1
        to.wfile.write(body)

    with misbehaving(wrong) as server:
        refused = sh.docker("pull", server.name, ok=False)
        assert refused.returncode == 1
        assert sentence in refused.stderr
        assert sh.docker("images", "-q", server.name).stdout == ""
    assert sorted(os.listdir(sh.daemon.root / "layers")) == before
    assert debris(sh.daemon) == []


def test_killed_in_the_middle_of_a_pull(own_daemon: DaemonProcess) -> None:
    sh = Shell(own_daemon)
    before = sorted(os.listdir(own_daemon.root / "layers"))

    def half(server: Misbehaving, to: Delivery) -> None:
        middle = len(server.blob) // 2
        if not server.free.is_set():
            to.wfile.write(server.blob[to.start : middle])
            to.wfile.flush()
            server.half.set()
            server.free.wait(WAIT_S)
            return
        to.wfile.write(server.blob[to.start :])

    with misbehaving(half) as server:
        pull = subprocess.Popen(
            [DOCKER, "pull", server.name],
            env=own_daemon.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert server.half.wait(WAIT_S)
        own_daemon.kill()
        assert pull.wait(WAIT_S) != 0
        server.free.set()
        own_daemon.start()
        assert debris(own_daemon) == []
        assert sorted(os.listdir(own_daemon.root / "layers")) == before
        assert sh.docker("images", "-q", server.name).stdout == ""
        sh.docker("pull", server.name)
        assert image_id(sh, server.name) == digest_of(server.config)
        sh.docker("rmi", server.name)
