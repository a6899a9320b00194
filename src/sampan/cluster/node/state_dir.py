"""What a member keeps on disk, and nothing else may: ``<root>/cluster``.

    cluster/
      node.json        who this node is (below); there is a membership exactly if it is there
      certificates/    key, certificate and roots of the node
      manager/         of managers only:
        cluster.key      opens what the store keeps sealed
        certificates/    of the etcd member
        etcd/            the store's own files
        snapshots/
      agent/           the last assignments, the data plane's view, managers to fall back on

``node.json`` is written with ``phase: joining`` before anything is made elsewhere and with
``active`` when all is: a daemon that was killed in between finds out at start, and takes apart what
was begun.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import msgspec

from sampan.files import write_private


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A membership."""

    node_id: str = ""
    cluster_id: str = ""
    phase: Literal["joining", "active"] = "joining"
    role: Literal["worker", "manager"] = "worker"
    """What this host runs as; a manager's parts are started for it."""
    listen: str = ""
    advertise: str = ""
    data_path: str = ""
    data_path_port: int = 4789
    managers: tuple[str, ...] = ()
    """ADDRESS:PORT of the managers known when this was written."""
    etcd_url: str = ""
    """Where this manager's store speaks with its peers."""
    initial: dict[str, str] = {}
    """The members when this one was added (name -> URL); empty: it made the cluster."""


class NodeDirectory:
    """The directory of a membership. All methods block, briefly."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def certificates(self) -> Path:
        return self.directory / "certificates"

    @property
    def manager(self) -> Path:
        return self.directory / "manager"

    @property
    def key(self) -> Path:
        return self.manager / "cluster.key"

    @property
    def etcd_certificates(self) -> Path:
        return self.manager / "certificates"

    @property
    def etcd(self) -> Path:
        return self.manager / "etcd"

    @property
    def snapshots(self) -> Path:
        return self.manager / "snapshots"

    @property
    def agent(self) -> Path:
        return self.directory / "agent"

    def read(self) -> NodeRecord | None:
        """The membership, or None.

        Raises:
            msgspec.DecodeError: somebody else has written there.
        """
        try:
            return msgspec.json.decode((self.directory / "node.json").read_bytes(), type=NodeRecord)
        except FileNotFoundError:
            return None

    def write(self, record: NodeRecord) -> None:
        """Durable when it returns."""
        write_private(self.directory / "node.json", msgspec.json.encode(record))

    def forget_manager(self) -> None:
        """No longer a manager: the store's files and the key go."""
        shutil.rmtree(self.manager, ignore_errors=True)

    def forget_store(self) -> None:
        """What is left of an earlier time as a manager would be another member's data."""
        shutil.rmtree(self.etcd, ignore_errors=True)

    def clear(self) -> None:
        """No longer a member. ``node.json`` goes first: a daemon that is killed in between starts
        as a host outside of any cluster."""
        (self.directory / "node.json").unlink(missing_ok=True)
        shutil.rmtree(self.directory, ignore_errors=True)
