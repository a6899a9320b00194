"""The cluster's root over time: made, used, replaced. Plain functions from record to record.

Replacing a root never leaves two nodes that cannot talk:

    begin      a new root is made and signed by the old one. Both are trusted from here; what is
               issued from here comes from the new root and carries the cross-signed one along, so
               that nodes which know only the old root believe it as well.
    meanwhile  every node renews (told by its session): new certificate, both roots.
    finish     once each node's certificate is of the new root: the old one is forgotten, and
               nodes drop it with their next renewal or when told. Join tokens name the new root.

The way down to older roots is sent along after that, too: it costs 700 bytes a root, means nothing
to who trusts the new root, and keeps a process talking that has read its roots only once, at its
start, as etcd does. (It goes on trusting the old root until it is started again.)
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from sampan.cluster.ca.certificates import Root, cross_sign, issuer_of, new_root
from sampan.cluster.ca.contract import LIFETIME_S
from sampan.cluster.ca.tokens import new_secret
from sampan.cluster.manager_parts import Sealing
from sampan.cluster.records import Cluster, Node

_NS = 1_000_000_000
CHAIN_LIMIT = 4
"""Older roots that the way is shown to."""
_END = "-----END CERTIFICATE-----\n"


def _about(cluster: Cluster) -> str:
    return f"{cluster.id}/root-key"


def found(cluster: Cluster, box: Sealing, now: float) -> Cluster:
    """``cluster`` (which has its id already) with a root and join secrets."""
    root = new_root(now)
    return replace(
        cluster,
        root_certificate=root.certificate,
        trusted_roots=root.certificate,
        sealed_root_key=box.seal(root.key, about=_about(cluster)),
        worker_secret=new_secret(),
        manager_secret=new_secret(),
    )


def signer(cluster: Cluster, box: Sealing) -> Root:
    """The root that issues now, with its key.

    Raises:
        CannotUnseal
    """
    key = box.unseal(cluster.sealed_root_key, about=_about(cluster))
    return Root(cluster.root_certificate, key, cluster.cross_signed)


def lifetime_s(cluster: Cluster) -> float:
    """How long a node's certificate serves."""
    return cluster.spec.ca_config.node_cert_expiry / _NS or LIFETIME_S


def begin_rotation(cluster: Cluster, box: Sealing, now: float) -> Cluster:
    """A new root beside the trusted ones. May be done while another rotation is under way: the
    chain then leads from the newest root down to the oldest."""
    old, new = signer(cluster, box), new_root(now)
    return replace(
        cluster,
        root_certificate=new.certificate,
        trusted_roots=cluster.trusted_roots + new.certificate,
        sealed_root_key=box.seal(new.key, about=_about(cluster)),
        cross_signed=_newest(cross_sign(new, old, now) + old.chain),
        rotating=True,
    )


def renewed(cluster: Cluster, node: Node) -> bool:
    """Whether a node says that its certificate is of the newest root."""
    subject, public = issuer_of(cluster.root_certificate)
    said = node.description
    return said.certificate_issuer == subject and said.certificate_issuer_key == public


def can_finish(cluster: Cluster, nodes: Iterable[Node]) -> bool:
    """Whether every node has renewed. One that is down counts: without a certificate that holds it
    could never come back. Remove it from the cluster to go on without it."""
    return cluster.rotating and all(renewed(cluster, node) for node in nodes)


def finish_rotation(cluster: Cluster) -> Cluster:
    """Only the newest root is trusted from here; tokens name it, so old ones are void."""
    return replace(
        cluster,
        trusted_roots=cluster.root_certificate,
        rotating=False,
        worker_secret=new_secret(),
        manager_secret=new_secret(),
    )


def _newest(chain: str) -> str:
    return "".join(pem + _END for pem in chain.split(_END)[:-1][:CHAIN_LIMIT])
