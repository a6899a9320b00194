"""What the CA's server needs of the cluster, and what it and nodes say to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from sampan.cluster.peer.contract import NodeRole
from sampan.cluster.records import Cluster

if TYPE_CHECKING:
    from sampan.cluster.ca.secretbox import SecretBox

ROOT_PATH = "/ca/root"
ISSUE_PATH = "/ca/issue"
RENEW_PATH = "/ca/renew"
KEY_PATH = "/ca/cluster-key"

LIFETIME_S = 90 * 24 * 3600
"""Of a node's certificate, where nothing was chosen."""
SHORTEST_LIFETIME_S = 3600


class IssueRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node that joins."""

    token: str
    csr: str
    """PEM; only its key counts."""
    availability: str = ""
    address: str = ""
    """ADDRESS:PORT that it will be found at."""


class RenewRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node that has a certificate wants its next one. Its role is what the store says."""

    csr: str
    etcd_csr: str = ""
    """A manager's: for its etcd member as well."""
    etcd_addresses: tuple[str, ...] = ()
    """IP addresses that other members dial it at."""


class Issued(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    node_id: str
    cluster_id: str
    role: NodeRole
    certificate: str
    """PEM; what leads to the root comes after it."""
    roots: str
    """PEM of every root to trust from now on."""
    etcd_certificate: str = ""


class KeyRequest(msgspec.Struct, frozen=True):
    pass


class KeyReply(msgspec.Struct, frozen=True):
    key: bytes


class Authority(Protocol):
    """The cluster, to its CA. On every manager."""

    @property
    def cluster(self) -> Cluster:
        """The record as it is now.

        Raises:
            Unavailable: this manager has none (yet).
        """
        ...

    @property
    def box(self) -> SecretBox:
        """What opens the root's key."""
        ...

    def role_of(self, node_id: str) -> NodeRole | None:
        """The role a certificate of this node should have (``spec.role``); None: no member."""
        ...

    async def admit(self, node_id: str, role: NodeRole, request: IssueRequest, remote: str) -> None:
        """A node with a good token will be ``node_id``: durably a member when this returns, so
        that every manager accepts the certificate that it gets next. ``remote``: IP address that it
        asks from.

        Raises:
            SampanError: it may not join; it is told why.
        """
        ...
