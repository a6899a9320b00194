"""The first manager: it has nobody to ask for a certificate, so it is its own authority."""

from __future__ import annotations

from dataclasses import dataclass

from sampan.cluster.ca import secretbox
from sampan.cluster.ca.authority import found, lifetime_s, signer
from sampan.cluster.ca.certificates import issue_etcd, issue_node, key_pem, new_key, request
from sampan.cluster.ca.contract import Issued
from sampan.cluster.ca.files import CertificateFiles
from sampan.cluster.ca.secretbox import SecretBox
from sampan.cluster.node.state_dir import NodeDirectory
from sampan.cluster.peer.tls import Credentials
from sampan.cluster.records import Cluster


@dataclass(frozen=True, slots=True)
class BootstrappedCluster:
    cluster: Cluster
    box: SecretBox
    credentials: Credentials


def bootstrap_cluster(
    state_dir: NodeDirectory,
    files: CertificateFiles,
    cluster: Cluster,
    *,
    node_id: str,
    etcd_address: str,
    now: float,
) -> BootstrappedCluster:
    """Make the cluster's key, root and join secrets, and the first node's certificates. All of it
    is on disk when this returns, but for the cluster's record, which belongs into the store."""
    key = secretbox.new_key()
    box = SecretBox(key)
    cluster = found(cluster, box, now)
    root, lifetime = signer(cluster, box), lifetime_s(cluster)
    node_key, etcd_key = new_key(), new_key()
    issued = Issued(
        node_id=node_id,
        cluster_id=cluster.id,
        role="manager",
        certificate=issue_node(
            root,
            request(node_key),
            node_id=node_id,
            role="manager",
            cluster_id=cluster.id,
            now=now,
            lifetime_s=lifetime,
        ),
        roots=cluster.trusted_roots,
        etcd_certificate=issue_etcd(
            root,
            request(etcd_key),
            cluster_id=cluster.id,
            addresses=(etcd_address,),
            now=now,
            lifetime_s=lifetime,
        ),
    )
    secretbox.save_key(state_dir.key, key)
    return BootstrappedCluster(
        cluster, box, files.save(issued, key_pem(node_key), key_pem(etcd_key))
    )
