"""X.509: roots, requests, the certificates of nodes. All of them ECDSA on P-256.

Of a request only the public key is taken; name, role and cluster are the issuer's own words.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sampan.cluster.ca.contract import LIFETIME_S, SHORTEST_LIFETIME_S
from sampan.cluster.etcd.settings import ETCD_CN
from sampan.cluster.peer.contract import NodeRole
from sampan.cluster.peer.tls import OU
from sampan.errors import InvalidArgument

ROOT_YEARS = 20
BACKDATE_S = 3600
"""A certificate is valid from an hour before it was made: clocks differ."""

_NODE_ID = re.compile(r"[0-9a-z]{1,64}")


@dataclass(frozen=True, slots=True)
class Root:
    """A root that can sign."""

    certificate: str
    """PEM."""
    key: bytes
    """PEM, PKCS 8. Lives in a manager's memory only, and sealed in the store."""
    chain: str = ""
    """PEM of certificates that lead from this root to an older one, sent with what it issues."""


@dataclass(frozen=True, slots=True)
class Validity:
    since: float
    """When it was issued, without the backdating. Seconds since the epoch."""
    until: float


def new_key() -> ec.EllipticCurvePrivateKey:
    """A node's or root's key. It never leaves the process that made it but to its own disk."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def new_root(now: float) -> Root:
    """A new root of trust, valid for ``ROOT_YEARS``."""
    key = new_key()
    # the serial number in the name tells two roots apart where names are all there is to compare
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "swarm-ca"),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, secrets.token_hex(8)),
        ]
    )
    until = _time(now) + timedelta(days=ROOT_YEARS * 365)
    made = _authority(name, key.public_key(), name, key, now, until)
    return Root(_pem(made), key_pem(key))


def cross_sign(new: Root, old: Root, now: float) -> str:
    """The new root as an intermediate below the old one, PEM: who knows only the old root believes
    what the new one issues."""
    found = x509.load_pem_x509_certificate(new.certificate.encode())
    issuer = x509.load_pem_x509_certificate(old.certificate.encode())
    public = found.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    until = min(found.not_valid_after_utc, issuer.not_valid_after_utc)
    return _pem(_authority(found.subject, public, issuer.subject, _key(old), now, until))


def request(key: ec.EllipticCurvePrivateKey) -> str:
    """A certificate request, PEM: proof that one holds ``key``, and no claim of anything."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def issue_node(
    root: Root,
    csr: str,
    *,
    node_id: str,
    role: NodeRole,
    cluster_id: str,
    now: float,
    lifetime_s: float,
) -> str:
    """A node's certificate with what leads to the root, PEM.

    Raises:
        InvalidArgument: a bad request, or ``node_id`` is not a node's id.
    """
    if not _NODE_ID.fullmatch(node_id):
        raise InvalidArgument(f"{node_id!r} is not a node's id")
    names = [x509.DNSName(node_id), x509.DNSName(OU[role])]
    return _issue(root, csr, node_id, OU[role], cluster_id, names, now, lifetime_s)


def issue_etcd(
    root: Root,
    csr: str,
    *,
    cluster_id: str,
    addresses: Iterable[str],
    now: float,
    lifetime_s: float,
) -> str:
    """A certificate for an etcd member at ``addresses`` (etcd compares them with whom it dials).

    Raises:
        InvalidArgument: a bad request or address.
    """
    names: list[x509.GeneralName] = []
    for address in addresses:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError as error:
            raise InvalidArgument(f"{address!r} is not an IP address") from error
    return _issue(root, csr, ETCD_CN, "sampan-store", cluster_id, names, now, lifetime_s)


def validity(pem: str) -> Validity:
    """How long the first certificate of ``pem`` serves."""
    found = x509.load_pem_x509_certificate(pem.encode())
    return Validity(
        found.not_valid_before_utc.timestamp() + BACKDATE_S, found.not_valid_after_utc.timestamp()
    )


def issuer_of(pem: str) -> tuple[bytes, bytes]:
    """Of a root: its subject (DER) and public key (DER), as ``TLSInfo`` of the API tells them."""
    found = x509.load_pem_x509_certificate(pem.encode())
    return found.subject.public_bytes(), _public_of(found)


def signed_by(pem: str, root: str) -> bool:
    """Whether the first certificate of ``pem`` was issued by ``root`` itself."""
    found = x509.load_pem_x509_certificate(pem.encode())
    issuer = x509.load_pem_x509_certificate(root.encode())
    try:
        found.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def issuer_first(roots: str, certificate: str) -> str:
    """The bundle ``roots`` with the one first that ``certificate`` (of a node) was issued by."""
    found = [_pem(one) for one in x509.load_pem_x509_certificates(roots.encode())]
    if len(found) == 1:
        return roots
    return "".join(sorted(found, key=lambda root: not signed_by(certificate, root)))


def _issue(
    root: Root,
    csr: str,
    common_name: str,
    unit: str,
    cluster_id: str,
    names: list[x509.DNSName] | list[x509.GeneralName],
    now: float,
    lifetime_s: float,
) -> str:
    if lifetime_s < SHORTEST_LIFETIME_S:
        lifetime_s = LIFETIME_S
    public = _requested_key(csr)
    issuer = x509.load_pem_x509_certificate(root.certificate.encode())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster_id),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    builder = (
        _builder(subject, public, issuer.subject, now)
        .not_valid_after(min(_time(now + lifetime_s), issuer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(_key(root).public_key()),
            critical=False,
        )
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _pem(builder.sign(_key(root), hashes.SHA256())) + root.chain


def _requested_key(csr: str) -> ec.EllipticCurvePublicKey:
    try:
        found = x509.load_pem_x509_csr(csr.encode())
        valid = found.is_signature_valid
        public = found.public_key()
    except (ValueError, TypeError, x509.UnsupportedGeneralNameType) as error:
        raise InvalidArgument(f"not a certificate request: {error}") from error
    if not valid:
        raise InvalidArgument("the certificate request is not signed with its own key")
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.key_size < 256:
        raise InvalidArgument("the certificate request must have an ECDSA key of 256 bits or more")
    return public


def _authority(
    subject: x509.Name,
    public: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    signer: ec.EllipticCurvePrivateKey,
    now: float,
    until: datetime,
) -> x509.Certificate:
    return (
        _builder(subject, public, issuer, now)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, public: ec.EllipticCurvePublicKey, issuer: x509.Name, now: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_time(now - BACKDATE_S))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, sign: bool) -> x509.KeyUsage:
    """``sign``: of a leaf, which signs handshakes; else of an authority, which signs others."""
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not sign,
        crl_sign=not sign,
        encipher_only=False,
        decipher_only=False,
    )


def _key(root: Root) -> ec.EllipticCurvePrivateKey:
    found = serialization.load_pem_private_key(root.key, None)
    assert isinstance(found, ec.EllipticCurvePrivateKey)
    return found


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _public_of(certificate: x509.Certificate) -> bytes:
    found = certificate.public_key()
    return found.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
