"""The stock docker command against a real daemon: images, builds, volumes, events."""

from __future__ import annotations

import json
import subprocess
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sampan.testing.clients import Shell

CLASSIC = {"DOCKER_BUILDKIT": "0"}


def test_import_list_tag_remove(sh: Shell) -> None:
    listed = sh.docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
    assert "busybox:latest" in listed
    sh.docker("tag", "busybox", "example.com:5000/team/box:v1")
    assert "example.com:5000/team/box" in sh.docker("images").stdout
    assert "Untagged" in sh.docker("rmi", "example.com:5000/team/box:v1").stdout
    assert "example.com" not in sh.docker("images").stdout
    assert sh.docker("history", "busybox").stdout.count("\n") >= 2


def test_an_image_in_use_stays(sh: Shell) -> None:
    sh.docker("tag", "busybox", "only:this")
    sh.docker("create", "--name", "holder", "busybox")
    done = sh.docker("rmi", sh.docker("images", "-q", "busybox").stdout.split()[0], ok=False)
    assert "conflict" in done.stderr.lower()
    sh.docker("rmi", "only:this")


def test_save_and_load(sh: Shell, tmp_path: Path) -> None:
    archive = tmp_path / "box.tar"
    sh.docker("tag", "busybox", "saved:1")
    before = sh.docker("images", "-q", "--no-trunc", "saved:1").stdout
    sh.docker("save", "-o", str(archive), "saved:1")
    with tarfile.open(archive) as tar:
        assert {"manifest.json", "index.json", "oci-layout"} <= set(tar.getnames())
    sh.docker("rmi", "saved:1")
    assert "saved:1" in sh.docker("load", "-i", str(archive)).stdout
    assert sh.docker("images", "-q", "--no-trunc", "saved:1").stdout == before
    sh.docker("rmi", "saved:1")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "app.sh").write_text("#!/bin/sh\necho app $WHO $(cat /sub/data)\n")
    (tmp_path / "sub" / "data").write_text("data\n")
    (tmp_path / "secret").write_text("no\n")
    (tmp_path / ".dockerignore").write_text("secret\n")
    (tmp_path / "Dockerfile").write_text(
        "ARG BASE=busybox\n"
        "FROM ${BASE} AS base\n"
        "ARG WHO=nobody\n"
        'ENV WHO=$WHO\nLABEL kind="test app"\nWORKDIR /work\n'
        "COPY . /\n"
        "RUN chmod +x /app.sh && pwd > /where && rm -f /etc/motd\n"
        "ADD sub /added/\n"
        "EXPOSE 80\nVOLUME /data\nUSER 1000\n"
        'ENTRYPOINT ["/app.sh"]\nCMD ["x"]\n'
    )
    return tmp_path


