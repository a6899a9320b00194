"""A node's way to its certificates: the first by a token, the next by the one before."""

from __future__ import annotations

from collections.abc import Sequence

from sampan.aio import Clock, in_thread
from sampan.cluster.ca.certificates import key_pem, new_key, request
from sampan.cluster.ca.contract import (
    ISSUE_PATH,
    KEY_PATH,
    RENEW_PATH,
    ROOT_PATH,
    Issued,
    IssueRequest,
    KeyReply,
    KeyRequest,
    RenewRequest,
)
from sampan.cluster.ca.files import CertificateFiles, subject
from sampan.cluster.ca.tokens import JoinToken
from sampan.cluster.peer.address import join_port, split_port
from sampan.cluster.peer.client import PeerClient, fetch_pinned
from sampan.cluster.peer.contract import DEFAULT_PORT, Client, Impostor, Unreachable
from sampan.cluster.peer.tls import Credentials, trusting
from sampan.errors import Unavailable

FETCH_S = 5.0
ISSUE_S = 20.0


async def fetch_root(
    address: str, digest: str, *, timeout_s: float = FETCH_S, clock: Clock | None = None
) -> str:
    """The cluster's root, PEM, of the node at ``address``: believed because it has ``digest``.

    Raises:
        Impostor: "remote CA does not match fingerprint. Expected: ..., got ..."
        Unreachable
    """
    try:
        found = await fetch_pinned(address, ROOT_PATH, digest, timeout_s=timeout_s, clock=clock)
    except Unreachable as error:
        host, port = split_port(address)
        if port == DEFAULT_PORT:
            raise
        usual = join_port(host, DEFAULT_PORT)
        raise Unreachable(
            address,
            f"{error.why}. Managers listen on port {DEFAULT_PORT} unless another was chosen with "
            f"--listen-addr: try {usual}, or look at a manager with 'swarm join-token worker'",
        ) from error
    return found.decode()


async def join(
    address: str,
    token: str,
    files: CertificateFiles,
    *,
    availability: str = "",
    advertise: str = "",
    clock: Clock | None = None,
) -> Credentials:
    """Become a node of the cluster that the manager at ``address`` (``host:port``) is of.

    Raises:
        BadJoinToken, WrongJoinToken
        Impostor: it is another cluster, or not a manager.
        Unreachable
    """
    pinned = JoinToken.parse(token)
    roots = await fetch_root(address, pinned.digest, clock=clock)
    key = new_key()
    # the cluster's id is not known before its first certificate: the root stands for it
    client = PeerClient(anonymous=trusting(roots, None), clock=clock)
    try:
        issued = await client.call(
            address,
            ISSUE_PATH,
            IssueRequest(
                token=token.strip(),
                csr=request(key),
                availability=availability,
                address=advertise,
            ),
            Issued,
            timeout_s=ISSUE_S,
        )
    finally:
        await client.close()
    return await in_thread(_keep, files, issued, key_pem(key), b"")


class CertificateClient:
    """Asks any of some managers for the next certificate, and keeps it."""

    def __init__(self, client: Client, files: CertificateFiles) -> None:
        self._client = client
        self._files = files

    async def renew(
        self, addresses: Sequence[str], *, etcd_addresses: Sequence[str] = ()
    ) -> Credentials:
        """A new key and its certificate; ``etcd_addresses`` (of a manager): the store's, too.

        The first of ``addresses`` that answers is taken.

        Raises:
            SampanError: what the last one said.
        """
        key, etcd_key = new_key(), new_key()
        asked = RenewRequest(
            csr=request(key),
            etcd_csr=request(etcd_key) if etcd_addresses else "",
            etcd_addresses=tuple(etcd_addresses),
        )
        for index, address in enumerate(addresses):
            try:
                issued = await self._client.call(address, RENEW_PATH, asked, Issued)
                break
            except (Unavailable, Impostor):
                if index == len(addresses) - 1:
                    raise
        else:
            raise Unavailable("no manager is known to renew this node's certificate with")
        return await in_thread(_keep, self._files, issued, key_pem(key), key_pem(etcd_key))

    async def cluster_key(self, address: str) -> bytes:
        """The cluster's key, for a node that has become a manager.

        Raises:
            Forbidden: it has not.
        """
        reply = await self._client.call(address, KEY_PATH, KeyRequest(), KeyReply)
        return reply.key


def _keep(files: CertificateFiles, issued: Issued, key: bytes, etcd_key: bytes) -> Credentials:
    found = subject(issued.certificate)
    if found is None or found.node_id != issued.node_id or found.role != issued.role:
        raise Impostor("the manager issued a certificate for somebody else")
    return files.save(issued, key, etcd_key)
