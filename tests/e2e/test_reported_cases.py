"""What users of other engines have reported, with the stock docker command: each holds here."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest

from sampan.testing.clients import Shell
from sampan.testing.lab.engine import Api
from sampan.testing.place import wait_until

CLASSIC = {"DOCKER_BUILDKIT": "0"}


@pytest.fixture
def numbered(sh: Shell, busybox_tar: Path, tmp_path: Path) -> str:
    """An image in which users and groups have numbers for names, and root's rights."""
    root = tmp_path / "root.tar"
    root.write_bytes(busybox_tar.read_bytes())
    with tarfile.open(root, "a") as tar:
        for name, text in (
            ("etc/passwd", "root:x:0:0::/root:/bin/sh\n1000:x:0:0::/root:/bin/sh\n"),
            ("etc/group", "root:x:0:\n2000:x:0:\n"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    sh.docker("import", str(root), "numbered")
    return "numbered"


def test_a_number_is_never_looked_up_as_a_name(sh: Shell, numbered: str, tmp_path: Path) -> None:
    def run(user: str, option: str) -> str:
        return sh.docker("run", "--rm", "-u", user, numbered, "id", option).stdout.strip()

    assert run("1000", "-u") == "1000"
    assert run("1000:2000", "-g") == "2000"
    sh.docker("run", "-d", "--name", "target", numbered, "sleep", "100")
    done = sh.docker("exec", "-u", "1000", "target", "id", "-u")
    sh.docker("rm", "-f", "target")
    assert done.stdout.strip() == "1000"
    (tmp_path / "Dockerfile").write_text(f"FROM {numbered}\nUSER 1000\nRUN echo uid=$(id -u)\n")
    built = sh.docker("build", "--no-cache", str(tmp_path), env=CLASSIC)
    assert "uid=1000" in built.stdout.splitlines()


def test_the_usual_cron_job(sh: Shell) -> None:
    for filters in ("until=10000h", "label=nobody.has.it", "label!=kept"):
        sh.docker("system", "prune", "-f", "--filter", filters)
    sh.docker("builder", "prune", "-f", "--filter", "until=10000h")
    sh.docker("run", "--name", "stays", "--label", "a=1", "busybox", "true")
    sh.docker("run", "--name", "goes", "--label", "b=1", "busybox", "true")
    sh.docker("system", "prune", "-f", "--filter", "label=b=1")
    assert sh.docker("ps", "-a", "--format", "{{.Names}}").stdout.split() == ["stays"]


@pytest.mark.parametrize("command", ["docker", "sampan"])
def test_what_is_in_a_directory_is_copied_without_it(
    sh: Shell, sampan: str, tmp_path: Path, command: str
) -> None:
    sh.docker("run", "-d", "--name", "target", "busybox", "sleep", "100")
    sh.docker("exec", "target", "sh", "-c", "mkdir -p /s/sub; echo 1 > /s/one; ln -s s /lnk")
    (tmp_path / "have").mkdir()
    (tmp_path / "link").mkdir()
    copy = [sampan if command == "sampan" else command, "cp"]
    for source, target in (
        ("/s/.", "have/"),
        ("/s/.", "fresh"),
        ("/lnk/.", "link/"),
        ("/s", "new"),
    ):
        sh(*copy, f"target:{source}", target, cwd=tmp_path)
    sh.docker("rm", "-f", "target")
    for target in ("have", "fresh", "link", "new"):
        assert sorted(os.listdir(tmp_path / target)) == ["one", "sub"], target


def test_an_image_of_another_platform_is_not_run_by_mistake(sh: Shell, busybox_tar: Path) -> None:
    sh.docker("import", "--platform", "linux/s390x", str(busybox_tar), "far")
    warned = sh.docker("create", "--name", "far", "far", "true")
    assert "linux/s390x" in warned.stderr
    wanted = ("create", "--pull", "never", "--platform")
    sh.docker(*wanted, "linux/s390x", "far", "true")
    refused = sh.docker(*wanted, "linux/arm64", "busybox", "true", ok=False)
    assert refused.returncode != 0
    assert "linux/arm64" in refused.stderr
    junk = sh.docker(*wanted, "no platform", "busybox", "true", ok=False)
    assert "no platform" in junk.stderr


def test_a_crash_loop_is_seen_and_waited_for(sh: Shell) -> None:
    sh.docker("run", "-d", "--name", "loops", "--restart", "always", "busybox", "false")
    assert sh.docker("wait", "loops").stdout == "1\n"
    listed = sh.docker("ps", "--filter", "name=loops", "--format", "{{.Names}}").stdout
    assert listed == "loops\n"
    # between two runs it restarts, and in them it runs: both are a conflict
    refused = sh.docker("rm", "loops", ok=False)
    assert "container is r" in refused.stderr
    sh.docker("rm", "-f", "loops")


def test_a_forced_removal_takes_what_ends_by_itself(sh: Shell) -> None:
    for pause in range(20):
        name = f"ends{pause}"
        sh.docker("run", "-d", "--name", name, "busybox", "usleep", str(pause * 4000))
        sh.docker("rm", "-f", name)
    assert sh.docker("ps", "-aq").stdout == ""


def test_what_is_told_by_status_and_what_in_the_stream(sh: Shell, tmp_path: Path) -> None:
    sh.docker("run", "-d", "--name", "target", "busybox", "sleep", "100")
    nobody = sh.docker("exec", "-u", "nobodyatall", "target", "id", ok=False)
    assert nobody.stderr.startswith("Error response from daemon: unable to find user nobodyatall")
    nowhere = sh.docker("exec", "-w", "/nodir", "target", "id", ok=False)
    assert nowhere.returncode == 127
    assert "/nodir" in nowhere.stdout + nowhere.stderr
    sh.docker("rm", "-f", "target")
    junk = tmp_path / "junk"
    junk.write_bytes(os.urandom(20_000))
    asked = sh(
        "curl", "-s", "-w", "\n%{http_code}", "--unix-socket", str(sh.daemon.socket), "-X", "POST",
        "--data-binary", f"@{junk}", "http://d/v1.47/images/load",
    ).stdout.split("\n")  # fmt: skip
    assert asked[-1] == "200"
    assert "invalid" in json.loads(asked[0])["errorDetail"]["message"]
    loaded = sh.docker("load", "-i", str(junk), ok=False)
    assert loaded.returncode != 0


def test_a_variable_without_a_value_is_kept_and_not_given(sh: Shell) -> None:
    sh.docker("create", "--name", "bare", "-e", "PATH", "-e", "NOTHING", "busybox", "env")
    shown = sh.docker("inspect", "-f", "{{json .Config.Env}}", "bare").stdout
    assert "NOTHING" in json.loads(shown)
    assert "NOTHING" not in sh.docker("start", "-a", "bare").stdout


def test_the_start_of_an_exec_says_how_it_is_framed(sh: Shell) -> None:
    sh.docker("run", "-d", "--name", "target", "busybox", "sleep", "100")
    api = Api(sh.daemon.socket)
    for start_tty in (False, True):
        body = {"Cmd": ["echo", "hi"], "AttachStdout": True, "Tty": True}
        made = api.call("POST", "/containers/target/exec", body)
        said = subprocess.run(
            [
                "curl", "-s", "--unix-socket", str(sh.daemon.socket), "-X", "POST", "-H",
                "Content-Type: application/json", "-d", json.dumps({"Tty": start_tty}),
                f"http://d/v1.47/exec/{made['Id']}/start",
            ],
            capture_output=True, check=True,
        ).stdout  # fmt: skip
        framed = b"" if start_tty else b"\x01\0\0\0\0\0\0\x04"
        assert said == framed + b"hi\r\n"
    sh.docker("rm", "-f", "target")


@pytest.mark.parametrize("etc", ["a link to nowhere", "a link out", "a file"])
def test_an_image_with_an_odd_etc_ends_in_a_sentence(
    sh: Shell, busybox_tar: Path, tmp_path: Path, etc: str
) -> None:
    root = tmp_path / "root.tar"
    with tarfile.open(busybox_tar) as source, tarfile.open(root, "w") as tar:
        for member in source:
            if not member.name.startswith("etc"):
                file = source.extractfile(member) if member.isfile() else None
                tar.addfile(member, file)
        odd = tarfile.TarInfo("etc")
        if etc != "a file":
            odd.type, odd.linkname = (
                tarfile.SYMTYPE,
                "/no/where" if "nowhere" in etc else "../../tmp",
            )
        tar.addfile(odd, io.BytesIO())
        mark = tarfile.TarInfo(".dockerenv")
        mark.type, mark.linkname = tarfile.SYMTYPE, "/no/where"
        tar.addfile(mark)
    sh.docker("import", str(root), "odd")
    done = sh.docker("run", "--rm", "odd", "/bin/busybox", "true", ok=False)
    assert "internal error" not in done.stderr
    assert "Traceback" not in sh.daemon.tail()


def test_containers_are_committed_side_by_side(sh: Shell) -> None:
    names = [f"c{n}" for n in range(8)]
    for name in names:
        sh.docker("run", "-d", "--name", name, "busybox", "sleep", "100")
    commits = [
        subprocess.Popen(["docker", "commit", name, f"i{name}"], env=sh.daemon.environment)
        for name in names
    ]
    said = sh.docker("exec", "c0", "echo", "not frozen").stdout
    assert [commit.wait(60) for commit in commits] == [0] * len(names)
    assert said == "not frozen\n"
    sh.docker("rm", "-f", *names)


def test_a_load_that_is_cut_off_leaves_nothing(sh: Shell, tmp_path: Path) -> None:
    tmp = sh.daemon.root / "tmp"
    for pause in range(6):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(sh.daemon.socket))
            client.sendall(
                b"POST /v1.47/images/load HTTP/1.1\r\nHost: d\r\nContent-Length: 3000000\r\n\r\n"
            )
            client.sendall(bytes(200_000 * (pause + 1)))
    assert wait_until(lambda: not list(tmp.glob("load-*")), 20), list(tmp.iterdir())


def test_a_step_sees_the_argument_that_came_after_a_variable(sh: Shell, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        'FROM busybox\nENV V=env\nARG V=arg\nRUN echo "v=$V"\nENV W=${V#a}\n'
    )
    built = sh.docker("build", "--no-cache", "-t", "late", str(tmp_path), env=CLASSIC)
    assert "v=arg" in built.stdout.splitlines()
    env = sh.docker("run", "--rm", "late", "env").stdout.splitlines()
    assert {"V=env", "W=rg"} <= set(env)
