"""Three hosts on one machine: namespaces on a LAN, a process with a ``HostNetworks`` in each.

client ─┬─ LAN (bridge in a namespace of its own) 10.77.0.0/24
host 0 ─┤   each host: one interface, a process that drives networks and overlay
host 1 ─┤
host 2 ─┘
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import pickle
import secrets
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from sampan.aio import SystemClock
from sampan.config import DaemonConfig, Paths
from sampan.kernel import netlink, netns, sysctl, tunnel
from sampan.kernel.netlink import Netlink, index_of
from sampan.kernel.nft import Nft
from sampan.network.contract import ContainerNet, Sandbox, Survivor
from sampan.network.dns import message
from sampan.network.overlay.contract import (
    DataPlaneView,
    IngressNode,
    OverlayMember,
    OverlayNetwork,
    ServiceEntry,
)
from sampan.store.records import EndpointSettings, IpamPool, Network
from sampan.testing.host_networks import open_host_networks

T = TypeVar("T")
MTU = 1500
PATIENCE_S = 10.0


# ---------------------------------------------------------------- a host's process


@dataclass
class Endpoint:
    """A container on its networks."""

    container: ContainerNet
    sandbox: Sandbox
    settings: dict[str, EndpointSettings] = field(default_factory=dict)
    names: tuple[str, ...] = ()


def serve(link: Connection, space: Path, base: Path, live: list[Endpoint]) -> None:
    """The process: obeys until told to stop."""
    netns.run_inside(space, lambda: asyncio.run(_serve(link, base, live)))


async def _serve(link: Connection, base: Path, live: list[Endpoint]) -> None:
    paths = Paths(base / "root", base / "state")
    for directory in (paths.root, paths.state):
        directory.mkdir(parents=True, exist_ok=True)
    config = DaemonConfig(paths=paths)
    known = base / "networks"
    stored: dict[str, Network] = pickle.loads(known.read_bytes()) if known.exists() else {}
    asked: asyncio.Queue[tuple[str, tuple[Any, ...]]] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.add_reader(link.fileno(), lambda: asked.put_nowait(link.recv()))
    async with open_host_networks(config, SystemClock()) as networks:
        await networks.start(list(stored.values()))
        await networks.restore(
            [Survivor(e.container, tuple(e.settings.values()), (), e.names) for e in live]
        )

        async def obey(what: str, *args: Any) -> Any:
            match what:
                case "create":
                    made = await networks.create(args[0])
                    stored[made.id] = made
                    known.write_bytes(pickle.dumps(stored))
                    return made
                case "remove":
                    await networks.remove(args[0])
                    del stored[args[0].id]
                    known.write_bytes(pickle.dumps(stored))
                case "attach":
                    sandbox, network, wanted, names, default = args
                    made = await networks.attach(sandbox, network, wanted, default_route=default)
                    await networks.name(sandbox, network, made, names)
                    return made
                case "apply":
                    began = time.process_time(), time.monotonic()
                    await networks.overlay.apply(args[0])
                    return time.process_time() - began[0], time.monotonic() - began[1]
                case "applied":
                    return networks.overlay.applied
                case "leave":
                    await networks.overlay.leave()
                case _:
                    return await getattr(networks, what)(*args)

        link.send(("ready", None))
        while True:
            what, args = await asked.get()
            if what == "stop":
                break
            try:
                link.send(("done", await obey(what, *args)))
            except Exception as error:  # noqa: BLE001 - handed to whoever asked
                link.send(("failed", error))
    loop.remove_reader(link.fileno())
    link.send(("done", None))


class Host:
    def __init__(self, base: Path, space: Path, address: str, node_id: str) -> None:
        self.base, self.space, self.address, self.node_id = base, space, address, node_id
        self.containers: dict[str, Endpoint] = {}
        self.networks: dict[str, Network] = {}
        self._process: BaseProcess | None = None

    def start(self) -> None:
        self.spawn()
        self.ready()

    def spawn(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._link, theirs = context.Pipe()
        live = list(self.containers.values())
        self._process = context.Process(target=serve, args=(theirs, self.space, self.base, live))
        self._process.start()
        theirs.close()

    def ready(self) -> None:
        self._answer()

    def _answer(self) -> Any:
        assert self._link.poll(30), "the host's process does not answer"
        how, what = self._link.recv()
        if how == "failed":
            raise what
        return what

    def ask(self, what: str, *args: Any) -> Any:
        self._link.send((what, args))
        return self._answer()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.join()

    def stop(self) -> None:
        if self._process is not None and self._process.is_alive():
            with contextlib.suppress(OSError, EOFError):
                self.ask("stop")
            self._process.join()

    # -- containers

    def run(self, name: str, *places: tuple[OverlayNetwork, str]) -> Endpoint:
        """A container with these addresses."""
        container_id = secrets.token_hex(32)
        container = ContainerNet(container_id=container_id, name=name, hostname=container_id[:12])
        sandbox = self.ask("open_sandbox", container)
        made = Endpoint(container, sandbox, names=(name, container_id[:12]))
        self.containers[name] = made
        for at, (overlay, address) in enumerate(places):
            network = self.network(overlay)
            wanted = EndpointSettings(
                network_id=network.id, network_name=network.name, ipv4_wanted=address
            )
            made.settings[network.id] = self.ask(
                "attach", sandbox, network, wanted, made.names, at == 0
            )
        return made

    def network(self, overlay: OverlayNetwork) -> Network:
        if overlay.id not in self.networks:
            record = Network(
                id=overlay.id,
                name=overlay.name,
                driver="overlay",
                scope="swarm",
                created_at=1.0,
                internal=overlay.internal,
                ingress=overlay.ingress,
                pools=(IpamPool(subnet=overlay.subnet, gateway=overlay.gateway),),
            )
            self.networks[overlay.id] = self.ask("create", record)
        return self.networks[overlay.id]

    def close(self, name: str) -> None:
        made = self.containers.pop(name)
        self.ask("close_sandbox", made.container.container_id)

    def inside(self, fn: Callable[[], T]) -> T:
        return netns.run_inside(self.space, fn)


# ---------------------------------------------------------------- the laboratory


class Lab:
    """Hosts, a client, and the cluster's truth, which ``tell`` gives to every host."""

    def __init__(self, base: Path, hosts: int = 3) -> None:
        self.base = base
        self.hosts: list[Host] = []
        self._spaces: list[Path] = []
        self.lan = self._space("lan")
        with _in(self.lan) as link:
            link.do(netlink.add_bridge("lan", mac="02:42:4d:00:00:fe"))
        self.client = self._space("client")
        self._plug(self.client, "10.77.0.100", 100)
        for i in range(hosts):
            space = self._space(f"host{i}")
            address = f"10.77.0.{i + 1}"
            self._plug(space, address, i + 1)
            self.hosts.append(Host(base / f"h{i}", space, address, f"node{i}"))
        self.networks: dict[str, OverlayNetwork] = {}
        self.ingress_nodes: tuple[IngressNode, ...] = ()

    def _space(self, name: str) -> Path:
        path = self.base / name

        def inside() -> None:
            with Netlink() as link:
                link.do(netlink.set_link("lo", up=True))
            sysctl.write("net.ipv4.ip_forward", "1")

        netns.create(path, inside)
        self._spaces.append(path)
        return path

    def _plug(self, space: Path, address: str, number: int) -> None:
        descriptor = os.open(space, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with _in(self.lan) as link:
                link.do(
                    netlink.add_veth(
                        f"p{number}",
                        peer="eth0",
                        peer_mac=tunnel.mac_of(address),
                        peer_netns=descriptor,
                        mtu=MTU,
                        master=netns.run_inside(self.lan, lambda: index_of("lan")),
                    )
                )
        finally:
            os.close(descriptor)
        index = netns.run_inside(space, lambda: index_of("eth0"))
        with _in(space) as link:
            link.do(
                netlink.set_link("eth0", up=True),
                netlink.add_address(index, address, 24),
            )

    def start(self) -> None:
        for host in self.hosts:
            host.spawn()
        for host in self.hosts:
            host.ready()

    def close(self) -> None:
        for host in self.hosts:
            for name in list(host.containers):
                with contextlib.suppress(Exception):
                    host.close(name)
            host.stop()
            for directory in (host.base / "state" / "netns",):
                if directory.is_dir():
                    for path in directory.iterdir():
                        netns.delete(path)
            _kill_dns(host.base)
        for path in self._spaces:
            netns.delete(path)

    # -- the cluster's truth

    def network(self, name: str, number: int, **more: Any) -> OverlayNetwork:
        made = OverlayNetwork(
            id="z" + secrets.token_hex(12),
            name=name,
            vni=4096 + number,
            subnet=f"10.{number}.0.0/24",
            gateway=f"10.{number}.0.1",
            **more,
        )
        self.networks[made.id] = made
        if made.ingress:
            self.ingress_nodes = tuple(
                IngressNode(
                    node_id=h.node_id, ipv4=f"10.{number}.0.{250 - i}", node_address=h.address
                )
                for i, h in enumerate(self.hosts)
            )
        return made

    def service(
        self, network: OverlayNetwork, name: str, vip: str = "", **more: Any
    ) -> ServiceEntry:
        entry = ServiceEntry(service_id=f"id-{name}", name=name, vip=vip, **more)
        now = self.networks[network.id]
        others = tuple(s for s in now.services if s.service_id != entry.service_id)
        self.networks[network.id] = replace(now, services=(*others, entry))
        return entry

    def member(
        self,
        network: OverlayNetwork,
        service: str,
        name: str,
        address: str,
        host: Host,
        **more: Any,
    ) -> None:
        """Add it, or change it."""
        made = OverlayMember(
            **{
                "task_id": name,
                "task_name": name,
                "service_id": f"id-{service}" if service else "",
                "ipv4": address,
                "node_id": host.node_id,
                "node_address": host.address,
                "serving": True,
            }
            | more
        )
        now = self.networks[network.id]
        others = tuple(m for m in now.members if m.task_id != name)
        self.networks[network.id] = replace(now, members=(*others, made))

    def drop(self, network: OverlayNetwork, name: str) -> None:
        now = self.networks[network.id]
        members = tuple(m for m in now.members if m.task_id != name)
        self.networks[network.id] = replace(now, members=members)

    def view(self, host: Host) -> DataPlaneView:
        return DataPlaneView(
            node_id=host.node_id,
            node_address=host.address,
            networks=tuple(self.networks.values()),
            ingress_nodes=self.ingress_nodes,
        )

    def tell(self, *hosts: Host) -> None:
        for host in hosts or self.hosts:
            host.ask("apply", self.view(host))

    def task(
        self, host: Host, service: str, name: str, *places: tuple[OverlayNetwork, str]
    ) -> Endpoint:
        """A container that is a member of ``service`` on all these networks."""
        for network, address in places:
            self.member(network, service, name, address, host)
        return host.run(name, *places)


@contextlib.contextmanager
def _in(space: Path) -> Iterator[Netlink]:
    link = netns.run_inside(space, Netlink)
    with link:
        yield link


def _kill_dns(base: Path) -> None:
    wanted = os.fsencode(base / "state" / "dns.sock")
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if wanted in (entry / "cmdline").read_bytes().split(b"\0"):
                    os.kill(int(entry.name), 9)


# ---------------------------------------------------------------- traffic


class Server:
    """Answers every connection and datagram on ``port`` of a namespace with
    "NAME PEER-ADDRESS PEER-PORT LOCAL-ADDRESS"; echoes what comes after the first line."""

    def __init__(self, space: Path, name: str, port: int = 80) -> None:
        self.name = name

        def listen() -> tuple[socket.socket, socket.socket]:
            tcp = socket.create_server(("0.0.0.0", port), backlog=1024)
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp.bind(("0.0.0.0", port))
            return tcp, udp

        self.tcp, self.udp = netns.run_inside(space, listen)
        self.open: list[socket.socket] = []
        loop = asyncio.get_running_loop()
        for sock in (self.tcp, self.udp):
            sock.setblocking(False)
        loop.add_reader(self.tcp, self._accept)
        loop.add_reader(self.udp, self._datagram)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, peer = self.tcp.accept()
            connection.setblocking(False)
            self.open.append(connection)
            here = connection.getsockname()[0]
            connection.send(f"{self.name} {peer[0]} {peer[1]} {here}\n".encode())
            asyncio.get_running_loop().add_reader(connection, self._echo, connection)

    def _echo(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(1 << 16)
            if data:
                connection.send(data)
                return
        except OSError:
            pass
        asyncio.get_running_loop().remove_reader(connection)
        self.open.remove(connection)
        connection.close()

    def _datagram(self) -> None:
        with contextlib.suppress(OSError):
            _, peer = self.udp.recvfrom(1 << 16)
            self.udp.sendto(f"{self.name} {peer[0]} {peer[1]}\n".encode(), peer)

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in (self.tcp, self.udp, *self.open):
            loop.remove_reader(sock)
            sock.close()


@dataclass
class Said:
    by: str
    peer: str
    port: int
    to: str = ""


async def tcp(
    space: Path,
    address: str,
    port: int,
    *,
    source: tuple[str, int] | None = None,
    wait: float = 3.0,
) -> Said:
    """Connect from a namespace; what the server says. Raises OSError, TimeoutError."""

    def make() -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        if source:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(source)
        return sock

    loop = asyncio.get_running_loop()
    with netns.run_inside(space, make) as sock:
        async with asyncio.timeout(wait):
            await loop.sock_connect(sock, (address, port))
            words = (await loop.sock_recv(sock, 1000)).decode().split()
    return Said(words[0], words[1], int(words[2]), words[3])


async def dial(space: Path, address: str, port: int) -> tuple[socket.socket, Said]:
    """As ``tcp``, but the connection stays."""

    def make() -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        return sock

    loop = asyncio.get_running_loop()
    sock = netns.run_inside(space, make)
    async with asyncio.timeout(3):
        await loop.sock_connect(sock, (address, port))
        words = (await loop.sock_recv(sock, 1000)).decode().split()
    return sock, Said(words[0], words[1], int(words[2]), words[3])


async def echo(sock: socket.socket, wait: float = 3.0) -> None:
    """The connection still carries. Raises OSError, TimeoutError."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(wait):
        await loop.sock_sendall(sock, b"hello")
        if await loop.sock_recv(sock, 100) != b"hello":
            raise ConnectionResetError


async def udp(
    space: Path, address: str, port: int, sock: socket.socket | None = None, wait: float = 3.0
) -> Said:
    loop = asyncio.get_running_loop()
    made = sock or udp_socket(space)
    try:
        async with asyncio.timeout(wait):
            await loop.sock_connect(made, (address, port))
            await loop.sock_sendall(made, b"?")
            words = (await loop.sock_recv(made, 1000)).decode().split()
    finally:
        if sock is None:
            made.close()
    return Said(words[0], words[1], int(words[2]))


def udp_socket(space: Path) -> socket.socket:
    def make() -> socket.socket:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    made = netns.run_inside(space, make)
    made.setblocking(False)
    return made


async def ping(space: Path, address: str, wait: float = 2.0) -> bool:
    def make() -> socket.socket:
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)

    number = secrets.randbelow(1 << 16)
    packet = struct.pack("!BBHHH", 8, 0, 0, number, 1)
    total = sum(struct.unpack("!4H", packet))
    checksum = 0xFFFF & ~((total & 0xFFFF) + (total >> 16))
    loop = asyncio.get_running_loop()
    with netns.run_inside(space, make) as sock:
        sock.setblocking(False)
        sock.sendto(packet[:2] + struct.pack("!H", checksum) + packet[4:], (address, 0))
        try:
            async with asyncio.timeout(wait):
                while True:
                    answer, peer = await loop.sock_recvfrom(sock, 1000)
                    kind, _, _, other, _ = struct.unpack_from("!BBHHH", answer, 20)
                    if (kind, other, peer[0]) == (0, number, address):
                        return True
        except TimeoutError:
            return False


async def resolve(place: Endpoint, name: str, kind: int = message.A) -> tuple[str, ...]:
    """What the container's resolver says, in its order; empty: there is no such name here."""
    question = message.write_name(name) + struct.pack("!HH", kind, message.IN)
    packet = struct.pack("!HHHHHH", 7, message.RD, 1, 0, 0, 0) + question
    sock = udp_socket(place.sandbox.path)
    loop = asyncio.get_running_loop()
    with sock:
        async with asyncio.timeout(5):
            await loop.sock_connect(sock, ("127.0.0.11", 53))
            await loop.sock_sendall(sock, packet)
            answer = await loop.sock_recv(sock, 4096)
    count = struct.unpack_from("!H", answer, 6)[0]
    found, at = [], len(packet)
    for _ in range(count):
        _, at = message.read_name(answer, at)
        length = struct.unpack_from("!H", answer, at + 8)[0]
        data = at + 10
        if kind == message.PTR:
            found.append(message.read_name(answer, data)[0])
        else:
            found.append(socket.inet_ntoa(answer[data : data + length]))
        at = data + length
    return tuple(found)


def sent_on(space: Path, prefix: str) -> int:
    """Packets that interfaces whose name begins so have sent."""

    def read() -> int:
        lines = Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]
        return sum(
            int(line.split(":")[1].split()[9]) for line in lines if line.strip().startswith(prefix)
        )

    return netns.run_inside(space, read)


def traces(host: Host) -> set[str]:
    """What a cluster may leave on a host."""

    def look() -> set[str]:
        with Netlink() as link, Nft() as nft:
            names = {one.name for one in link.links()}
            tables = {line.strip() for line in nft.run("list tables").splitlines()}
        return names | tables

    return netns.run_inside(host.space, look)
