"""What a manager answers as the CA: the root, first certificates, next certificates, the key."""

from __future__ import annotations

import logging

from sampan.aio import Clock
from sampan.cluster.ca.authority import lifetime_s, signer
from sampan.cluster.ca.certificates import issue_etcd, issue_node
from sampan.cluster.ca.contract import (
    ISSUE_PATH,
    KEY_PATH,
    RENEW_PATH,
    ROOT_PATH,
    Authority,
    Issued,
    IssueRequest,
    KeyReply,
    KeyRequest,
    RenewRequest,
)
from sampan.cluster.ca.tokens import oldest, pinned_root, role_by_token
from sampan.cluster.peer.contract import Allow, Identity, NodeRole, PeerRequest, Reply, Server
from sampan.cluster.records import new_id
from sampan.errors import Forbidden, Unavailable

log = logging.getLogger(__name__)


class NotKnownYet(Unavailable):
    """This manager's copy of the state does not have the node."""

    def __init__(self, node_id: str) -> None:
        super().__init__(f"this manager knows nothing of node {node_id} yet: ask again")


class CertificateServer:
    """Stateless: everything is the ``authority``'s."""

    def __init__(self, authority: Authority, clock: Clock) -> None:
        self._authority = authority
        self._clock = clock

    def register(self, server: Server) -> None:
        """Answer on ``server`` (before it starts)."""
        server.route("GET", ROOT_PATH, self.root, allow=Allow.ANYONE)
        server.call(ISSUE_PATH, IssueRequest, self._issue, allow=Allow.ANYONE)
        server.call(RENEW_PATH, RenewRequest, self._renew, allow=Allow.NODES)
        server.call(KEY_PATH, KeyRequest, self._key, allow=Allow.MANAGERS)

    async def root(self, request: PeerRequest) -> Reply:
        """The root that tokens name, PEM. No secret: its digest decides whether it is believed."""
        return Reply(body=pinned_root(self._authority.cluster).encode())

    async def issue(self, request: IssueRequest, remote: str) -> Issued:
        """A first certificate for who has a token, as the role that the token is for.

        Raises:
            WrongJoinToken
            InvalidArgument: a bad certificate request.
        """
        role = role_by_token(self._authority.cluster, request.token)
        node_id = new_id()
        # Signed before the node is made: a request that cannot be signed leaves no node behind.
        issued = self._sign(node_id, role, RenewRequest(csr=request.csr))
        await self._authority.admit(node_id, role, request, remote)
        log.info("node %s at %s joins as %s", node_id, remote, role)
        return issued

    def renew(self, caller: Identity, request: RenewRequest) -> Issued:
        """The next certificate of a member, as the role that the store says it has.

        Raises:
            NotKnownYet
            Forbidden: a certificate for etcd, and the node is no manager.
            InvalidArgument: a bad certificate request.
        """
        role = self._authority.role_of(caller.node_id)
        if role is None:
            # The server lets in callers that may be nodes; to call a node removed that has
            # only just joined over another manager would make it leave.
            raise NotKnownYet(caller.node_id)
        if request.etcd_csr and role != "manager":
            raise Forbidden(f"node {caller.node_id} is not a manager: it has no store")
        return self._sign(caller.node_id, role, request)

    def _sign(self, node_id: str, role: NodeRole, request: RenewRequest) -> Issued:
        cluster = self._authority.cluster
        root, now, lifetime = (
            signer(cluster, self._authority.box),
            self._clock.now(),
            lifetime_s(cluster),
        )
        etcd = ""
        if request.etcd_csr:
            etcd = issue_etcd(
                root,
                request.etcd_csr,
                cluster_id=cluster.id,
                addresses=request.etcd_addresses,
                now=now,
                lifetime_s=lifetime,
            )
        return Issued(
            node_id=node_id,
            cluster_id=cluster.id,
            role=role,
            certificate=issue_node(
                root,
                request.csr,
                node_id=node_id,
                role=role,
                cluster_id=cluster.id,
                now=now,
                lifetime_s=lifetime,
            ),
            roots=cluster.trusted_roots,
            etcd_certificate=etcd,
        )

    async def _issue(self, request: PeerRequest, body: IssueRequest) -> Issued:
        return await self.issue(body, request.remote)

    async def _renew(self, request: PeerRequest, body: RenewRequest) -> Issued:
        return self.renew(request.caller, body)

    async def _key(self, request: PeerRequest, body: KeyRequest) -> KeyReply:
        log.info("manager %s takes the cluster's key", request.caller.node_id)
        return KeyReply(self._authority.box.key)


class RootServer:
    """What a worker answers of the CA: the root alone, so that who joins by a worker's address
    gets as far as learning that it is one."""

    def __init__(self, roots: str) -> None:
        # while the root changes there are two, and tokens name the older: see ``pinned_root``
        self._pem = oldest(roots)

    def register(self, server: Server) -> None:
        server.route("GET", ROOT_PATH, self._root, allow=Allow.ANYONE)

    async def _root(self, request: PeerRequest) -> Reply:
        return Reply(body=self._pem.encode())
