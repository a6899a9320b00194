"""A cluster's certificates without a cluster."""

from __future__ import annotations

import time
from pathlib import Path

from sampan.cluster.ca.certificates import Root, issue_node, key_pem, new_key, new_root, request
from sampan.cluster.ca.contract import LIFETIME_S, Issued
from sampan.cluster.ca.files import CertificateFiles
from sampan.cluster.peer.contract import NodeRole
from sampan.cluster.peer.tls import Credentials


class Issuer:
    """Hands out credentials of one cluster."""

    def __init__(self, directory: Path, cluster_id: str = "cluster1", root: Root | None = None):
        self.directory = directory
        self.cluster_id = cluster_id
        self.root = root or new_root(time.time())
        self.roots = self.root.certificate

    def files(self, node_id: str) -> CertificateFiles:
        """Where a node's files are."""
        return CertificateFiles(self.directory / self.cluster_id / node_id)

    def credentials(
        self,
        node_id: str,
        role: NodeRole = "worker",
        *,
        issued_at: float | None = None,
        lifetime_s: float = LIFETIME_S,
    ) -> Credentials:
        """A node's credentials, on disk. ``issued_at``: in the past for one that has run out."""
        key = new_key()
        certificate = issue_node(
            self.root,
            request(key),
            node_id=node_id,
            role=role,
            cluster_id=self.cluster_id,
            now=time.time() if issued_at is None else issued_at,
            lifetime_s=lifetime_s,
        )
        issued = Issued(
            node_id=node_id,
            cluster_id=self.cluster_id,
            role=role,
            certificate=certificate,
            roots=self.roots,
        )
        return self.files(node_id).save(issued, key_pem(key))
