"""The rules against hosts on the outside, in namespaces that stand for whole machines.

Nothing touches the machine's own tables: "the host" is a namespace too.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from sampan.kernel import netlink, netns, sysctl
from sampan.kernel.netlink import Netlink, index_of
from sampan.kernel.nft import Nft
from sampan.network.firewall import BridgeSegment, Firewall, Forwarding

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

T = TypeVar("T")


@dataclass
class Machine:
    """A namespace."""

    path: Path

    def run(self, fn: Callable[[], T]) -> T:
        return netns.run_inside(self.path, fn)

    def serve(self, address: str, port: int) -> socket.socket:
        """Answer every connection with the client's address, until the socket is closed."""
        listener = self.run(lambda: socket.create_server((address, port)))

        def answer() -> None:
            while True:
                try:
                    client, peer = listener.accept()
                except OSError:
                    return
                with client:
                    client.sendall(peer[0].encode())

        threading.Thread(target=answer, daemon=True).start()
        return listener

    def connect(self, address: str, port: int, timeout_s: float = 5.0) -> str:
        def dial() -> str:
            with socket.create_connection((address, port), timeout=timeout_s) as client:
                return client.recv(100).decode()

        return self.run(dial)


def wire(
    host: Machine, guest: Machine, name: str, gateway: str, address: str, *, bridge: bool
) -> None:
    """Join ``guest`` to ``host`` by a veth pair (by a bridge called ``name``); both /24."""

    def at_host() -> None:
        with Netlink() as link:
            target = os.open(guest.path, os.O_RDONLY)
            master = 0
            if bridge:
                link.do(netlink.add_bridge(name, mac="02:42:00:00:00:01"))
                master = index_of(name)
            end = f"{name}p" if bridge else name
            link.do(
                netlink.add_veth(
                    end, peer="eth0", peer_mac="02:42:00:00:00:02", peer_netns=target, master=master
                )
            )
            os.close(target)
            link.do(netlink.add_address(index_of(name), gateway, 24))

    def at_guest() -> None:
        with Netlink() as link:
            index = index_of("eth0")
            link.do(
                netlink.set_link("lo", up=True),
                netlink.set_link("eth0", up=True),
                netlink.add_address(index, address, 24),
                netlink.default_route(gateway, index),
            )

    host.run(at_host)
    guest.run(at_guest)


@dataclass
class Lab:
    host: Machine
    outside: Machine
    """198.51.100.2, beyond the host's 198.51.100.1."""
    box: Machine
    """10.1.0.2 on bridge b1."""
    secluded: Machine
    """10.2.0.2 on the internal bridge b2."""

    def firewall(self, fn: Callable[[Firewall], T]) -> T:
        def work() -> T:
            with Nft() as nft:
                return fn(Firewall(nft, "lab"))

        return self.host.run(work)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    def boot() -> None:
        with Netlink() as link:
            link.do(netlink.set_link("lo", up=True))
        sysctl.write("net.ipv4.ip_forward", "1")

    machines = [Machine(tmp_path / name) for name in ("host", "outside", "box", "secluded")]
    for machine in machines:
        netns.create(machine.path, boot)
    made = Lab(*machines)
    wire(made.host, made.outside, "wan", "198.51.100.1", "198.51.100.2", bridge=False)
    wire(made.host, made.box, "b1", "10.1.0.1", "10.1.0.2", bridge=True)
    wire(made.host, made.secluded, "b2", "10.2.0.1", "10.2.0.2", bridge=True)
    made.firewall(lambda f: f.install([BridgeSegment("b1"), BridgeSegment("b2", internal=True)]))
    yield made
    for machine in machines:
        netns.delete(machine.path)


def test_the_outside_sees_the_host_and_not_the_container(lab: Lab) -> None:
    with lab.outside.serve("198.51.100.2", 80):
        assert lab.box.connect("198.51.100.2", 80) == "198.51.100.1"


def test_a_published_port_shows_the_client_s_own_address(lab: Lab) -> None:
    lab.firewall(lambda f: f.forward([Forwarding("0.0.0.0", 8080, "tcp", "10.1.0.2", 80)]))
    with lab.box.serve("0.0.0.0", 80):
        assert lab.outside.connect("198.51.100.1", 8080) == "198.51.100.2"


def test_what_is_not_published_is_not_reached_by_routing(lab: Lab) -> None:
    with lab.box.serve("0.0.0.0", 80), pytest.raises(TimeoutError):
        lab.outside.connect("10.1.0.2", 80, 0.3)


def test_a_port_published_on_one_address_is_not_on_another(lab: Lab) -> None:
    lab.firewall(lambda f: f.forward([Forwarding("127.0.0.1", 8080, "tcp", "10.1.0.2", 80)]))
    with lab.box.serve("0.0.0.0", 80), pytest.raises(ConnectionRefusedError):
        lab.outside.connect("198.51.100.1", 8080)


def test_an_internal_network_has_no_way_out_nor_in(lab: Lab) -> None:
    with lab.outside.serve("0.0.0.0", 80), lab.box.serve("0.0.0.0", 80):
        for address in ("198.51.100.2", "10.1.0.2"):
            with pytest.raises(TimeoutError):
                lab.secluded.connect(address, 80, 0.3)
    with lab.secluded.serve("0.0.0.0", 80), pytest.raises(TimeoutError):
        lab.outside.connect("10.2.0.2", 80, 0.3)


def test_an_unpublished_port_is_closed_and_unpublishing_twice_is_nothing(lab: Lab) -> None:
    ports = [
        Forwarding("0.0.0.0", 8080, "tcp", "10.1.0.2", 80),
        Forwarding("0.0.0.0", 8081, "tcp", "10.1.0.2", 80),
    ]
    lab.firewall(lambda f: f.forward(ports))
    lab.firewall(lambda f: f.unforward(ports))
    lab.firewall(lambda f: f.unforward(ports))
    with lab.box.serve("0.0.0.0", 80), pytest.raises(ConnectionRefusedError):
        lab.outside.connect("198.51.100.1", 8080)


def test_installing_again_keeps_published_ports(lab: Lab) -> None:
    lab.firewall(lambda f: f.forward([Forwarding("0.0.0.0", 8080, "tcp", "10.1.0.2", 80)]))
    lab.firewall(lambda f: f.install([BridgeSegment("b1")]))
    with lab.box.serve("0.0.0.0", 80):
        assert lab.outside.connect("198.51.100.1", 8080) == "198.51.100.2"


def test_another_tool_s_policy_of_drop_lets_ours_through(lab: Lab) -> None:
    def closed() -> None:
        with Nft() as nft:
            nft.run(
                "table ip filter { chain FORWARD "
                "{ type filter hook forward priority filter; policy drop; }; }"
            )

    lab.host.run(closed)
    with lab.outside.serve("198.51.100.2", 80):
        with pytest.raises(TimeoutError):
            lab.box.connect("198.51.100.2", 80, 0.3)
        lab.firewall(lambda f: f.let_through())
        lab.firewall(lambda f: f.let_through())
        assert lab.box.connect("198.51.100.2", 80) == "198.51.100.1"

    def rules() -> int:
        with Nft() as nft:
            return sum("rule" in item for item in nft.query("list chain ip filter FORWARD"))

    assert lab.host.run(rules) == 1
