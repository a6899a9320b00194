"""``docker cp``, ``export``, ``diff``, ``commit`` and ``stats`` against a real daemon."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import docker
import pytest

from sampan.testing.clients import Shell
from sampan.testing.daemon import DaemonProcess

KINDS = ("running", "resting")


@pytest.fixture(params=KINDS)
def box(request: pytest.FixtureRequest, sh: Shell) -> str:
    """A container with a volume at /data."""
    if request.param == "running":
        sh.docker("run", "-d", "--name", "box", "-v", "/data", "busybox", "sleep", "1000")
    else:
        sh.docker("create", "--name", "box", "-v", "/data", "busybox", "true")
    return "box"


@pytest.fixture
def client(daemon: DaemonProcess) -> Iterator[docker.DockerClient]:
    with closing(docker.DockerClient(base_url=daemon.host, timeout=60)) as connected:
        yield connected


def tar(*members: tarfile.TarInfo | tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return out.getvalue()


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o755
    return info


def test_a_tree_in_and_out(sh: Shell, box: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "a").write_text("one")
    (tree / "a").chmod(0o640)
    (tree / "sub" / "b").write_bytes(os.urandom(300_000))
    (tree / "link").symlink_to("a")
    for target in ("/tmp", "/data"):
        sh.docker("cp", str(tree), f"{box}:{target}/")
        back = tmp_path / f"back{target[1:]}"
        sh.docker("cp", f"{box}:{target}/tree", str(back))
        assert (back / "a").read_text() == "one"
        assert (back / "a").stat().st_mode & 0o777 == 0o640
        assert (back / "sub" / "b").read_bytes() == (tree / "sub" / "b").read_bytes()
        assert os.readlink(back / "link") == "a"


def test_own_client_copies_too(sh: Shell, sampan: str, box: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("ours")
    sh(sampan, "cp", str(tmp_path / "f"), f"{box}:/data/g")
    sh(sampan, "cp", f"{box}:/data/g", str(tmp_path / "h"))
    assert (tmp_path / "h").read_text() == "ours"


def test_what_cannot_be_copied(sh: Shell, sampan: str, box: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    missing = sh(sampan, "cp", f"{box}:/nope", str(tmp_path), ok=False).stderr
    assert "Could not find the file /nope in container box" in missing
    # a docker of 2023 has words of its own for it
    missing = sh.docker("cp", f"{box}:/nope", str(tmp_path), ok=False).stderr
    assert "Could not find the file /nope" in missing or f"path: {box}:/nope" in missing
    assert "no such" in sh.docker("cp", "nobody:/x", str(tmp_path), ok=False).stderr.lower()
    file = sh.docker("cp", str(tmp_path / "f"), f"{box}:/etc/passwd/x", ok=False).stderr
    assert "not a directory" in file


def test_a_link_leads_nowhere_but_into_the_container(
    client: docker.DockerClient, box: str, tmp_path: Path
) -> None:
    container = client.containers.get(box)
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    hostile = tar(
        special("up", tarfile.SYMTYPE, "../../../../../../../.." + str(tmp_path)),
        ("up/secret", b"overwritten"),
        special("abs", tarfile.SYMTYPE, str(tmp_path)),
    )
    # The link leads to a directory that the container has not got.
    with pytest.raises(docker.errors.NotFound):
        container.put_archive("/tmp", hostile)
    assert secret.read_text() == "of the host"
    container.put_archive("/tmp", tar(special("abs", tarfile.SYMTYPE, str(tmp_path))))
    with pytest.raises(docker.errors.NotFound):
        container.get_archive("/tmp/abs/secret")


@pytest.mark.parametrize(
    "members",
    [
        (("../evil", b"x"),),
        (("a/../../evil", b"x"),),
        (special("hard", tarfile.LNKTYPE, "../../../etc/passwd"),),
    ],
)
def test_a_tar_that_climbs_is_refused(
    client: docker.DockerClient, box: str, members: tuple[object, ...]
) -> None:
    with pytest.raises(docker.errors.APIError) as refused:
        client.containers.get(box).put_archive("/tmp", tar(*members))  # type: ignore[arg-type]
    assert refused.value.status_code == 400
    assert "leads out" in str(refused.value)


def test_no_tar_at_all(client: docker.DockerClient, box: str) -> None:
    with pytest.raises(docker.errors.APIError) as refused:
        client.containers.get(box).put_archive("/tmp", b"hello" * 500)
    assert refused.value.status_code == 400


def test_docker_py_reads_and_writes(client: docker.DockerClient, box: str) -> None:
    container = client.containers.get(box)
    assert container.put_archive("/data", tar(("deep/er/x", b"hello")))
    chunks, found = container.get_archive("/data/deep/er/x")
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        member = archive.extractfile("x")
        assert member is not None
        assert member.read() == b"hello"
    assert (found["name"], found["size"], found["linkTarget"]) == ("x", 5, "")
    assert found["mode"] & 0o777 == 0o644


def test_kinds_do_not_replace_each_other(client: docker.DockerClient, box: str) -> None:
    container = client.containers.get(box)
    container.put_archive("/tmp", tar(special("d", tarfile.DIRTYPE), ("f", b"")))
    for member in (("d", b"file"), special("f", tarfile.DIRTYPE)):
        url = client.api._url("/containers/{0}/archive", container.id)
        answer = client.api._put(
            url, params={"path": "/tmp", "noOverwriteDirNonDir": "true"}, data=tar(member)
        )
        assert answer.status_code == 400
        assert "cannot overwrite" in answer.json()["message"]


def test_read_only_means_read_only(sh: Shell, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    sh.docker(
        "create", "--name", "ro", "--read-only", "-v", "/data", "-v", f"{tmp_path}:/bound:ro",
        "busybox", "true",
    )  # fmt: skip
    for target in ("/tmp/f", "/bound/g"):
        refused = sh.docker("cp", str(tmp_path / "f"), f"ro:{target}", ok=False).stderr
        assert "read-only" in refused
    assert not (tmp_path / "g").exists()
    sh.docker("cp", str(tmp_path / "f"), "ro:/data/f")


def test_owner_is_the_tars_or_the_containers(sh: Shell, client: docker.DockerClient) -> None:
    sh.docker("run", "-d", "--name", "mine", "-u", "1234:56", "busybox", "sleep", "1000")
    info = tarfile.TarInfo("f")
    info.uid, info.gid = 77, 88
    container = client.containers.get("mine")
    url = client.api._url("/containers/{0}/archive", container.id)
    for flag, owner in (("0", "77:88"), ("1", "1234:56")):
        params = {"path": "/tmp", "copyUIDGID": flag}
        assert client.api._put(url, params=params, data=tar(info)).status_code == 200
        assert sh.docker("exec", "mine", "stat", "-c", "%u:%g", "/tmp/f").stdout.strip() == owner


def test_a_mounted_file_is_rewritten(client: docker.DockerClient, sh: Shell) -> None:
    sh.docker("run", "-d", "--name", "hosts", "busybox", "sleep", "1000")
    client.containers.get("hosts").put_archive("/etc", tar(("hosts", b"127.0.0.1 here\n")))
    assert sh.docker("exec", "hosts", "cat", "/etc/hosts").stdout == "127.0.0.1 here\n"


def test_start_while_somebody_copies(sh: Shell, client: docker.DockerClient) -> None:
    sh.docker("create", "--name", "big", "busybox", "sleep", "1000")
    container = client.containers.get("big")
    body = os.urandom(8 << 20)
    container.put_archive("/tmp", tar(("blob", body)))
    chunks, _ = container.get_archive("/tmp/blob")
    first = next(chunks)
    container.start()
    whole = first + b"".join(chunks)
    assert body in whole
    sh.docker("exec", "big", "test", "-s", "/tmp/blob")


def test_export_leaves_out_volumes(sh: Shell, box: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    sh.docker("cp", str(tmp_path / "f"), f"{box}:/data/inside")
    sh.docker("cp", str(tmp_path / "f"), f"{box}:/root/kept")
    sh.docker("export", "-o", str(tmp_path / "out.tar"), box)
    with tarfile.open(tmp_path / "out.tar") as archive:
        names = archive.getnames()
    assert "root/kept" in names
    assert "bin/busybox" in names
    assert "data/inside" not in names


def test_diff(sh: Shell) -> None:
    script = "touch /root/new; rm /etc/nsswitch.conf; mkdir /d; echo x >/d/f; echo y >>/etc/group"
    sh.docker("run", "--name", "changed", "busybox", "sh", "-c", script)
    assert sh.docker("diff", "changed").stdout.splitlines() == [
        "A /d",
        "A /d/f",
        "C /etc",
        "C /etc/group",
        "D /etc/nsswitch.conf",
        "C /root",
        "A /root/new",
    ]
    sh.docker("create", "--name", "untouched", "busybox")
    assert sh.docker("diff", "untouched").stdout == ""


def test_commit(sh: Shell) -> None:
    sh.docker("run", "-d", "--name", "source", "-e", "A=1", "busybox", "sleep", "1000")
    sh.docker("exec", "source", "sh", "-c", "echo made >/root/f; rm /etc/group")
    sh.docker(
        "commit", "-m", "a message", "-a", "somebody", "-c", 'CMD ["cat", "/root/f"]',
        "-c", "ENV B=2", "source", "made:1",
    )  # fmt: skip
    try:
        assert sh.docker("run", "--rm", "made:1").stdout == "made\n"
        env = sh.docker("run", "--rm", "made:1", "env").stdout
        assert "A=1\n" in env
        assert "B=2\n" in env
        sh.docker("run", "--rm", "made:1", "sh", "-c", "! test -e /etc/group")
        found = json.loads(sh.docker("image", "inspect", "made:1").stdout)[0]
        assert (found["Author"], found["Comment"]) == ("somebody", "a message")
        state = sh.docker("inspect", "-f", "{{.State.Status}}", "source").stdout.strip()
        assert state == "running"
        refused = sh.docker("commit", "-c", "RUN true", "source", ok=False).stderr
        assert "RUN is not allowed" in refused
    finally:
        sh.docker("rmi", "made:1")


def test_stats(sh: Shell, client: docker.DockerClient, sampan: str) -> None:
    sh.docker("run", "-d", "--name", "used", "-m", "64m", "busybox", "sleep", "1000")
    sh.docker("create", "--name", "unused", "busybox")
    used = client.containers.get("used").stats(stream=False)
    assert used["memory_stats"]["limit"] == 64 << 20
    assert used["pids_stats"]["current"] == 1
    assert used["precpu_stats"]["system_cpu_usage"] < used["cpu_stats"]["system_cpu_usage"]
    assert used["networks"]["eth0"]["rx_bytes"] >= 0
    stream = client.containers.get("used").stats(stream=True, decode=True)
    first, second = next(stream), next(stream)
    assert first["precpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert second["preread"] == first["read"]
    unused = client.containers.get("unused").stats(stream=False)
    assert (unused["name"], unused["read"]) == ("/unused", "0001-01-01T00:00:00Z")
    row = sh.docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}").stdout
    assert row.startswith("used ")
    assert "64MiB" in row
    assert "used" in sh(sampan, "stats", "--no-stream").stdout


def test_sizes(sh: Shell, client: docker.DockerClient) -> None:
    sh.docker("run", "--name", "sized", "busybox", "sh", "-c", "head -c 5000 /dev/zero >/f")
    row = next(c for c in client.api.containers(all=True, size=True) if c["Names"] == ["/sized"])
    assert row["SizeRw"] == 5000
    assert row["SizeRootFs"] > 1_000_000
    assert client.df()["Containers"][0]["SizeRw"] == 5000


def test_a_daemon_killed_in_the_middle(own_daemon: DaemonProcess) -> None:
    sh = Shell(own_daemon)
    sh.docker("create", "--name", "half", "-v", "/data", "busybox", "sleep", "1000")
    with closing(docker.DockerClient(base_url=own_daemon.host, timeout=60)) as client:
        container = client.containers.get("half")
        container.put_archive("/data", tar(("blob", os.urandom(8 << 20))))
        chunks, _ = container.get_archive("/data")
        next(chunks)
        own_daemon.kill()
    own_daemon.start()
    sh.docker("start", "half")
    assert sh.docker("exec", "half", "ls", "/data").stdout == "blob\n"
    sh.docker("rm", "-fv", "half")
    assert own_daemon.settled() == {}
