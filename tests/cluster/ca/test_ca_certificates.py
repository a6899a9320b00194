"""Certificates as OpenSSL's own command sees them, and files that no crash leaves apart."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from msgspec.structs import replace

from sampan.cluster.ca.authority import (
    CHAIN_LIMIT,
    begin_rotation,
    can_finish,
    finish_rotation,
    found,
    lifetime_s,
    signer,
)
from sampan.cluster.ca.certificates import (
    BACKDATE_S,
    Root,
    issue_etcd,
    issue_node,
    issuer_of,
    key_pem,
    new_key,
    new_root,
    request,
    signed_by,
    validity,
)
from sampan.cluster.ca.contract import LIFETIME_S, Issued
from sampan.cluster.ca.files import CertificateFiles, subject
from sampan.cluster.ca.secretbox import CannotUnseal, SecretBox
from sampan.cluster.etcd.settings import ETCD_CN
from sampan.cluster.peer.contract import Identity, NodeRole
from sampan.cluster.peer.tls import Tls
from sampan.cluster.records import Cluster, Node, NodeDescription
from sampan.cluster.spec import CaConfig, SwarmSpec
from sampan.errors import InvalidArgument
from sampan.testing.certificates import Issuer

NOW = time.time()
BOX = SecretBox(b"k" * 32)
HOUR_NS = 3600 * 1_000_000_000


@pytest.fixture(scope="module")
def root() -> Root:
    return new_root(NOW)


def issue(root: Root, role: NodeRole = "worker", lifetime: float = LIFETIME_S) -> str:
    return issue_node(
        root,
        request(new_key()),
        node_id="abc123",
        role=role,
        cluster_id="c1",
        now=NOW,
        lifetime_s=lifetime,
    )


def openssl(*args: str, given: str = "") -> str:
    done = subprocess.run(
        ["openssl", *args], input=given, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_openssl_agrees_with_what_was_issued(root: Root, tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_text(root.certificate)
    (tmp_path / "node.pem").write_text(issue(root, "manager"))
    verified = openssl(
        "verify", "-x509_strict", "-CAfile", f"{tmp_path}/root.pem", f"{tmp_path}/node.pem"
    )
    assert verified.endswith("OK\n"), verified
    text = openssl("x509", "-noout", "-subject", "-ext", "subjectAltName", given=issue(root))
    assert "O = c1, OU = swarm-worker, CN = abc123" in text
    assert "DNS:abc123, DNS:swarm-worker" in text


def test_a_certificate_is_backdated_and_lives_as_long_as_asked(root: Root) -> None:
    found = x509.load_pem_x509_certificate(issue(root, lifetime=7200).encode())
    assert found.not_valid_before_utc.timestamp() == int(NOW) - BACKDATE_S
    assert validity(issue(root, lifetime=7200)).since == int(NOW)
    assert validity(issue(root, lifetime=7200)).until == int(NOW + 7200)
    assert validity(issue(root)).until == int(NOW + 90 * 86400)
    assert validity(root.certificate).until > NOW + 19 * 365 * 86400


def test_no_certificate_outlives_its_root() -> None:
    old = new_root(NOW - (20 * 365 - 10) * 86400)
    assert validity(issue(old)).until == validity(old.certificate).until


@pytest.mark.parametrize("node_id", ["", "Node", ETCD_CN, "a.b", "x" * 65, "a\n"])
def test_only_a_nodes_id_may_be_a_name(root: Root, node_id: str) -> None:
    with pytest.raises(InvalidArgument):
        issue_node(
            root,
            request(new_key()),
            node_id=node_id,
            role="worker",
            cluster_id="c1",
            now=NOW,
            lifetime_s=LIFETIME_S,
        )


def foreign_request(key: object, name: str = "x") -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    )
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    made = builder.sign(key, algorithm)  # type: ignore[arg-type]
    return made.public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    "csr",
    [
        "",
        "garbage",
        foreign_request(rsa.generate_private_key(65537, 2048)),
        foreign_request(ed25519.Ed25519PrivateKey.generate()),
        foreign_request(ec.generate_private_key(ec.SECP192R1())),
    ],
)
def test_bad_requests_are_the_callers_fault(root: Root, csr: str) -> None:
    with pytest.raises(InvalidArgument):
        issue_node(
            root,
            csr,
            node_id="a",
            role="worker",
            cluster_id="c1",
            now=NOW,
            lifetime_s=LIFETIME_S,
        )


def test_a_request_signed_by_another_key_is_refused(root: Root) -> None:
    made = x509.load_pem_x509_csr(request(new_key()).encode())
    raw = bytearray(made.public_bytes(serialization.Encoding.DER))
    raw[-1] ^= 1
    pem = (
        "-----BEGIN CERTIFICATE REQUEST-----\n"
        + base64.encodebytes(bytes(raw)).decode()
        + "-----END CERTIFICATE REQUEST-----\n"
    )
    with pytest.raises(InvalidArgument):
        issue_etcd(root, pem, cluster_id="c1", addresses=(), now=NOW, lifetime_s=LIFETIME_S)


def test_what_a_request_claims_is_ignored(root: Root) -> None:
    made = issue_node(
        root,
        foreign_request(new_key(), "m1"),
        node_id="w1",
        role="worker",
        cluster_id="c1",
        now=NOW,
        lifetime_s=LIFETIME_S,
    )
    assert subject(made) == Identity("w1", "worker", "c1")


def test_the_stores_certificate_has_addresses_and_names_no_node(root: Root) -> None:
    made = issue_etcd(
        root,
        request(new_key()),
        cluster_id="c1",
        addresses=["10.0.0.1", "::1"],
        now=NOW,
        lifetime_s=LIFETIME_S,
    )
    assert subject(made) is None
    text = openssl("x509", "-noout", "-subject", "-ext", "subjectAltName", given=made)
    assert f"CN = {ETCD_CN}" in text
    assert "IP Address:10.0.0.1" in text
    with pytest.raises(InvalidArgument, match="not an IP"):
        issue_etcd(
            root, request(new_key()), cluster_id="c1", addresses=["host"], now=NOW, lifetime_s=7200
        )


# -- the authority over time


def test_the_root_key_is_not_readable_in_the_record() -> None:
    cluster = found(Cluster(id="c1"), BOX, NOW)
    assert b"PRIVATE" not in cluster.sealed_root_key
    assert b"PRIVATE" in signer(cluster, BOX).key
    with pytest.raises(CannotUnseal):
        signer(replace(cluster, id="c2"), BOX)


def test_lifetimes() -> None:
    spec = SwarmSpec(ca_config=CaConfig(node_cert_expiry=2 * HOUR_NS))
    assert lifetime_s(Cluster(id="c", spec=spec)) == 7200
    assert lifetime_s(Cluster(id="c")) == LIFETIME_S


def test_a_rotation_waits_for_every_node() -> None:
    cluster = begin_rotation(found(Cluster(id="c1"), BOX, NOW), BOX, NOW)
    subject_der, key_der = issuer_of(cluster.root_certificate)
    old = Node(id="a")
    new = Node(
        id="b",
        description=NodeDescription(certificate_issuer=subject_der, certificate_issuer_key=key_der),
    )
    assert not can_finish(cluster, [old, new])
    assert can_finish(cluster, [new])
    done = finish_rotation(cluster)
    assert not can_finish(done, [new])
    assert done.trusted_roots == done.root_certificate == cluster.root_certificate
    assert signed_by(issue(signer(done, BOX)), done.root_certificate)


def test_the_way_to_older_roots_has_an_end() -> None:
    cluster = found(Cluster(id="c1"), BOX, NOW)
    for _ in range(CHAIN_LIMIT + 3):
        cluster = finish_rotation(begin_rotation(cluster, BOX, NOW))
    certificate = issue(signer(cluster, BOX))
    assert certificate.count("BEGIN CERTIFICATE") == 1 + CHAIN_LIMIT


@pytest.mark.parametrize("finish", [False, True])
def test_what_is_issued_leads_to_the_root_before(tmp_path: Path, finish: bool) -> None:
    first = found(Cluster(id="c1"), BOX, NOW)
    cluster = begin_rotation(begin_rotation(first, BOX, NOW), BOX, NOW)
    assert cluster.trusted_roots.count("BEGIN CERTIFICATE") == 3
    if finish:
        cluster = finish_rotation(cluster)
    leaf, *chain = issue(signer(cluster, BOX)).split("-----END CERTIFICATE-----\n")[:-1]
    (tmp_path / "leaf.pem").write_text(leaf + "-----END CERTIFICATE-----\n")
    (tmp_path / "chain.pem").write_text("".join(c + "-----END CERTIFICATE-----\n" for c in chain))
    (tmp_path / "old.pem").write_text(first.root_certificate)
    verified = openssl(
        "verify",
        "-x509_strict",
        "-CAfile",
        f"{tmp_path}/old.pem",
        "-untrusted",
        f"{tmp_path}/chain.pem",
        f"{tmp_path}/leaf.pem",
    )
    assert verified.endswith("OK\n"), verified


# -- files


def issued(issuer: Issuer, key: ec.EllipticCurvePrivateKey) -> Issued:
    certificate = issue_node(
        issuer.root,
        request(key),
        node_id="n1",
        role="manager",
        cluster_id="cluster1",
        now=NOW,
        lifetime_s=LIFETIME_S,
    )
    return Issued(
        node_id="n1",
        cluster_id="cluster1",
        role="manager",
        certificate=certificate,
        roots=issuer.roots,
    )


def test_files_are_private_and_read_back(tmp_path: Path) -> None:
    files = CertificateFiles(tmp_path / "certificates")
    with pytest.raises(FileNotFoundError):
        files.load()
    key = new_key()
    saved = files.save(issued(Issuer(tmp_path), key), key_pem(key))
    assert files.load() == saved
    assert saved.identity == Identity("n1", "manager", "cluster1")
    assert files.pair.stat().st_mode & 0o777 == 0o600
    assert files.pair.parent.stat().st_mode & 0o777 == 0o700
    assert "PRIVATE" not in files.certificate()
    files.clear()
    files.clear()
    assert not files.pair.parent.exists()


FILE_EVENTS = {"open", "os.rename"}


@pytest.mark.parametrize("survived", range(12))
def test_killed_while_saving_the_pair_still_fits(tmp_path: Path, survived: int) -> None:
    """A process that ends at any of its file operations leaves the old pair or the new one."""
    files = CertificateFiles(tmp_path / "certificates", etcd=tmp_path / "etcd")
    issuer = Issuer(tmp_path)
    old, new = new_key(), new_key()
    files.save(issued(issuer, old), key_pem(old))
    made = replace(issued(issuer, new), etcd_certificate="-----BEGIN CERTIFICATE-----\n")
    child = os.fork()
    if child == 0:
        left = survived

        def die(event: str, _: object) -> None:
            nonlocal left
            if event in FILE_EVENTS:
                left -= 1
                if left < 0:
                    os._exit(0)

        sys.addaudithook(die)
        files.save(made, key_pem(new), key_pem(new_key()))
        os._exit(0)
    os.waitpid(child, 0)
    tls = Tls(files.load())
    tls.reload(files.load())  # loads key and certificate together: they fit
    assert tls.server
