"""A new cluster's data out of a snapshot, by etcd's own tool."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from sampan.aio import in_thread
from sampan.cluster.etcd.client import snapshot_is_whole
from sampan.cluster.etcd.settings import EtcdSettings
from sampan.components import ETCDCTL, require
from sampan.errors import Internal, InvalidArgument
from sampan.kernel import process


async def restore(snapshot: Path, settings: EtcdSettings) -> None:
    """Fill ``settings.data``, which must not exist, for a single member of a new cluster. Revisions
    go on where the snapshot was taken.

    Raises:
        Unsupported: etcdctl is not installed.
        InvalidArgument: the file is no whole snapshot.
        Internal: etcdctl failed; nothing is left.
    """
    tool = str(require(ETCDCTL))
    if not await in_thread(snapshot_is_whole, snapshot):
        raise InvalidArgument(f"{snapshot} is not a whole snapshot of a swarm's store")
    said = os.memfd_create("etcdctl", os.MFD_CLOEXEC)
    try:
        child = await process.start(
            [
                *(tool, "snapshot", "restore", str(snapshot)),
                f"--data-dir={settings.data}",
                f"--name={settings.name}",
                f"--initial-cluster={settings.name}={settings.peer_url}",
                f"--initial-cluster-token={settings.token}",
                f"--initial-advertise-peer-urls={settings.peer_url}",
            ],
            fds={1: said, 2: said},
            env={"PATH": os.environ.get("PATH", os.defpath), "ETCDCTL_API": "3"},
        )
        try:
            code = await child.wait()
        except BaseException:
            child.send(signal.SIGKILL)
            await child.wait()
            raise
        if code:
            await in_thread(shutil.rmtree, settings.data, ignore_errors=True)
            text = os.pread(said, 4096, 0).decode("utf-8", "replace").strip()
            raise Internal(f"etcdctl could not restore {snapshot}: {text}")
    finally:
        os.close(said)
