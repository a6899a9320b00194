"""Overlay networks between hosts on the real kernel: three namespaces on a LAN stand for them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from overlay_lab import (
    Endpoint,
    Lab,
    Server,
    dial,
    echo,
    ping,
    resolve,
    sent_on,
    tcp,
    traces,
    udp,
    udp_socket,
)

from sampan.kernel import netlink, netns, sysctl, tunnel
from sampan.kernel.netlink import Netlink
from sampan.kernel.nft import Nft
from sampan.network.dns import message
from sampan.network.overlay.contract import DataPlaneView, OverlayNetwork, PublishedTarget
from sampan.store.records import PortBinding

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

VIP = "10.21.0.100"
PORT = 8080


@pytest.fixture
def base() -> Iterator[Path]:
    # Short: the hosts' sockets are in there.
    path = Path(tempfile.mkdtemp(prefix="smpov"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def lab(base: Path) -> Iterator[Lab]:
    made = Lab(base)
    try:
        made.start()
        yield made
    finally:
        made.close()


class Web:
    """Service "web" on hosts 0 and 1, published; a client container on host 2."""

    def __init__(self, lab: Lab) -> None:
        self.app = lab.network("app", 21)
        self.ingress = lab.network("ingress", 22, ingress=True)
        lab.service(self.app, "web", VIP, aliases=("www",))
        lab.service(
            self.ingress,
            "web",
            ports=(
                PublishedTarget(protocol="tcp", published=PORT, target=80),
                PublishedTarget(protocol="udp", published=PORT, target=80),
            ),
        )
        self.tasks: list[Endpoint] = []
        self.servers: list[Server] = []
        for number, host in enumerate(lab.hosts[:2], 1):
            name = f"web.{number}"
            task = lab.task(
                host,
                "web",
                name,
                (self.ingress, f"10.22.0.{number + 1}"),
                (self.app, f"10.21.0.{number + 1}"),
            )
            self.tasks.append(task)
            self.servers.append(Server(task.sandbox.path, name))
        self.client = lab.task(lab.hosts[2], "", "client", (self.app, "10.21.0.9"))
        lab.tell()

    def serving(self, lab: Lab, number: int, serving: bool) -> None:
        for network, subnet in ((self.ingress, 22), (self.app, 21)):
            host = lab.hosts[number - 1]
            address = f"10.{subnet}.0.{number + 1}"
            lab.member(network, "web", f"web.{number}", address, host, serving=serving)

    def close(self) -> None:
        for server in self.servers:
            server.close()


@pytest.fixture
async def web(lab: Lab) -> Iterator[Web]:  # type: ignore[misc]
    made = Web(lab)
    yield made
    made.close()


# ---------------------------------------------------------------- the segment


async def test_members_reach_one_another_across_hosts_and_nothing_is_flooded(
    lab: Lab, web: Web
) -> None:
    one, client = web.tasks[0], web.client
    said = await tcp(client.sandbox.path, "10.21.0.2", 80)
    assert (said.by, said.peer) == ("web.1", "10.21.0.9")
    assert await ping(one.sandbox.path, "10.21.0.3")
    before = sent_on(lab.hosts[2].space, "vx")
    assert not await ping(client.sandbox.path, "10.21.0.77", wait=0.3)
    with udp_socket(client.sandbox.path) as shout:
        shout.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for _ in range(50):
            shout.sendto(b"anybody?", ("10.21.0.255", 9999))
    # The first connection may still have been saying good-bye.
    assert sent_on(lab.hosts[2].space, "vx") < before + 10


async def test_the_mtu_is_the_hosts_less_the_tunnels_and_big_transfers_pass(
    lab: Lab, web: Web
) -> None:
    def mtu() -> int:
        with Netlink() as link:
            return next(one.mtu for one in link.links() if one.name == "eth0")

    assert netns.run_inside(web.client.sandbox.path, mtu) == 1450
    data = os.urandom(300_000)
    loop = asyncio.get_running_loop()
    for space, address, port in (
        (web.client.sandbox.path, VIP, 80),
        (lab.client, lab.hosts[2].address, PORT),
    ):
        sock, _ = await dial(space, address, port)
        with sock:
            got = b""
            for start in range(0, len(data), 30_000):
                await loop.sock_sendall(sock, data[start : start + 30_000])
                async with asyncio.timeout(5):
                    while len(got) < start + 30_000:
                        got += await loop.sock_recv(sock, 1 << 16)
            assert got == data


async def test_a_container_has_a_way_out_unless_its_networks_are_internal(lab: Lab) -> None:
    inner = lab.network("inner", 31, internal=True)
    outer = lab.network("outer", 32)
    host = lab.hosts[0]
    lab.tell()
    closed = lab.task(host, "", "closed", (inner, "10.31.0.2"))
    both = lab.task(host, "", "both", (inner, "10.31.0.3"), (outer, "10.32.0.3"))
    server = Server(lab.client, "outside")
    said = await tcp(both.sandbox.path, "10.77.0.100", 80)
    assert said.peer == host.address
    with pytest.raises(OSError, match="unreachable"):
        await tcp(closed.sandbox.path, "10.77.0.100", 80)
    for container in (closed, both):
        assert set(container.settings) == {inner.id} | (
            {outer.id} if container is both else set()
        ), "nobody is told of the second interface"
    # It is not for going from one container to another.
    other = lab.task(host, "", "other", (outer, "10.32.0.4"))
    listener = Server(other.sandbox.path, "other")
    assert (await tcp(both.sandbox.path, "10.32.0.4", 80)).by == "other"

    def on_gateway() -> str:
        with Netlink() as link:
            names = {one.index: one.name for one in link.links()}
            return next(str(a.ip) for i, a in link.addresses() if names[i] == "eth1")

    address = netns.run_inside(other.sandbox.path, on_gateway)
    with pytest.raises((OSError, TimeoutError)):
        await tcp(both.sandbox.path, address, 80, wait=0.5)
    server.close()
    listener.close()


async def test_ports_of_the_host_lead_to_a_container_of_the_cluster(lab: Lab, web: Web) -> None:
    host, task = lab.hosts[0], web.tasks[0]
    network = host.networks[web.app.id]
    wanted = {"80/tcp": (PortBinding(host_port="9090"),)}
    ports = host.ask("publish", task.sandbox, task.settings[network.id], network, wanted)
    assert {port.host_port for port in ports} == {9090}
    said = await tcp(lab.client, host.address, 9090)
    assert (said.by, said.peer) == ("web.1", "10.77.0.100")


# ---------------------------------------------------------------- virtual addresses


async def test_a_virtual_address_spreads_connections_and_answers_to_itself(web: Web) -> None:
    client = web.client.sandbox.path
    said = [await tcp(client, VIP, 80) for _ in range(10)]
    assert Counter(one.by for one in said) == {"web.1": 5, "web.2": 5}
    assert {one.peer for one in said} == {"10.21.0.9"}, "members see who asks"
    assert {(await udp(client, VIP, 80)).by for _ in range(4)} == {"web.1", "web.2"}
    assert await ping(client, VIP)
    first = web.tasks[0].sandbox.path
    assert {(await tcp(first, VIP, 80)).by for _ in range(4)} == {"web.1", "web.2"}


async def test_a_service_without_members_refuses_at_once(lab: Lab, web: Web) -> None:
    for number in (1, 2):
        web.serving(lab, number, False)
    lab.tell()
    with pytest.raises(ConnectionRefusedError):
        await tcp(web.client.sandbox.path, VIP, 80)
    with pytest.raises((ConnectionRefusedError, PermissionError)):
        await udp(web.client.sandbox.path, VIP, 80)
    with pytest.raises(ConnectionRefusedError):
        await tcp(lab.client, lab.hosts[2].address, PORT)
    assert await ping(web.client.sandbox.path, VIP)
    web.serving(lab, 1, True)
    lab.tell()
    assert (await tcp(web.client.sandbox.path, VIP, 80)).by == "web.1"


async def test_members_come_and_go_without_a_failed_connection(lab: Lab, web: Web) -> None:
    stop = False
    done = Counter[str]()

    async def hammer() -> None:
        while not stop:
            done[(await tcp(web.client.sandbox.path, VIP, 80)).by] += 1
            done[(await tcp(lab.client, lab.hosts[2].address, PORT)).by] += 1

    async with asyncio.TaskGroup() as group:
        group.create_task(hammer())
        for turn in range(10):
            web.serving(lab, 1 + turn % 2, False)
            await asyncio.to_thread(lab.tell)
            web.serving(lab, 1 + turn % 2, True)
            await asyncio.to_thread(lab.tell)
        stop = True
    assert done["web.1"]
    assert done["web.2"]


async def test_what_is_open_ends_in_peace_and_datagrams_move(lab: Lab, web: Web) -> None:
    for space, address, port in (
        (web.client.sandbox.path, VIP, 80),
        (lab.client, lab.hosts[2].address, PORT),
    ):
        by: dict[str, socket.socket] = {}
        while len(by) < 2:
            sock, said = await dial(space, address, port)
            if by.setdefault(said.by, sock) is not sock:
                sock.close()
        talking = udp_socket(space)
        first = (await udp(space, address, port, talking)).by
        number = int(first[-1])
        web.serving(lab, number, False)
        lab.tell()
        await echo(by[first])
        now = first
        async with asyncio.timeout(15):
            while now == first:
                # The answer that is under way at the very moment is nobody's.
                with contextlib.suppress(TimeoutError):
                    now = (await udp(space, address, port, talking, wait=0.2)).by
        web.serving(lab, number, True)
        lab.tell()
        for sock in (*by.values(), talking):
            sock.close()


async def test_a_connection_to_who_has_vanished_is_reset(lab: Lab, web: Web) -> None:
    """A host without power says no good-bye: the rest of the cluster does."""
    kept: dict[str, socket.socket] = {}
    while "web.2" not in kept:
        sock, said = await dial(web.client.sandbox.path, VIP, 80)
        if kept.setdefault(said.by, sock) is not sock:
            sock.close()
    for network in (web.app, web.ingress):
        lab.drop(network, "web.2")
    lab.tell()

    async def talk_on() -> None:
        async with asyncio.timeout(5):
            while True:
                await echo(kept["web.2"])

    with pytest.raises(ConnectionError):
        await talk_on()
    for sock in kept.values():
        sock.close()


# ---------------------------------------------------------------- the mesh


HOSTILE = {
    "plain": "",
    "bridged packets are not filtered": "net.bridge.bridge-nf-call-iptables=0",
    "strict reverse path": "net.ipv4.conf.all.rp_filter=1",
    "another tool drops what is forwarded": "",
}


@pytest.mark.parametrize("world", HOSTILE)
async def test_every_node_answers_everyone_and_the_task_sees_who_asks(lab: Lab, world: str) -> None:
    for host in lab.hosts:

        def prepare() -> None:
            name, _, value = HOSTILE[world].partition("=")
            if name:
                with contextlib.suppress(FileNotFoundError):
                    sysctl.write(name, value)
            if "drops" in world:
                with Nft() as nft:
                    nft.run(
                        "table ip filter { chain FORWARD "
                        "{ type filter hook forward priority 0; policy drop; }\n}"
                    )

        host.inside(prepare)
    web = Web(lab)
    try:
        for host in lab.hosts:
            for _ in range(2):
                assert (await tcp(lab.client, host.address, PORT)).peer == "10.77.0.100"
            assert (await udp(lab.client, host.address, PORT)).peer == "10.77.0.100"
            said = [await tcp(host.space, host.address, PORT) for _ in range(2)]
            assert {one.peer for one in said} == {host.address}
            said = [await tcp(host.space, "127.0.0.1", PORT) for _ in range(2)]
            assert {one.by for one in said} == {"web.1", "web.2"}
            assert (await udp(host.space, "127.0.0.1", PORT)).by
        for container in (web.client, web.tasks[0]):
            for host in lab.hosts:
                said = [await tcp(container.sandbox.path, host.address, PORT) for _ in range(2)]
                assert {one.by for one in said} == {"web.1", "web.2"}
    finally:
        web.close()


async def test_a_client_that_uses_one_port_through_many_nodes_is_many_clients(
    lab: Lab, web: Web
) -> None:
    for number in (33301, 33302, 33303):
        loop = asyncio.get_running_loop()
        open_now = []
        for host in lab.hosts:

            def bound(number: int = number) -> socket.socket:
                sock = socket.socket()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(("10.77.0.100", number))
                sock.setblocking(False)
                return sock

            sock = netns.run_inside(lab.client, bound)
            open_now.append(sock)
            async with asyncio.timeout(3):
                await loop.sock_connect(sock, (host.address, PORT))
                await loop.sock_recv(sock, 1000)
        for sock in open_now:
            await echo(sock)
        for sock in open_now:
            sock.close()


async def test_a_service_that_goes_takes_its_port_along(lab: Lab, web: Web) -> None:
    host = lab.hosts[0]

    def own() -> socket.socket:
        return socket.create_server((host.address, PORT))

    with host.inside(own) as listener:
        assert (await tcp(lab.client, host.address, PORT)).by, "the cluster's port wins"
        lab.service(web.ingress, "web")
        lab.tell()
        listener.setblocking(False)
        loop = asyncio.get_running_loop()

        def plain() -> socket.socket:
            sock = socket.socket()
            sock.setblocking(False)
            return sock

        with netns.run_inside(lab.client, plain) as sock:
            async with asyncio.timeout(3):
                await loop.sock_connect(sock, (host.address, PORT))
                accepted, _ = await loop.sock_accept(listener)
                accepted.close()


# ---------------------------------------------------------------- names


async def test_names_of_the_cluster(lab: Lab, web: Web) -> None:
    lab.service(web.app, "rr")
    for network in (web.app,):
        lab.member(
            network, "rr", "rr.1", "10.21.0.31", lab.hosts[0], hostname="box", aliases=("also",)
        )
        lab.member(network, "rr", "rr.2", "10.21.0.32", lab.hosts[1])
        lab.member(network, "rr", "rr.3", "10.21.0.33", lab.hosts[1], serving=False)
    lab.tell()
    client = web.client
    for name in ("web", "WWW", "web.app"):
        assert await resolve(client, name) == (VIP,)
    assert set(await resolve(client, "tasks.web")) == {"10.21.0.2", "10.21.0.3"}
    assert await resolve(client, "web.1") == ("10.21.0.2",)
    turns = [await resolve(client, "rr") for _ in range(4)]
    assert {turn[0] for turn in turns} == {"10.21.0.31", "10.21.0.32"}
    assert all(set(turn) == {"10.21.0.31", "10.21.0.32"} for turn in turns)
    assert await resolve(client, "box") == await resolve(client, "also.app") == ("10.21.0.31",)
    pointer = message.reverse_name
    assert await resolve(client, pointer(VIP), message.PTR) == ("web.app",)
    assert await resolve(client, pointer("10.21.0.2"), message.PTR) == ("web.1.app",)
    # A plain container on an attachable network is called what it is called.
    lab.task(lab.hosts[2], "", "plain", (web.app, "10.21.0.40"))
    assert await resolve(client, "plain") == ("10.21.0.40",)
    other = lab.network("other", 25)
    stranger = lab.task(lab.hosts[2], "", "stranger", (other, "10.25.0.2"))
    lab.tell()
    lab.hosts[2].ask("rename", client.container.container_id, "client", "client")
    assert await resolve(client, "web") == (VIP,)
    assert await resolve(stranger, "web") == ()


# ---------------------------------------------------------------- life


async def test_a_view_may_come_before_or_after_the_container(lab: Lab) -> None:
    app = lab.network("app", 21)
    lab.service(app, "web", VIP)
    early = lab.task(lab.hosts[0], "web", "web.1", (app, "10.21.0.2"))
    lab.member(app, "web", "web.2", "10.21.0.3", lab.hosts[1])
    lab.tell()
    late = lab.task(lab.hosts[1], "web", "web.2", (app, "10.21.0.3"))
    servers = [Server(e.sandbox.path, n) for e, n in ((early, "web.1"), (late, "web.2"))]
    for place in (early, late):
        assert {(await tcp(place.sandbox.path, VIP, 80)).by for _ in range(2)} == {
            "web.1",
            "web.2",
        }
    for server in servers:
        server.close()


async def test_everything_goes_on_without_a_daemon_and_after_it_comes_back(
    lab: Lab, web: Web
) -> None:
    host, client = lab.hosts[0], web.client.sandbox.path
    sock, _ = await dial(client, VIP, 80)
    for each in lab.hosts:
        each.kill()

    async def works() -> None:
        await echo(sock)
        for _ in range(2):
            await tcp(client, VIP, 80)
            await tcp(web.tasks[0].sandbox.path, VIP, 80)
            for each in lab.hosts:
                assert (await tcp(lab.client, each.address, PORT)).peer == "10.77.0.100"
        assert await resolve(web.client, "web") == (VIP,)

    await works()
    before = {each.node_id: traces(each) for each in lab.hosts}
    for each in lab.hosts:
        each.start()
    assert {each.node_id: traces(each) for each in lab.hosts} == before
    assert host.ask("applied") == lab.view(host)
    await works()
    # and the next change is one
    web.serving(lab, 1, False)
    lab.tell()
    assert {(await tcp(client, VIP, 80)).by for _ in range(2)} == {"web.2"}
    assert {(await tcp(lab.client, host.address, PORT)).by for _ in range(2)} == {"web.2"}
    sock.close()


async def test_what_a_killed_daemon_has_not_finished_is_put_right(lab: Lab, web: Web) -> None:
    """Strange entries, missing links, a network that nobody wants, a table half written."""
    host = lab.hosts[2]
    host.kill()
    place = web.client

    def spoil() -> None:
        with Netlink() as link:
            for one in link.links():
                if one.kind == "vxlan" and one.name.endswith(web.app.id[:6]):
                    link.do(netlink.delete_link(one.name))
                elif one.kind == "vxlan":
                    link.do(tunnel.forward_to_host(one.index, "02:42:0a:16:00:63", "10.77.0.9"))
        with Nft() as nft:
            nft.run("delete table ip " + next(t for t in tables if t.endswith("-mesh")))

    tables = {t.split()[-1] for t in traces(host) if t.startswith("table ip ")}
    host.inside(spoil)
    for file in (host.base / "state" / "overlay").iterdir():
        file.unlink()
    host.start()
    assert {(await tcp(place.sandbox.path, VIP, 80)).by for _ in range(2)} == {"web.1", "web.2"}
    assert (await tcp(lab.client, host.address, PORT)).peer == "10.77.0.100"

    def strange() -> bool:
        with Netlink() as link:
            return any("10.77.0.9" in macs.values() for macs in tunnel.forwarding(link).values())

    assert not host.inside(strange)


async def test_a_host_that_leaves_keeps_nothing(lab: Lab, web: Web) -> None:
    host = lab.hosts[0]
    for name in list(host.containers):
        host.close(name)
    for network in list(host.networks.values()):
        host.ask("remove", network)
    host.ask("leave")
    left = traces(host)
    assert not {name for name in left if name.startswith(("vx", "ve", "br")) or "mesh" in name}
    assert host.ask("applied") == DataPlaneView()
    with pytest.raises(OSError):  # noqa: PT011
        await tcp(lab.client, host.address, PORT)
    host.kill()
    host.start()
    assert host.ask("applied") == DataPlaneView()
    # nor do those keep it who stay
    for network in (web.app, web.ingress):
        lab.drop(network, "web.1")
    lab.tell(*lab.hosts[1:])
    assert {(await tcp(web.client.sandbox.path, VIP, 80)).by for _ in range(3)} == {"web.2"}


async def test_a_network_goes_with_the_view_once_nobody_is_on_it(lab: Lab) -> None:
    app: OverlayNetwork = lab.network("app", 21)
    host = lab.hosts[0]
    lab.tell()
    lab.task(host, "", "one", (app, "10.21.0.2"))
    del lab.networks[app.id]
    lab.tell()
    assert any(name.startswith("vx") for name in traces(host)), "somebody is on it"
    host.close("one")
    host.ask("remove", host.networks[app.id])
    lab.tell()
    assert not any(name.startswith("vx") for name in traces(host))