def test_a_build_adds_what_a_server_has(sh: Shell, tmp_path: Path) -> None:
    class Serve(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.path.encode()
            self.send_response(200 if self.path == "/there" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            url = f"http://127.0.0.1:{server.server_address[1]}"
            dockerfile = tmp_path / "Dockerfile"
            dockerfile.write_text(f"FROM busybox\nADD {url}/there /got/\n")
            sh.docker("build", "-t", "added", str(tmp_path), env=CLASSIC)
            shown = "stat -c '%a' /got/there; cat /got/there"
            said = sh.docker("run", "--rm", "added", "sh", "-c", shown).stdout
            assert said == "600\n/there"
            dockerfile.write_text(f"FROM busybox\nADD {url}/gone /got/\n")
            failed = sh.docker("build", str(tmp_path), env=CLASSIC, ok=False)
            assert "the server said 404" in failed.stderr + failed.stdout
        finally:
            server.shutdown()


def test_build_run_and_cache(sh: Shell, context: Path) -> None:
    first = sh.docker("build", "-t", "app:1", "--build-arg", "WHO=me", str(context), env=CLASSIC)
    assert "Successfully tagged app:1" in first.stdout
    assert sh.docker("run", "--rm", "app:1").stdout == "app me data\n"
    assert (
        sh.docker("run", "--rm", "--entrypoint", "ls", "app:1", "/secret", ok=False).returncode != 0
    )
    assert sh.docker("run", "--rm", "--entrypoint", "cat", "app:1", "/where").stdout == "/work\n"
    assert sh.docker("run", "--rm", "--entrypoint", "id", "app:1", "-u").stdout == "1000\n"
    config = json.loads(sh.docker("inspect", "app:1").stdout)[0]["Config"]
    assert config["Labels"] == {"kind": "test app"}
    assert config["ExposedPorts"] == {"80/tcp": {}}
    assert config["Volumes"] == {"/data": {}}
    again = sh.docker("build", "-t", "app:2", "--build-arg", "WHO=me", str(context), env=CLASSIC)
    assert again.stdout.count("Using cache") >= 5
    ids = sh.docker("images", "-q", "app").stdout.split()
    assert len(set(ids)) == 1
    (context / "sub" / "data").write_text("changed\n")
    sh.docker("build", "-t", "app:1", "--build-arg", "WHO=me", str(context), env=CLASSIC)
    assert sh.docker("run", "--rm", "app:1").stdout == "app me changed\n"
    sh.docker("rmi", "app:1", "app:2")


def test_build_from_scratch_in_stages(sh: Shell, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox AS maker\nRUN echo made > /made\n"
        "FROM scratch\nCOPY --from=maker /bin/busybox /bin/busybox\nCOPY --from=maker /made /made\n"
        'CMD ["/bin/busybox", "cat", "/made"]\n'
    )
    sh.docker("build", "-t", "tiny", str(tmp_path), env=CLASSIC)
    assert sh.docker("run", "--rm", "tiny").stdout == "made\n"
    sh.docker("rmi", "tiny")


@pytest.mark.parametrize(
    ("dockerfile", "sentence"),
    [
        ("FROM busybox\nRUNN x\n", "unknown instruction"),
        ("FROM busybox\nRUN exit 3\n", "returned a non-zero code: 3"),
        ("FROM busybox\nCOPY nosuch /x\n", "nosuch"),
        ("RUN x\n", "FROM"),
        ("", "no instructions"),
    ],
)
def test_a_bad_dockerfile(sh: Shell, tmp_path: Path, dockerfile: str, sentence: str) -> None:
    (tmp_path / "Dockerfile").write_text(dockerfile)
    done = sh.docker("build", str(tmp_path), env=CLASSIC, ok=False)
    assert done.returncode != 0
    assert sentence in done.stderr + done.stdout


def test_events_tell_a_life(sh: Shell) -> None:
    now = sh.docker("info", "--format", "{{.SystemTime}}").stdout.strip()
    listener = subprocess.Popen(
        [
            "docker",
            "events",
            "--since",
            now,
            "--filter",
            "container=life",
            "--format",
            "{{.Action}}",
        ],
        stdout=subprocess.PIPE,
        env=sh.daemon.environment,
    )
    # the subscription stands once a first event came through it
    sh.docker("create", "--name", "life", "busybox", "true")
    assert listener.stdout
    while not (first := listener.stdout.readline()):
        pass
    assert first == b"create\n"
    sh.docker("start", "-a", "life")
    sh.docker("rm", "life")
    seen = []
    while not seen or seen[-1] != b"destroy\n":
        seen.append(listener.stdout.readline())
        assert seen[-1]
    listener.terminate()
    listener.wait(10)
    wanted = [b"attach\n", b"start\n", b"die\n", b"destroy\n"]
    assert [s for s in seen if s in wanted] == wanted


def test_volumes(sh: Shell) -> None:
    sh.docker("volume", "create", "--label", "a=b", "jar")
    assert json.loads(sh.docker("volume", "inspect", "jar").stdout)[0]["Labels"] == {"a": "b"}
    sh.docker("create", "--name", "lid", "-v", "jar:/jar", "busybox")
    done = sh.docker("volume", "rm", "jar", ok=False)
    assert "in use" in done.stderr
    sh.docker("rm", "lid")
    assert "jar" in sh.docker("volume", "ls", "-q").stdout.split()
    sh.docker("volume", "rm", "jar")


def test_anonymous_volumes_go_with_rm_v(sh: Shell) -> None:
    sh.docker("run", "--name", "anon", "-v", "/data", "busybox", "true")
    assert sh.docker("volume", "ls", "-q").stdout.count("\n") == 1
    sh.docker("rm", "-v", "anon")
    assert sh.docker("volume", "ls", "-q").stdout == ""
