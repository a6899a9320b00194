"""Who is let in, and who is not, over real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sampan.cluster.ca.authority import begin_rotation, finish_rotation, found, signer
from sampan.cluster.ca.certificates import issue_etcd, issue_node, key_pem, new_key, request
from sampan.cluster.ca.secretbox import SecretBox
from sampan.cluster.ca.secretbox import new_key as new_box_key
from sampan.cluster.peer.client import PeerClient
from sampan.cluster.peer.contract import Allow, Impostor, NodeRole, PeerRequest, Socket, Unreachable
from sampan.cluster.peer.limits import Limits
from sampan.cluster.peer.server import PeerServer
from sampan.cluster.peer.tls import Credentials, Tls
from sampan.cluster.records import Cluster
from sampan.errors import Conflict, Forbidden, InvalidArgument
from sampan.testing.certificates import Issuer
from sampan.testing.contracts.peers import Ask, Told, echo, echo_socket

WAIT_S = 20.0
DAY_S = 86400


class Net:
    """Servers and clients that are closed in the end."""

    def __init__(self) -> None:
        self.roles: dict[str, NodeRole] = {}
        self._servers: list[PeerServer] = []
        self._clients: list[PeerClient] = []

    async def serve(self, tls: Tls, *, limits: Limits | None = None) -> PeerServer:
        server = PeerServer(tls, self.roles.get, limits=limits)
        server.call("/echo", Ask, echo, allow=Allow.NODES)
        server.call("/open", Ask, echo, allow=Allow.ANYONE)
        server.socket("/socket", echo_socket, allow=Allow.NODES)
        await server.start("127.0.0.1", 0)
        self._servers.append(server)
        return server

    def client(self, tls: Tls, **how: Any) -> PeerClient:
        self._clients.append(PeerClient(tls, **how))
        return self._clients[-1]

    async def close(self) -> None:
        for client in self._clients:
            await client.close()
        for server in self._servers:
            await server.stop()


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    net = Net()
    yield net
    await net.close()


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


def at(server: PeerServer) -> str:
    return f"127.0.0.1:{server.port}"


async def until(condition: Callable[[], bool]) -> None:
    """Wait until ``condition()`` holds."""
    async with asyncio.timeout(WAIT_S):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


async def test_an_expired_certificate_is_refused_on_both_sides(net: Net, issuer: Issuer) -> None:
    net.roles = {"m1": "manager", "old": "manager"}
    past = time.time() - 10 * DAY_S
    good, old = (
        Tls(issuer.credentials("m1", "manager")),
        Tls(issuer.credentials("old", "manager", issued_at=past, lifetime_s=DAY_S)),
    )
    fresh_server, old_server = await net.serve(good), await net.serve(old)
    with pytest.raises(Unreachable):
        await net.client(old).call(at(fresh_server), "/open", Ask("x"), Told)
    with pytest.raises(Impostor, match="expired"):
        await net.client(good).call(at(old_server), "/open", Ask("x"), Told)


async def test_another_authority_is_refused_on_both_sides(
    net: Net, issuer: Issuer, tmp_path: Path
) -> None:
    net.roles = {"m1": "manager"}
    ours = Tls(issuer.credentials("m1", "manager"))
    theirs = Tls(Issuer(tmp_path / "other").credentials("m1", "manager"))
    server, foreign = await net.serve(ours), await net.serve(theirs)
    with pytest.raises((Unreachable, Impostor)):
        await net.client(theirs).call(at(server), "/open", Ask("x"), Told)
    with pytest.raises(Impostor, match="not one of this cluster"):
        await net.client(ours).call(at(foreign), "/open", Ask("x"), Told)


async def test_a_foreign_certificate_reaches_no_route_even_if_the_client_believes_us(
    net: Net, issuer: Issuer, tmp_path: Path
) -> None:
    net.roles = {"m1": "manager"}
    other = Issuer(tmp_path / "other")
    other.roots = issuer.roots  # it knows our root, but its own certificate is not of it
    server = await net.serve(Tls(issuer.credentials("m1", "manager")))
    theirs = Tls(other.credentials("m1", "manager"))
    with pytest.raises(Unreachable):
        await net.client(theirs).call(at(server), "/echo", Ask("x"), Told)


async def test_another_cluster_of_the_same_root_is_refused_on_both_sides(
    net: Net, issuer: Issuer, tmp_path: Path
) -> None:
    """Two clusters may have been given one root by their user."""
    net.roles = {"m1": "manager", "m2": "manager"}
    other = Issuer(tmp_path / "other", "cluster2", issuer.root)
    ours, theirs = (
        Tls(issuer.credentials("m1", "manager")),
        Tls(other.credentials("m2", "manager")),
    )
    server = await net.serve(ours)
    with pytest.raises(Impostor, match="not a node of this cluster"):
        await net.client(theirs).call(at(server), "/open", Ask("x"), Told)
    believing = Tls(theirs.credentials)
    believing.client("manager").cluster_id = "cluster1"
    with pytest.raises(Forbidden):
        await net.client(believing).call(at(server), "/echo", Ask("x"), Told)


async def test_a_certificate_of_the_store_is_nobodys(
    net: Net, issuer: Issuer, tmp_path: Path
) -> None:
    net.roles = {"m1": "manager", "sampan-etcd": "manager"}
    server = await net.serve(Tls(issuer.credentials("m1", "manager")))
    key = new_key()
    pair = tmp_path / "etcd.pem"
    certificate = issue_etcd(
        issuer.root,
        request(key),
        cluster_id="cluster1",
        addresses=["127.0.0.1"],
        now=time.time(),
        lifetime_s=DAY_S,
    )
    pair.write_bytes(key_pem(key) + certificate.encode())
    good = issuer.credentials("m1", "manager")
    etcd = Tls(Credentials(good.identity, pair, issuer.roots))
    with pytest.raises(Forbidden):
        await net.client(etcd).call(at(server), "/echo", Ask("x"), Told)
    server = await net.serve(etcd)
    with pytest.raises(Impostor):
        await net.client(Tls(good)).call(at(server), "/open", Ask("x"), Told, role=None)


async def test_a_renewed_certificate_is_used_at_once_and_nothing_is_cut(
    net: Net, issuer: Issuer
) -> None:
    net.roles = {"m1": "manager", "w1": "worker"}
    tls = Tls(issuer.credentials("m1", "manager"))
    server = await net.serve(tls)
    client = net.client(Tls(issuer.credentials("w1")))
    session = await client.socket(at(server), "/socket")
    first = await serial_of(server)
    tls.reload(issuer.credentials("m1", "manager"))
    assert await serial_of(server) != first
    await session.send(b"still")
    assert await session.receive() == b"still"
    await client.call(at(server), "/echo", Ask("x"), Told)


async def serial_of(server: PeerServer) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    del reader
    return str(hash(found))


async def test_unusable_files_leave_what_was_there(net: Net, issuer: Issuer) -> None:
    net.roles = {"m1": "manager", "w1": "worker"}
    tls = Tls(issuer.credentials("m1", "manager"))
    server = await net.serve(tls)
    broken = Credentials(
        tls.credentials.identity, tls.credentials.pair.with_name("none.pem"), issuer.roots
    )
    with pytest.raises(FileNotFoundError):
        tls.reload(broken)
    await net.client(Tls(issuer.credentials("w1"))).call(at(server), "/echo", Ask("x"), Told)


async def test_everybody_understands_everybody_at_each_step_of_a_rotation(
    net: Net, tmp_path: Path
) -> None:
    net.roles = {"old": "manager", "new": "manager", "newer": "manager"}
    now = time.time()
    box = SecretBox(new_box_key())
    cluster = found(Cluster(id="cluster1"), box, now)
    members: dict[str, Tls] = {}

    def renew(node_id: str) -> None:
        root, key = signer(cluster, box), new_key()
        issuer = Issuer(tmp_path, "cluster1", root)
        issuer.roots = cluster.trusted_roots
        certificate = issue_node(
            root,
            request(key),
            node_id=node_id,
            role="manager",
            cluster_id="cluster1",
            now=now,
            lifetime_s=DAY_S,
        )
        pair = tmp_path / f"{node_id}.pem"
        pair.write_bytes(key_pem(key) + certificate.encode())
        identity = issuer.credentials(node_id, "manager").identity
        credentials = Credentials(identity, pair, cluster.trusted_roots)
        if node_id in members:
            members[node_id].reload(credentials)
        else:
            members[node_id] = Tls(credentials)

    async def all_talk() -> None:
        servers = {name: await net.serve(tls) for name, tls in members.items()}
        for tls in members.values():
            for name, server in servers.items():
                client = net.client(tls)
                await client.call(at(server), "/echo", Ask("x"), Told, node_id=name)

    for name in ("old", "new", "newer"):
        renew(name)
    await all_talk()
    cluster = begin_rotation(cluster, box, now)
    renew("new")
    await all_talk()
    cluster = begin_rotation(cluster, box, now)  # once more, before the first is through
    renew("newer")
    await all_talk()
    renew("new")
    renew("old")
    await all_talk()
    cluster = finish_rotation(cluster)
    renew("newer")  # trusts the newest root only
    await all_talk()


async def test_a_taken_port_is_said(net: Net, issuer: Issuer) -> None:
    tls = Tls(issuer.credentials("m1", "manager"))
    server = await net.serve(tls)
    with pytest.raises(Conflict, match="cannot listen"):
        await PeerServer(tls, net.roles.get).start("127.0.0.1", server.port)


# -- hostile strangers


async def test_a_flood_of_strangers_starves_nobody(net: Net, issuer: Issuer) -> None:
    net.roles = {"m1": "manager", "w1": "worker"}
    limits = Limits(unknown_per_address=8, burst=40, handshakes_per_s=1.0, handshake_s=0.5)
    server = await net.serve(Tls(issuer.credentials("m1", "manager")), limits=limits)
    client = net.client(Tls(issuer.credentials("w1")))
    session = await client.socket(at(server), "/socket")
    await client.call(at(server), "/echo", Ask("to be kept"), Told)
    silent: list[socket.socket] = []
    try:
        for _ in range(200):
            found = socket.socket()
            found.setblocking(False)
            silent.append(found)
            await asyncio.get_running_loop().sock_connect(found, ("127.0.0.1", server.port))
        await until(lambda: server.gate.turned_away >= 150)
        assert server.gate.unknown_peers <= 8
        await session.send(b"alive")
        assert await asyncio.wait_for(session.receive(), WAIT_S) == b"alive"
        told = await client.call(at(server), "/echo", Ask("kept connection"), Told)
        assert told.by == "w1"
        # who never shakes hands is thrown out
        await until(lambda: server.gate.unknown_peers == 0)
    finally:
        for found in silent:
            found.close()


async def test_a_stranger_is_not_kept(net: Net, issuer: Issuer) -> None:
    limits = Limits(unknown_s=0.1)
    server = await net.serve(Tls(issuer.credentials("m1", "manager")), limits=limits)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    writer.write(b"POST /open HTTP/1.1\r\nX-Slow: ")
    with suppress(OSError):
        assert await asyncio.wait_for(reader.read(), WAIT_S) is not None
    await until(lambda: server.gate.unknown_peers == 0)
    writer.close()


async def test_a_body_without_end_is_refused(net: Net, issuer: Issuer) -> None:
    net.roles = {"m1": "manager"}
    server = await net.serve(Tls(issuer.credentials("m1", "manager")))

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 262144

    client = net.client(Tls(issuer.credentials("m1", "manager")))
    # the connection may be gone before the sentence that says why has been read
    with pytest.raises((InvalidArgument, Unreachable)):
        async with client.stream(at(server), "POST", "/echo", body=endless()):
            pass


async def test_garbage_is_survived(net: Net, issuer: Issuer) -> None:
    net.roles = {"m1": "manager"}
    tls = Tls(issuer.credentials("m1", "manager"))
    server = await net.serve(tls)
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), b"\x16\x03\x01\xff\xff"):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(garbage)
        writer.write_eof()
        with suppress(OSError):
            await asyncio.wait_for(reader.read(), WAIT_S)
        writer.close()
    await until(lambda: server.gate.unknown_peers == 0)
    await net.client(tls).call(at(server), "/echo", Ask("x"), Told)


async def test_connections_are_counted_out(net: Net, issuer: Issuer) -> None:
    net.roles = {"m1": "manager", "w1": "worker"}
    tls = Tls(issuer.credentials("m1", "manager"))
    server = await net.serve(tls)
    sockets = 0
    for turn in range(12):
        if turn == 2:  # by now the event loop has what it opens at first use
            await until(lambda: not server._connections)
            sockets = len(os.listdir("/proc/self/fd"))
        client = PeerClient(Tls(issuer.credentials("w1")))
        await client.call(at(server), "/echo", Ask("x"), Told)
        await client.socket(at(server), "/socket")
        await client.close()
    await until(lambda: not server._connections and server.gate.unknown_peers == 0)
    await until(lambda: len(os.listdir("/proc/self/fd")) <= sockets)


async def test_stopping_ends_sockets(net: Net, issuer: Issuer) -> None:
    net.roles = {"m1": "manager"}
    tls = Tls(issuer.credentials("m1", "manager"))
    server = PeerServer(tls, net.roles.get)
    ended = asyncio.Event()

    async def wait(request: PeerRequest, channel: Socket) -> None:
        try:
            await channel.receive()
        finally:
            ended.set()

    server.socket("/wait", wait, allow=Allow.NODES)
    await server.start("127.0.0.1", 0)
    channel = await net.client(tls).socket(at(server), "/wait")
    await asyncio.wait_for(server.stop(), WAIT_S)
    await asyncio.wait_for(ended.wait(), WAIT_S)
    await channel.close()


async def test_an_address_that_only_others_can_use_is_dialled_elsewhere(
    net: Net, issuer: Issuer
) -> None:
    net.roles["m1"] = "manager"
    tls = Tls(issuer.credentials("m1", "manager"))
    server = await net.serve(tls)
    client = net.client(tls, instead={"192.0.2.9:2377": at(server)})
    assert await client.call("192.0.2.9:2377", "/echo", Ask("hi"), Told) == Told("hi", "m1")
    socket = await client.socket("192.0.2.9:2377", "/socket")
    await socket.close()


async def test_who_is_refused_learns_what_to_look_at(net: Net, issuer: Issuer) -> None:
    client = net.client(Tls(issuer.credentials("w1")))
    with pytest.raises(Unreachable) as caught:
        # port 9 (discard): nobody listens there
        await client.call("127.0.0.1:9", "/echo", Ask("hi"), Told)
    assert "at 127.0.0.1:9: connection refused: look whether" in str(caught.value)
    assert "Connect call" not in str(caught.value)
