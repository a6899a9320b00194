"""Join tokens, as Docker writes them.

    SWMTKN-1-<digest of the root, 50 digits of base 36>-<secret, 25 digits of base 36>

The first half tells a joining node whom to believe, the second tells the cluster to believe the
node. A token without its cluster's root in it would let anybody on the way be the cluster.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field

from sampan.cluster.base36 import base36, random_base36
from sampan.cluster.peer.contract import NodeRole
from sampan.cluster.peer.wire import travels
from sampan.cluster.records import Cluster
from sampan.errors import InvalidArgument

_DIGEST_LENGTH = 50
_FORM = re.compile(r"SWMTKN-1-([0-9a-z]{50})-([0-9a-z]{25})")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


class BadJoinToken(InvalidArgument):
    """What was given is no token at all."""

    def __init__(self) -> None:
        super().__init__(
            "invalid join token: it looks like SWMTKN-1-...-..., and `sampan swarm join-token "
            "worker` prints it on a manager"
        )


@travels
class WrongJoinToken(InvalidArgument):
    """A token of another time or another cluster."""

    def __init__(self, message: str = "") -> None:
        super().__init__(
            message
            or "rpc error: code = InvalidArgument desc = "
            "A valid join token is necessary to join this cluster"
        )


@dataclass(frozen=True, slots=True)
class JoinToken:
    digest: str
    """SHA-256 of the root certificate's PEM, hexadecimal."""
    secret: str = field(repr=False)

    def __str__(self) -> str:
        return f"SWMTKN-1-{base36(int(self.digest, 16), _DIGEST_LENGTH)}-{self.secret}"

    @classmethod
    def parse(cls, text: str) -> JoinToken:
        """The token that ``text`` is.

        Raises:
            BadJoinToken
        """
        if (found := _FORM.fullmatch(text.strip())) is None:
            raise BadJoinToken
        if (digest := int(found[1], 36)) >= 1 << 256:
            raise BadJoinToken
        return cls(f"{digest:064x}", found[2])


def new_secret() -> str:
    """The last part of a new token: 128 random bits. Putting it in the record in the place of the
    old one is all that a rotation of the token is."""
    return random_base36()


def digest_of(root: str) -> str:
    """SHA-256 of a root certificate's PEM, hexadecimal, as tokens carry it."""
    return hashlib.sha256(root.encode()).hexdigest()


def pinned_root(cluster: Cluster) -> str:
    """PEM of the root that tokens name and joining nodes fetch.

    While the root changes that is the oldest: some managers still prove themselves with it alone,
    and who has renewed sends the new root signed by the old along.
    """
    return oldest(cluster.trusted_roots) if cluster.rotating else cluster.root_certificate


def oldest(roots: str) -> str:
    """The first certificate of a bundle, PEM: newer roots are put behind it."""
    found = _CERTIFICATE.search(roots)
    return found[0] if found is not None else ""


def join_token(cluster: Cluster, role: NodeRole) -> str:
    """The token by which a node joins as ``role``."""
    secret = cluster.manager_secret if role == "manager" else cluster.worker_secret
    return str(JoinToken(digest_of(pinned_root(cluster)), secret))


def role_by_token(cluster: Cluster, token: str) -> NodeRole:
    """What a token lets a node join as. Takes the same time whatever is wrong with it.

    Raises:
        WrongJoinToken
    """
    given = token.strip().encode()
    manager = hmac.compare_digest(given, join_token(cluster, "manager").encode())
    worker = hmac.compare_digest(given, join_token(cluster, "worker").encode())
    if manager:
        return "manager"
    if worker:
        return "worker"
    raise WrongJoinToken
