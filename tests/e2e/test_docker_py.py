"""docker-py, the library that most Python tools use, against a real daemon."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import closing

import docker
import pytest
from docker.errors import APIError, BuildError, ContainerError, ImageNotFound, NotFound

from sampan.testing.daemon import DaemonProcess


@pytest.fixture
def client(daemon: DaemonProcess) -> Iterator[docker.DockerClient]:
    with closing(docker.DockerClient(base_url=daemon.host, timeout=60)) as connected:
        yield connected


def test_version_and_info(client: docker.DockerClient) -> None:
    assert client.ping()
    assert client.version()["ApiVersion"] == "1.51"
    assert client.info()["OSType"] == "linux"


def test_run(client: docker.DockerClient) -> None:
    assert client.containers.run("busybox", "echo hi", remove=True) == b"hi\n"
    assert client.containers.run("busybox", "echo err >&2", remove=True, stderr=True) is not None
    with pytest.raises(ContainerError) as failed:
        client.containers.run("busybox", ["sh", "-c", "echo no >&2; exit 3"], remove=True)
    assert failed.value.exit_status == 3


def test_life(client: docker.DockerClient) -> None:
    container = client.containers.run(
        "busybox",
        ["sh", "-c", "echo up; cat"],
        detach=True,
        stdin_open=True,
        name="py",
        labels={"a": "b"},
    )
    assert container.status in ("created", "running")
    container.reload()
    assert container.status == "running"
    assert [c.name for c in client.containers.list(filters={"label": "a=b"})] == ["py"]
    stream = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    stream._sock.sendall(b"hello\n")
    stream.close()
    for chunk in container.logs(stream=True, follow=True):
        if b"hello" in chunk:
            break
    assert container.exec_run("sh -c 'exit 4'").exit_code == 4
    assert container.exec_run(["sh", "-c", "echo a; echo b >&2"], demux=True).output == (
        b"a\n",
        b"b\n",
    )
    assert container.top()["Processes"]
    container.pause()
    container.unpause()
    container.rename("renamed")
    container.stop(timeout=0)
    assert container.wait()["StatusCode"] == 137
    container.restart(timeout=0)
    container.kill()
    container.remove(v=True)
    with pytest.raises(NotFound):
        client.containers.get("renamed")


def test_archive(client: docker.DockerClient) -> None:
    container = client.containers.create("busybox", "true")
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        entry = tarfile.TarInfo("note")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"abc"))
    assert container.put_archive("/tmp", data.getvalue())
    bits, stat = container.get_archive("/tmp/note")
    assert stat["size"] == 3
    with tarfile.open(fileobj=io.BytesIO(b"".join(bits))) as tar:
        member = tar.extractfile("note")
        assert member is not None
        assert member.read() == b"abc"
    container.remove()


def test_build(client: docker.DockerClient) -> None:
    image, lines = client.images.build(
        fileobj=io.BytesIO(b"FROM busybox\nRUN echo built > /b\nCMD cat /b\n"), tag="py:built"
    )
    assert any("Successfully" in line.get("stream", "") for line in lines)
    assert client.containers.run(image.id, remove=True) == b"built\n"
    client.images.remove("py:built")
    with pytest.raises(BuildError):
        client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN false\n"))
    with pytest.raises(APIError):
        client.images.build(fileobj=io.BytesIO(b"FROM busybox\nWHAT\n"))
    with pytest.raises(ImageNotFound):
        client.images.get("py:built")


def test_networks_and_volumes(client: docker.DockerClient) -> None:
    network = client.networks.create("pynet", driver="bridge", labels={"x": "y"})
    volume = client.volumes.create("pyvol")
    try:
        container = client.containers.run(
            "busybox",
            "sleep 1000",
            detach=True,
            network="pynet",
            volumes={"pyvol": {"bind": "/v", "mode": "rw"}},
            ports={"80/tcp": None},
        )
        container.reload()
        assert container.attrs["NetworkSettings"]["Networks"]["pynet"]["IPAddress"]
        assert container.ports["80/tcp"][0]["HostPort"]
        network.reload()
        assert [c.id for c in network.containers] == [container.id]
        with pytest.raises(APIError):
            volume.remove()
        container.remove(force=True)
    finally:
        network.remove()
        volume.remove()


def test_events_since(client: docker.DockerClient) -> None:
    since = client.info()["SystemTime"]
    client.containers.run("busybox", "true", remove=True)
    seen = []
    for event in client.events(since=since, decode=True, filters={"type": "container"}):
        seen.append(event["Action"])
        if event["Action"] == "destroy":
            break
    assert [s for s in seen if s in ("create", "start", "die", "destroy")] == [
        "create", "start", "die", "destroy",
    ]  # fmt: skip
