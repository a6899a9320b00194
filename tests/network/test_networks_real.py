"""The host's networks on the real kernel: traffic from every side, and what a crash leaves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from sampan.aio import SystemClock
from sampan.config import DaemonConfig, Paths
from sampan.kernel import netns
from sampan.kernel.linux import HOST
from sampan.kernel.netlink import Netlink
from sampan.kernel.nft import Nft
from sampan.network.contract import (
    ContainerNet,
    Networks,
    PortTaken,
    Sandbox,
    SubnetOverlap,
    Survivor,
)
from sampan.network.dns import message
from sampan.network.networks import HostNetworks
from sampan.network.sweep import is_ours, sweep
from sampan.store.records import EndpointSettings, IpamPool, Network, PortBinding
from sampan.testing.contracts.networks import NetworksContract, container, joined, network, wish
from sampan.testing.host_networks import open_host_networks

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

T = TypeVar("T")
PATIENCE_S = 10.0


@pytest.fixture
def config(tmp_path: Path) -> DaemonConfig:
    paths = Paths(tmp_path / "root", tmp_path / "state")
    for directory in (paths.root, paths.state):
        directory.mkdir()
    return DaemonConfig(paths=paths)


def clean(config: DaemonConfig) -> None:
    """Take away what the test left on purpose."""
    sweep(HOST, config, keep=(), sandboxes=())
    with Nft() as nft:
        table = config.instance.table
        nft.run(f"add table inet {table}; delete table inet {table}")
    kill_dns(config)


def dns_pids(config: DaemonConfig) -> list[int]:
    wanted = os.fsencode(config.paths.state / "dns.sock")
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if wanted in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def kill_dns(config: DaemonConfig) -> None:
    for pid in dns_pids(config):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
async def real(config: DaemonConfig) -> AsyncIterator[HostNetworks]:
    try:
        async with open_host_networks(config, SystemClock()) as networks:
            await networks.start([])
            yield networks
    finally:
        clean(config)


async def inside(sandbox: Sandbox, fn: Callable[[], T]) -> T:
    return await asyncio.to_thread(netns.run_inside, sandbox.path, fn)


async def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline, "it did not come true"
        await asyncio.sleep(0.01)


class Echo:
    """Answers "NAME PEER" to whoever connects to ``port`` in a sandbox."""

    def __init__(self, sandbox: Sandbox, name: str, port: int = 80) -> None:
        self.sandbox, self.name, self.port = sandbox, name, port

    async def __aenter__(self) -> Echo:
        def listen() -> socket.socket:
            return socket.create_server(("0.0.0.0", self.port))

        self._server = await asyncio.start_server(
            self._answer, sock=await inside(self.sandbox, listen)
        )
        return self

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{self.name} {writer.get_extra_info('peername')[0]}".encode())
        await writer.drain()
        writer.close()

    async def __aexit__(self, *_: object) -> None:
        self._server.close()


def connect(host: str, port: int, timeout_s: float = PATIENCE_S) -> str:
    with socket.create_connection((host, port), timeout=timeout_s) as client:
        return client.recv(100).decode()


def ask(
    name: str, kind: int = message.A, *, stream: bool = False, timeout_s: float = PATIENCE_S
) -> bytes:
    query = message.write_query(77, name, kind)
    if stream:
        with socket.create_connection(("127.0.0.11", 53), timeout=PATIENCE_S) as tcp:
            tcp.sendall(len(query).to_bytes(2, "big") + query)
            return tcp.recv(4096)[2:]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(timeout_s)
        udp.sendto(query, ("127.0.0.11", 53))
        return udp.recv(4096)


def publish_at(port: int = 0, ip: str = "127.0.0.1") -> dict[str, tuple[PortBinding, ...]]:
    return {"80/tcp": (PortBinding(host_ip=ip, host_port=str(port) if port else ""),)}


class TestHostNetworks(NetworksContract):
    @pytest.fixture
    async def networks(self, real: HostNetworks) -> Networks:
        return real


async def test_neighbours_reach_one_another_and_strangers_do_not(real: HostNetworks) -> None:
    here, there = await real.create(network("here")), await real.create(network("there"))
    one, _ = await joined(real, here)
    two, at_two = await joined(real, here)
    three, _ = await joined(real, there)
    async with Echo(two, "two"):
        assert (await inside(one, lambda: connect(at_two.ipv4, 80))).startswith("two")
        with pytest.raises(OSError, match="timed out"):
            await inside(three, lambda: connect(at_two.ipv4, 80, 0.3))


async def test_a_published_port_is_reached_from_every_side(real: HostNetworks) -> None:
    here, there = await real.create(network("here")), await real.create(network("there"))
    server, at = await joined(real, here)
    neighbour, _ = await joined(real, here)
    stranger, _ = await joined(real, there)
    port = (await real.publish(server, at, here, publish_at(ip="0.0.0.0")))[0].host_port
    async with Echo(server, "it"):
        assert await asyncio.to_thread(connect, "127.0.0.1", port) == f"it {at.gateway}"
        assert (await asyncio.to_thread(connect, at.gateway, port)).startswith("it")
        for who in (neighbour, stranger, server):
            told = await inside(who, lambda: connect(at.gateway, port))
            assert told.startswith("it")


async def test_ipv6_clients_of_an_ipv4_container_are_relayed(real: HostNetworks) -> None:
    here = await real.create(network())
    server, at = await joined(real, here)
    (port,) = await real.publish(server, at, here, publish_at(ip="::1"))
    async with Echo(server, "six"):
        assert await asyncio.to_thread(connect, "::1", port.host_port) == f"six {at.gateway}"


async def test_a_port_of_the_host_is_respected(real: HostNetworks) -> None:
    here = await real.create(network())
    server, at = await joined(real, here)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = publish_at(taken.getsockname()[1])
        with pytest.raises(PortTaken, match="address already in use"):
            await real.publish(server, at, here, wanted)


async def test_containers_of_a_network_without_icc_are_apart(real: HostNetworks) -> None:
    wanted = Network(
        id=secrets.token_hex(32),
        name="apart",
        driver="bridge",
        created_at=1.0,
        options={"com.docker.network.bridge.enable_icc": "false"},
    )
    here = await real.create(wanted)
    one, at = await joined(real, here)
    two, _ = await joined(real, here)
    async with Echo(one, "one"):
        with pytest.raises(OSError, match=r"timed out|No route"):
            await inside(two, lambda: connect(at.ipv4, 80, 0.3))


async def test_a_subnet_of_the_host_is_refused_by_name(real: HostNetworks) -> None:
    made = await real.create(network())
    other = DaemonConfig(paths=Paths(Path("/nonexistent/other"), Path("/nonexistent/state")))
    async with open_host_networks(other, SystemClock()) as second:
        with pytest.raises(SubnetOverlap, match=f"dev {made.bridge}"):
            await second.create(network("b", "bridge", IpamPool(subnet=made.pools[0].subnet)))


async def named(
    networks: HostNetworks, segment: Network, *names: str
) -> tuple[Sandbox, EndpointSettings, ContainerNet]:
    box = container(names[0])
    sandbox = await networks.open_sandbox(box)
    endpoint = await networks.attach(sandbox, segment, wish(), default_route=True)
    await networks.name(sandbox, segment, endpoint, names)
    return sandbox, endpoint, box


def holds(answer: bytes, *addresses: str) -> bool:
    return all(socket.inet_aton(address) in answer for address in addresses)


async def test_names_are_answered_within_a_network(real: HostNetworks) -> None:
    here, there = await real.create(network("here")), await real.create(network("there"))
    web, at_web, _ = await named(real, here, "web", "app")
    _, at_db, box = await named(real, here, "db", "app")
    other, _, _ = await named(real, there, "other")
    assert holds(await inside(web, lambda: ask("db")), at_db.ipv4)
    assert holds(await inside(web, lambda: ask("DB.here")), at_db.ipv4)
    assert holds(await inside(web, lambda: ask("app", stream=True)), at_web.ipv4, at_db.ipv4)
    reverse = message.reverse_name(at_db.ipv4)
    assert b"\x02db\x04here\x00" in await inside(web, lambda: ask(reverse, message.PTR))
    nothing = await inside(web, lambda: ask("db", message.AAAA))
    assert nothing[3] & 0xF == message.NOERROR
    assert nothing[6:8] == b"\0\0"
    await real.rename(box.container_id, "db", "base")
    assert holds(await inside(web, lambda: ask("base")), at_db.ipv4)
    assert other.path.exists()


async def test_a_container_may_serve_port_53_itself(real: HostNetworks) -> None:
    here = await real.create(network("here"))
    web, at_web, _ = await named(real, here, "web")

    def bind_and_ask() -> bytes:
        with socket.create_server(("0.0.0.0", 53)), socket.socket(type=socket.SOCK_DGRAM) as udp:
            udp.bind(("0.0.0.0", 53))
            return ask("web")

    assert holds(await inside(web, bind_and_ask), at_web.ipv4)


async def test_a_killed_dns_process_is_replaced(real: HostNetworks, config: DaemonConfig) -> None:
    here = await real.create(network("here"))
    web, at_web, _ = await named(real, here, "web")
    before = dns_pids(config)
    kill_dns(config)
    await until(lambda: bool(dns_pids(config)) and not set(dns_pids(config)) & set(before))

    def answered() -> bool:
        with contextlib.suppress(OSError):
            return holds(netns.run_inside(web.path, lambda: ask("web", timeout_s=0.3)), at_web.ipv4)
        return False

    await asyncio.to_thread(lambda: asyncio.run(until(answered)))


async def test_everything_lives_on_without_the_daemon(config: DaemonConfig) -> None:
    try:
        async with open_host_networks(config, SystemClock()) as first:
            await first.start([])
            here = await first.create(network("here"))
            web, at_web, box = await named(first, here, "web")
            gone, _, _ = await named(first, here, "gone")
            (port,) = await first.publish(web, at_web, here, publish_at())
        async with Echo(web, "web"):
            assert (await asyncio.to_thread(connect, "127.0.0.1", port.host_port)).startswith("web")
            assert holds(await inside(web, lambda: ask("web")), at_web.ipv4)
            pids = dns_pids(config)
            async with open_host_networks(config, SystemClock()) as second:
                await second.start([here])
                await second.restore([Survivor(box, (at_web,), (port,), ("web",))])
                assert dns_pids(config) == pids
                assert not gone.path.exists()
                told = await asyncio.to_thread(connect, "127.0.0.1", port.host_port)
                assert told.startswith("web")
                assert holds(await inside(web, lambda: ask("web")), at_web.ipv4)
                other, at_other = await joined(second, here)
                assert at_other.ipv4 != at_web.ipv4
                with pytest.raises(PortTaken, match="already allocated"):
                    await second.publish(other, at_other, here, publish_at(port.host_port))
                await second.close_sandbox(web.container_id)
                await second.close_sandbox(other.container_id)
                await second.remove(here)
        await until(lambda: not dns_pids(config))
        with Netlink() as host:
            assert not [
                link.name
                for link in host.links()
                if is_ours(link, config.instance) and link.name != here.bridge
            ]
    finally:
        clean(config)


async def test_a_second_daemon_s_things_are_left_alone(
    real: HostNetworks, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("second")
    other = DaemonConfig(paths=Paths(base / "root", base / "state"))
    made = await real.create(network())
    sandbox, _ = await joined(real, made)
    try:
        async with open_host_networks(other, SystemClock()) as second:
            await second.start([])
            await second.restore([])
            assert (await second.create(network())).pools != made.pools
        assert sandbox.path.exists()
        with Netlink() as host:
            assert made.bridge in {link.name for link in host.links()}
    finally:
        clean(other)
