"""How a member of etcd is started: files, addresses, and the numbers with their reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ETCD_CN = "sampan-etcd"
"""Whom the certificates of the store's members name: a member lets in nobody else. No node id has a
hyphen."""
SOCKET = "client:0"
"""etcd insists on HOST:PORT in a URL also for a unix socket, and makes of it a file of that name
in its working directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerFiles:
    """PEM files of the peers' side. etcd reads them anew at each connection, so a renewal needs no
    restart; only the bundle of roots is read once."""

    certificate: Path
    """For server and client use, with the advertised address among its names."""
    key: Path
    roots: Path
    allowed_cn: str = ETCD_CN


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdSettings:
    """One member."""

    directory: Path
    """Its own, mode 0700: data, socket, pid file."""
    name: str
    """The node's id."""
    peer_url: str
    """Where the other members reach it: ``https://ADDRESS:PORT``."""
    listen_peer_url: str = ""
    """Empty: ``peer_url``."""
    peer_files: PeerFiles | None = None
    """None: plain HTTP, for tests on loopback."""
    initial: Mapping[str, str] | None = None
    """Name -> peer URL of all members including this one, for the first start; None: alone."""
    state: Literal["new", "existing"] = "new"
    token: str = "sampan"
    """Of the first start; keeps clusters on the same addresses apart: the cluster's id."""
    force_new_cluster: bool = False
    """Start from the data on disk as the only member, whatever others there were.

    What this member has not written down as agreed is thrown away; of a member that was killed and
    not stopped, this may be the last few acknowledged changes. So stop it before, if it runs."""
    heartbeat_ms: int = 100
    election_ms: int = 600
    """An election begins 1 to 2 times this after the last heartbeat: a dead leader is replaced in
    0.6 to 1.3 s. Must be well above a round trip and a slow fsync."""

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def socket(self) -> Path:
        return self.directory / SOCKET

    @property
    def pid_file(self) -> Path:
        return self.directory / "pid"

    def arguments(self) -> list[str]:
        """etcd's own part of the command line."""
        listen = self.listen_peer_url or self.peer_url
        initial = self.initial or {self.name: self.peer_url}
        options: dict[str, object] = {
            "name": self.name,
            "data-dir": self.data,
            "listen-client-urls": f"unix://{SOCKET}",
            "advertise-client-urls": f"unix://{SOCKET}",
            "listen-peer-urls": listen,
            "initial-advertise-peer-urls": self.peer_url,
            "initial-cluster": ",".join(f"{name}={url}" for name, url in initial.items()),
            "initial-cluster-state": self.state,
            "initial-cluster-token": self.token,
            "heartbeat-interval": self.heartbeat_ms,
            "election-timeout": self.election_ms,
            # A member that comes back from a partition does not depose a leader that works.
            "pre-vote": "true",
            # etcd's own check refuses every change within 5 s of the last member's start. Members
            # are added without a vote and promoted when they are ready, which can cost no quorum;
            # for removals ``Members.remove`` checks.
            "strict-reconfig-check": "false",
            # A draft of the scheduler places thousands of tasks in one transaction.
            "max-txn-ops": 20_000,
            "max-request-bytes": 32 << 20,
            # etcd's leader compacts by itself. A manager that was away for less reads on where it
            # was; for longer, it reads everything, which is a matter of seconds.
            "auto-compaction-mode": "periodic",
            "auto-compaction-retention": "10m",
            "quota-backend-bytes": 2 << 30,
            # The raft log is held in memory from the last snapshot on, and 5,000 entries before.
            "snapshot-count": 5_000,
            "max-snapshots": 2,
            "max-wals": 2,
            "logger": "zap",
            "log-outputs": "stderr",
        }
        files = self.peer_files
        if files is not None:
            options |= {
                "peer-cert-file": files.certificate,
                "peer-key-file": files.key,
                "peer-trusted-ca-file": files.roots,
                "peer-client-cert-auth": "true",
                "peer-cert-allowed-cn": files.allowed_cn,
                # Who has such a certificate is a manager, from whichever of its addresses it
                # dials; the address that is dialled must still be in the certificate.
                "experimental-peer-skip-client-san-verification": "true",
            }
        if self.force_new_cluster:
            options["force-new-cluster"] = "true"
        return [f"--{name}={value}" for name, value in options.items()]
