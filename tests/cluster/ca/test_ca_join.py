"""From a token to a certificate to the next one, over real sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from sampan.aio import SystemClock
from sampan.cluster.ca.authority import begin_rotation, finish_rotation, found
from sampan.cluster.ca.certificates import key_pem, new_key, request, signed_by
from sampan.cluster.ca.contract import Issued, IssueRequest, RenewRequest
from sampan.cluster.ca.files import CertificateFiles
from sampan.cluster.ca.join import CertificateClient, fetch_root, join
from sampan.cluster.ca.secretbox import SecretBox
from sampan.cluster.ca.secretbox import new_key as new_box_key
from sampan.cluster.ca.server import CertificateServer, NotKnownYet, RootServer
from sampan.cluster.ca.tokens import BadJoinToken, WrongJoinToken, digest_of, join_token, new_secret
from sampan.cluster.peer.client import PeerClient
from sampan.cluster.peer.contract import Identity, Impostor, NodeRole, NotMember, Unreachable
from sampan.cluster.peer.server import PeerServer
from sampan.cluster.peer.tls import Credentials, Tls
from sampan.cluster.records import Cluster
from sampan.errors import Conflict, Forbidden, InvalidArgument


class Manager:
    """A manager of a cluster that has only a CA."""

    def __init__(self, directory: Path, cluster_id: str = "c1") -> None:
        self.box = SecretBox(new_box_key())
        self.cluster = found(Cluster(id=cluster_id), self.box, time.time())
        self.roles: dict[str, NodeRole] = {"m1": "manager"}
        self.admitted: list[tuple[str, NodeRole, str, str]] = []
        self.refuse: Exception | None = None
        self.certificates = CertificateServer(self, SystemClock())
        self.files = CertificateFiles(directory / cluster_id / "m1")
        self.tls = Tls(self.own(Identity("m1", "manager", cluster_id)))
        self.server = PeerServer(self.tls, self.role_of)
        self.certificates.register(self.server)
        self.clients: list[PeerClient] = []

    def own(self, identity: Identity) -> Credentials:
        key = new_key()
        issued = self.certificates.renew(identity, RenewRequest(csr=request(key)))
        return self.files.save(issued, key_pem(key))

    def role_of(self, node_id: str) -> NodeRole | None:
        return self.roles.get(node_id)

    async def admit(self, node_id: str, role: NodeRole, asked: IssueRequest, remote: str) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.roles[node_id] = role
        self.admitted.append((node_id, role, asked.address, remote))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def client(self, credentials: Credentials) -> PeerClient:
        self.clients.append(PeerClient(Tls(credentials)))
        return self.clients[-1]

    async def close(self) -> None:
        for client in self.clients:
            await client.close()
        await self.server.stop()


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    made = Manager(tmp_path)
    await made.server.start("127.0.0.1", 0)
    yield made
    await made.close()


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return CertificateFiles(tmp_path / "joiner", etcd=tmp_path / "joiner-etcd")


@pytest.mark.parametrize("role", ["worker", "manager"])
async def test_a_token_makes_a_node(
    manager: Manager, files: CertificateFiles, role: NodeRole
) -> None:
    token = join_token(manager.cluster, role)
    credentials = await join(manager.address, token, files, advertise="127.0.0.1:2377")
    who = credentials.identity
    assert (who.role, who.cluster_id) == (role, "c1")
    assert manager.admitted == [(who.node_id, role, "127.0.0.1:2377", "127.0.0.1")]
    assert credentials.roots == manager.cluster.root_certificate
    assert files.load() == credentials


async def test_a_wrong_token_leaves_nothing(manager: Manager, files: CertificateFiles) -> None:
    token = join_token(manager.cluster, "worker")
    manager.cluster = replace(manager.cluster, worker_secret=new_secret())
    with pytest.raises(WrongJoinToken, match=r"^rpc error: code = InvalidArgument desc = A valid"):
        await join(manager.address, token, files)
    with pytest.raises(BadJoinToken):
        await join(manager.address, "nonsense", files)
    assert not files.pair.parent.exists()
    assert not manager.admitted


async def test_a_refused_node_leaves_nothing(manager: Manager, files: CertificateFiles) -> None:
    manager.refuse = Conflict("no room")
    with pytest.raises(Conflict, match="no room"):
        await join(manager.address, join_token(manager.cluster, "worker"), files)
    assert not files.pair.parent.exists()


async def test_the_token_of_another_cluster(
    manager: Manager, files: CertificateFiles, tmp_path: Path
) -> None:
    other = Manager(tmp_path, "c2")
    expected = digest_of(other.cluster.root_certificate)
    got = digest_of(manager.cluster.root_certificate)
    with pytest.raises(Impostor) as caught:
        await join(manager.address, join_token(other.cluster, "worker"), files)
    assert str(caught.value) == (
        f"remote CA does not match fingerprint. Expected: {expected}, got {got}"
    )
    assert (await fetch_root(manager.address, got)) == manager.cluster.root_certificate


async def test_who_has_the_root_but_no_certificate_of_it_gets_no_token(
    manager: Manager, files: CertificateFiles, tmp_path: Path
) -> None:
    """Roots are public: somebody in between can show the right one."""
    mallory = Manager(tmp_path, "c2")
    mallory.cluster = replace(mallory.cluster, root_certificate=manager.cluster.root_certificate)
    await mallory.server.start("127.0.0.1", 0)
    with pytest.raises(Impostor, match="not one of this cluster"):
        await join(mallory.address, join_token(manager.cluster, "manager"), files)
    await mallory.close()


async def test_joining_by_a_worker_says_so(
    manager: Manager, files: CertificateFiles, tmp_path: Path
) -> None:
    token = join_token(manager.cluster, "worker")
    credentials = await join(manager.address, token, CertificateFiles(tmp_path / "w"))
    worker = PeerServer(Tls(credentials), manager.role_of)
    RootServer(credentials.roots).register(worker)
    await worker.start("127.0.0.1", 0)
    with pytest.raises(Impostor, match="it is a worker, and this needs a manager"):
        await join(f"127.0.0.1:{worker.port}", token, files)
    await worker.stop()


async def test_nobody_there(manager: Manager, files: CertificateFiles) -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9: connection refused: "):
        await join("127.0.0.1:9", join_token(manager.cluster, "worker"), files)


async def test_the_usual_port_is_named_where_another_does_not_answer(
    manager: Manager, files: CertificateFiles
) -> None:
    token = join_token(manager.cluster, "worker")
    said = r"Managers listen on port 2377 .*: try 127\.0\.0\.1:2377, or look .*join-token"
    with pytest.raises(Unreachable, match=rf"127\.0\.0\.1:9: connection refused: .*{said}"):
        await join("127.0.0.1:9", token, files)

    async def other(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 some other service\r\n")
        writer.close()

    async with await asyncio.start_server(other, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable, match=rf"127\.0\.0\.1:{port}: .*{said}"):
            await join(f"127.0.0.1:{port}", token, files)
    with pytest.raises(Unreachable) as caught:
        await join("127.0.0.77:2377", token, files)
    assert "2377 unless" not in str(caught.value)


async def test_renewal_follows_the_stores_role(manager: Manager, files: CertificateFiles) -> None:
    first = await join(manager.address, join_token(manager.cluster, "worker"), files)
    node_id, before = first.identity.node_id, files.pair.read_text()
    asker = CertificateClient(manager.client(first), files)
    again = await asker.renew(["127.0.0.1:9", manager.address])
    assert again.identity == first.identity
    assert before.split("-----END")[0] != files.pair.read_text().split("-----END")[0], "a new key"

    with pytest.raises(Forbidden):
        await asker.cluster_key(manager.address)
    with pytest.raises(Forbidden, match="not a manager"):
        await asker.renew([manager.address], etcd_addresses=["127.0.0.1"])
    manager.roles[node_id] = "manager"
    promoted = await asker.renew([manager.address], etcd_addresses=["127.0.0.1"])
    assert promoted.identity.role == "manager"
    assert files.etcd.pair.stat().st_mode & 0o777 == 0o600
    assert files.etcd.roots.read_text() == manager.cluster.trusted_roots
    key = await CertificateClient(manager.client(promoted), files).cluster_key(manager.address)
    assert key == manager.box.key

    del manager.roles[node_id]
    with pytest.raises(NotMember):
        await asker.renew([manager.address])
    with pytest.raises(Unreachable):
        await asker.renew(["127.0.0.1:9"])


async def test_a_root_is_rotated_and_nodes_join_all_the_while(
    manager: Manager, tmp_path: Path
) -> None:
    me = Identity("m1", "manager", "c1")
    first_files = CertificateFiles(tmp_path / "first")
    first = await join(manager.address, join_token(manager.cluster, "worker"), first_files)
    old_token = join_token(manager.cluster, "worker")

    manager.cluster = begin_rotation(manager.cluster, manager.box, time.time())
    await join(manager.address, old_token, CertificateFiles(tmp_path / "second"))
    manager.tls.reload(manager.own(me))
    # the manager's certificate is of the new root now; who knows only the old one still believes
    third = await join(manager.address, old_token, CertificateFiles(tmp_path / "third"))
    assert third.roots.count("BEGIN CERTIFICATE") == 2

    again = await CertificateClient(manager.client(first), first_files).renew([manager.address])
    assert signed_by(first_files.certificate(), manager.cluster.root_certificate)
    manager.cluster = finish_rotation(manager.cluster)
    manager.tls.reload(manager.own(me))
    last = await CertificateClient(manager.client(again), first_files).renew([manager.address])
    assert last.roots == manager.cluster.root_certificate
    with pytest.raises(Impostor, match="fingerprint"):
        await join(manager.address, old_token, CertificateFiles(tmp_path / "fourth"))
    token = join_token(manager.cluster, "worker")
    await join(manager.address, token, CertificateFiles(tmp_path / "fifth"))


class Swapping(CertificateServer):
    """Calls its nodes by a name that is not in their certificates."""

    async def issue(self, request: IssueRequest, remote: str) -> Issued:
        return replace(await super().issue(request, remote), node_id="other")


async def test_a_manager_that_issues_for_somebody_else_is_not_believed(
    manager: Manager, files: CertificateFiles
) -> None:
    server = PeerServer(manager.tls, manager.role_of)
    Swapping(manager, SystemClock()).register(server)
    await server.start("127.0.0.1", 0)
    with pytest.raises(Impostor, match="somebody else"):
        await join(f"127.0.0.1:{server.port}", join_token(manager.cluster, "worker"), files)
    assert not files.pair.parent.exists()
    await server.stop()


async def test_a_bad_request_admits_nobody(manager: Manager) -> None:
    token = join_token(manager.cluster, "worker")
    with pytest.raises(InvalidArgument):
        await manager.certificates.issue(IssueRequest(token=token, csr="x"), "127.0.0.1")
    assert not manager.admitted


async def test_a_node_that_this_manager_has_not_heard_of_yet_is_not_thrown_out(
    manager: Manager,
) -> None:
    asked = RenewRequest(csr=request(new_key()))
    with pytest.raises(NotKnownYet):
        manager.certificates.renew(Identity("new", "worker", "c1"), asked)
