"""TLS contexts of a node: made of its files, made again when those change.

A certificate proves which node of which cluster its holder is, and never a host name: nodes are
dialled by whatever address they have. So OpenSSL checks the chain up to the cluster's roots, and
the subject is checked here, inside the handshake, before a byte of a request is sent.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sampan.cluster.peer.contract import Identity, NodeRole

OU: dict[NodeRole, str] = {"manager": "swarm-manager", "worker": "swarm-worker"}
_ROLES: dict[str, NodeRole] = {ou: role for role, ou in OU.items()}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a node proves itself with."""

    identity: Identity
    pair: Path
    """One PEM file: private key, certificate, intermediates. One, so that they always fit."""
    roots: str
    """PEM of every root that is trusted: two while the cluster changes its root."""
    certificate: str = ""
    """Of ``pair``: the certificate and what leads to the root. Empty: nobody renews it."""


class WrongPeer(ssl.SSLCertVerificationError):
    """The chain is good, the subject is not the one that was asked for."""


def identity_of(certificate: Mapping[str, Any] | None) -> Identity | None:
    """Who a verified certificate (as ``getpeercert`` tells it) names; None if no node."""
    if not certificate:
        return None
    subject: dict[str, str] = {
        key: value for part in certificate.get("subject", ()) for key, value in part
    }
    role = _ROLES.get(subject.get("organizationalUnitName", ""))
    node, cluster = subject.get("commonName", ""), subject.get("organizationName", "")
    return Identity(node, role, cluster) if role and node and cluster else None


class _Checked(ssl.SSLObject):
    """A client's side of a connection that looks at the subject once the chain is verified."""

    def do_handshake(self) -> None:
        super().do_handshake()
        cast(ClientContext, self.context).check(identity_of(self.getpeercert()))


class ClientContext(ssl.SSLContext):
    """Accepts one kind of other side, or one node."""

    sslobject_class = _Checked
    cluster_id: str | None
    """None: not known yet; the chain to the root must do."""
    role: NodeRole | None
    node_id: str

    def check(self, found: Identity | None) -> None:
        """Raises WrongPeer unless ``found`` is who this context is for."""
        if found is None or self.cluster_id not in (None, found.cluster_id):
            raise WrongPeer("it is not a node of this cluster")
        if self.node_id and found.node_id != self.node_id:
            raise WrongPeer(f"it is node {found.node_id}, not {self.node_id}")
        if self.role is not None and found.role != self.role:
            raise WrongPeer(f"it is a {found.role}, and this needs a {self.role}")


class Tls:
    """The contexts of one node. ``reload`` is seen by every connection made from then on, without
    a listener or a session being touched."""

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials
        self._server: ssl.SSLContext | None = None
        self._clients: dict[tuple[NodeRole | None, str], ClientContext] = {}

    def reload(self, credentials: Credentials) -> None:
        """Use these from now on. Contexts are made anew, because a live one never forgets a root.

        Raises:
            ssl.SSLError, OSError: the files are unusable; what was there before stays.
        """
        server = _server_context(credentials)
        self.credentials, self._server = credentials, server
        self._clients.clear()

    @property
    def server(self) -> ssl.SSLContext:
        """For accepting: a certificate is asked for; who has none is let in as nobody."""
        if self._server is None:
            self._server = _server_context(self.credentials)
        return self._server

    def client(self, role: NodeRole | None, node_id: str = "") -> ClientContext:
        """For dialling a node of ``role`` (None: any), and of that id if one is given."""
        if (context := self._clients.get((role, node_id))) is None:
            context = trusting(self.credentials.roots, self.credentials.identity.cluster_id)
            context.load_cert_chain(self.credentials.pair)
            context.role, context.node_id = role, node_id
            if len(self._clients) >= 512:  # nodes come and go
                self._clients.pop(next(iter(self._clients)))
            self._clients[role, node_id] = context
        return context


def trusting(roots: str, cluster_id: str | None) -> ClientContext:
    """A context of somebody without a certificate, who knows the roots and wants a manager."""
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=roots)
    _tighten(context)
    context.cluster_id, context.role, context.node_id = cluster_id, "manager", ""
    return context


def blind() -> ssl.SSLContext:
    """Believes anybody. Only for fetching what is then checked against a digest."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _tighten(context)
    return context


def _server_context(credentials: Credentials) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_verify_locations(cadata=credentials.roots)
    context.load_cert_chain(credentials.pair)
    context.verify_mode = ssl.CERT_OPTIONAL
    _tighten(context)
    # a resumed session would skip the look at the certificate, which may have run out by then
    context.num_tickets = 0
    return context


def _tighten(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
