"""A node's certificates on disk.

    certificates/
      root.pem    every root that is trusted
      node.pem    private key, certificate and what leads to the root, in this order; mode 0600

Key and certificate are one file, so that one rename replaces both and no crash can leave a key
beside another's certificate. Programs that want two files are given this one twice. A key exists
only in memory until its certificate is there: what is asked for and not answered leaves nothing.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from sampan.cluster.ca.contract import Issued
from sampan.cluster.peer.contract import Identity
from sampan.cluster.peer.tls import Credentials, identity_of
from sampan.errors import Internal
from sampan.files import write_private

_CERTIFICATES = re.compile(r"-----BEGIN CERTIFICATE-----.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class EtcdFiles:
    """What etcd is started with. It reads them again for each new connection."""

    pair: Path
    """Both its ``--peer-cert-file`` and its ``--peer-key-file``."""
    roots: Path


class CertificateFiles:
    """A directory of certificates. All methods block, briefly."""

    def __init__(self, directory: Path, *, etcd: Path | None = None) -> None:
        self._directory = directory
        self._etcd = etcd

    @property
    def pair(self) -> Path:
        return self._directory / "node.pem"

    @property
    def roots(self) -> Path:
        return self._directory / "root.pem"

    @property
    def etcd(self) -> EtcdFiles:
        assert self._etcd is not None
        return EtcdFiles(self._etcd / "etcd.pem", self._etcd / "root.pem")

    def save(self, issued: Issued, key: bytes, etcd_key: bytes = b"") -> Credentials:
        """Keep what was issued; durable when it returns."""
        # Roots first: with more roots the old certificate works as before, but the new one might
        # not without. Roots are only taken away once this node's own certificate is newer.
        write_private(self.roots, issued.roots.encode())
        if issued.etcd_certificate:
            write_private(self.etcd.roots, issued.roots.encode())
            write_private(self.etcd.pair, etcd_key + issued.etcd_certificate.encode())
        write_private(self.pair, key + issued.certificate.encode())
        return self.load()

    def load(self) -> Credentials:
        """What is there.

        Raises:
            FileNotFoundError: nothing.
            Internal: it is not understood.
        """
        roots = self.roots.read_text()
        certificate = self.certificate()
        identity = subject(certificate)
        if identity is None:
            raise Internal(f"{self.pair} is not the certificate of a node")
        return Credentials(identity, self.pair, roots, certificate)

    def certificate(self) -> str:
        """The node's certificate and what leads to the root, PEM.

        Raises:
            FileNotFoundError, Internal
        """
        found = _CERTIFICATES.search(self.pair.read_text())
        if found is None:
            raise Internal(f"{self.pair} has no certificate in it: it is damaged")
        return found[0]

    def clear(self) -> None:
        """Forget all of it."""
        self.pair.unlink(missing_ok=True)
        shutil.rmtree(self._directory, ignore_errors=True)
        if self._etcd is not None:
            shutil.rmtree(self._etcd, ignore_errors=True)


def subject(pem: str) -> Identity | None:
    """Whom the first certificate of ``pem`` names; None: no node."""
    found = x509.load_pem_x509_certificate(pem.encode()).subject

    def part(oid: x509.ObjectIdentifier) -> str:
        return next((str(a.value) for a in found.get_attributes_for_oid(oid)), "")

    return identity_of(
        {
            "subject": (
                (("organizationName", part(NameOID.ORGANIZATION_NAME)),),
                (("organizationalUnitName", part(NameOID.ORGANIZATIONAL_UNIT_NAME)),),
                (("commonName", part(NameOID.COMMON_NAME)),),
            )
        }
    )
