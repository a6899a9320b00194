"""Limits of a block device's use, by the kernel's own files."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from sampan.testing.clients import Shell

FLAGS = {
    "--device-read-bps": ("read_bps", "rbps", "1mb", 1 << 20, "BlkioDeviceReadBps"),
    "--device-write-bps": ("write_bps", "wbps", "2mb", 2 << 20, "BlkioDeviceWriteBps"),
    "--device-read-iops": ("read_iops", "riops", "300", 300, "BlkioDeviceReadIOps"),
    "--device-write-iops": ("write_iops", "wiops", "400", 400, "BlkioDeviceWriteIOps"),
}


@pytest.fixture
def disk(tmp_path: Path) -> tuple[Path, str]:
    """A node of one of this machine's disks, and its numbers. Nothing is read or written."""
    for one in sorted(Path("/sys/block").glob("*/dev")):
        numbers = one.read_text().strip()
        major, minor = map(int, numbers.split(":"))
        node = tmp_path / "disk"
        os.mknod(node, stat.S_IFBLK | 0o600, os.makedev(major, minor))
        return node, numbers
    pytest.skip("this machine has no block device")


def limit(pid: str, old: str, new: str, numbers: str) -> int:
    """What the kernel has for the container of ``pid``."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    by_tree = dict(line.split(":", 2)[1:] for line in lines)
    if "blkio" in by_tree:
        directory = Path(f"/sys/fs/cgroup/blkio{by_tree['blkio']}")
        text = (directory / f"blkio.throttle.{old}_device").read_text()
        return int(dict(line.split() for line in text.splitlines())[numbers])
    text = Path(f"/sys/fs/cgroup{by_tree['']}/io.max").read_text()
    row = next(line for line in text.splitlines() if line.startswith(f"{numbers} "))
    return int(dict(word.split("=") for word in row.split()[1:])[new])


@pytest.mark.parametrize("client", ["docker", "sampan"])
def test_each_rate_reaches_the_kernel(
    sh: Shell, sampan: str, disk: tuple[Path, str], client: str
) -> None:
    node, numbers = disk
    if client == "sampan" and not str(node).startswith("/dev/"):
        node = Path("/dev") / f"sampan-test-{os.getpid()}"
        node.symlink_to(disk[0])
    try:
        options = [f"{flag}={node}:{written}" for flag, (*_, written, _n, _k) in FLAGS.items()]
        command = sampan if client == "sampan" else client
        if client == "docker":
            body = {key: [{"Path": str(node), "Rate": rate}] for *_, rate, key in FLAGS.values()}
            made = sh(
                "curl", "-s", "--unix-socket", str(sh.daemon.socket), "-H",
                "Content-Type: application/json", "-d",
                json.dumps({"Image": "busybox", "Cmd": ["sleep", "100"], "HostConfig": body}),
                "http://d/v1.47/containers/create?name=slow",
            )  # fmt: skip
            assert json.loads(made.stdout)["Warnings"] == []
            sh.docker("start", "slow")
        else:
            sh(command, "run", "-d", "--name", "slow", *options, "busybox", "sleep", "100")
        (shown,) = json.loads(sh.docker("inspect", "slow").stdout)
        for old, new, _, rate, key in FLAGS.values():
            assert shown["HostConfig"][key] == [{"Path": str(node), "Rate": rate}]
            assert limit(str(shown["State"]["Pid"]), old, new, numbers) == rate
    finally:
        sh.docker("rm", "-f", "slow")
        if node != disk[0]:
            node.unlink()


@pytest.mark.parametrize("path", ["/dev/null", "/nowhere", "disk"])
def test_what_is_no_disk_is_refused(sh: Shell, path: str) -> None:
    body = {"Image": "busybox", "HostConfig": {"BlkioDeviceReadBps": [{"Path": path, "Rate": 1}]}}
    socket = ["curl", "-s", "--unix-socket", str(sh.daemon.socket), "-w", "%{http_code}"]
    made = sh(
        *socket, "-H", "Content-Type: application/json", "-d", json.dumps(body),
        "http://d/v1.47/containers/create?name=wrong",
    ).stdout  # fmt: skip
    if made.endswith("201"):
        made = sh(*socket, "-X", "POST", "http://d/v1.47/containers/wrong/start").stdout
    assert made.endswith("400")
    assert path in made
