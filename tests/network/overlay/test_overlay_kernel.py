"""The messages and rules of overlay networks, sent to the real kernel in a namespace of its own."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from sampan.kernel import conntrack, netlink, netns, sysctl, tunnel
from sampan.kernel.conntrack import NETLINK_NETFILTER, Flow
from sampan.kernel.linux import HOST
from sampan.kernel.netlink import Netlink, index_of
from sampan.kernel.nft import Nft, NftError
from sampan.network.overlay import rules
from sampan.network.overlay.namespaces import forget_flows
from sampan.network.overlay.plan import Backends, Departed

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

T = TypeVar("T")
Inside = Callable[[Callable[[], T]], T]


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Inside]:  # type: ignore[type-arg]
    path = tmp_path / "ns"

    def begin() -> None:
        with Netlink() as link:
            link.do(netlink.set_link("lo", up=True))

    netns.create(path, begin)
    yield lambda fn: netns.run_inside(path, fn)
    netns.delete(path)


def test_a_tunnel_with_its_entries(inside: Inside) -> None:  # type: ignore[type-arg]
    def run() -> None:
        with Netlink() as link:
            link.do(netlink.add_bridge("b", mac="02:42:00:00:00:01"))
            bridge = index_of("b")
            make = tunnel.add_vxlan(
                "v", vni=77, local="192.0.2.1", port=4790, mtu=1400, master=bridge, group=5
            )
            link.do(make, tunnel.quiet_tunnel("v"))
            (outcome,) = link.request(make)
            assert outcome is not None
            assert outcome.errno == errno.EEXIST
            (made,) = tunnel.vxlans(link)
            assert (made.vni, made.local, made.port, made.mtu, made.master) == (
                77,
                "192.0.2.1",
                4790,
                1400,
                bridge,
            )
            mac = tunnel.mac_of("10.0.0.9")
            many = [
                tunnel.forward_to_host(made.index, tunnel.mac_of(f"10.0.{n}.9"), "192.0.2.7")
                for n in range(250)
            ]
            tunnel.send(link, many)
            link.do(
                tunnel.forward_to_host(made.index, mac, "192.0.2.8"),
                tunnel.neighbour(bridge, "10.0.0.9", mac),
            )
            known = tunnel.forwarding(link)[made.index]
            assert known[mac] == "192.0.2.8", "the last word counts"
            assert len(known) == 250
            assert tunnel.neighbours(link)[bridge] == {"10.0.0.9"}
            link.do(
                tunnel.forward_to_host(made.index, mac, "", delete=True),
                tunnel.neighbour(bridge, "10.0.0.9", delete=True),
            )
            assert mac not in tunnel.forwarding(link)[made.index]
            assert not tunnel.neighbours(link).get(bridge)

    inside(run)


def test_a_rule_by_mark_and_its_route(inside: Inside) -> None:  # type: ignore[type-arg]
    def run() -> None:
        with Netlink() as link:
            link.do(netlink.add_bridge("b", mac="02:42:00:00:00:01"))
            index = index_of("b")
            link.do(
                netlink.add_address(index, "10.0.0.1", 24, metric=32000),
                tunnel.table_route(77, "169.254.1.1", index),
                tunnel.mark_rule(rules.MARK, 77, 100),
            )
            # Marked packets have a way, others have not.
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                with pytest.raises(OSError, match="unreachable"):
                    sock.connect(("198.51.100.1", 9))
                sock.setsockopt(socket.SOL_SOCKET, 36, rules.MARK | 7)  # SO_MARK
                sock.connect(("198.51.100.1", 9))
            link.do(netlink.delete_address(index, "10.0.0.1", 24))
            assert not [a for i, a in link.addresses() if i == index and a.version == 4]

    inside(run)


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
def test_rules_are_what_the_kernel_takes(inside: Inside, protocol: str) -> None:  # type: ignore[type-arg]
    def run() -> None:
        with Nft() as nft:
            one, two = {"10.0.1.9": ("10.0.1.2",)}, {"10.0.1.9": (), "10.0.1.8": ("10.0.1.3",) * 2}
            nft.run(rules.services(None, one))
            with pytest.raises(NftError):
                nft.run(rules.services(None, two))
            nft.run(rules.services(one, two))
            nft.run(rules.services(two, {}))
            assert "v0a0001" not in nft.run("list table ip sampan")
            port = (protocol, 80)
            first = {port: Backends(("10.0.1.2", "10.0.1.3"), 8080)}
            nft.run(rules.mesh("m", None, first))
            nft.run(rules.mesh("m", first, {port: Backends((), 8080)}))
            nft.run(rules.mesh("m", {port: Backends((), 8080)}, {}))
            nodes = frozenset({"10.0.0.250", "10.0.0.251"})
            nft.run(rules.ingress("lo", "10.0.0.2", None, nodes))
            nft.run(rules.ingress("lo", "10.0.0.2", nodes, nodes - {"10.0.0.250"}))
            shown = nft.run("list ruleset")
            assert "02:42:0a:00:00:fb" in shown
            assert "02:42:0a:00:00:fa" not in shown
            tables = (("ip", rules.TABLE), ("ip", rules.INGRESS), ("netdev", rules.INGRESS))
            nft.run(rules.without([*tables, ("ip", "m")]))
            assert nft.run("list tables") == ""

    inside(run)


def test_flows_are_forgotten_by_whom_they_lead_to(inside: Inside) -> None:  # type: ignore[type-arg]
    def run() -> None:
        with Nft() as nft, Netlink(NETLINK_NETFILTER) as flows:
            assert conntrack.tracked(sysctl) == 0
            nft.run(
                rules.services(None, {"127.0.7.7": ("127.0.0.2",), "127.0.7.8": ("127.0.0.3",)})
            )
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for address in ("127.0.7.7", "127.0.7.8", "127.0.0.9"):
                    sock.sendto(b"x", (address, 999))
            assert conntrack.tracked(sysctl) == 3
            forget = conntrack.forget_answered_by
            assert forget(flows, "127.0.0.4", lambda flow: True) == 0
            assert forget(flows, "127.0.0.2", lambda flow: flow.replied) == 0
            seen = []
            assert forget(flows, "127.0.0.2", lambda flow: bool(seen.append(flow) or True)) == 1
            assert (seen[0].protocol, seen[0].replied, seen[0].translated) == (17, False, True)
            assert seen[0].leads_to == "127.0.0.2"
            untouched = conntrack.forget_asking_for(flows, 17, 999, lambda f: not f.translated)
            assert untouched == 1
            assert conntrack.forget(flows, lambda flow: flow.leads_to == "127.0.0.3") == 1
            assert conntrack.tracked(sysctl) == 0

    inside(run)


def test_a_connection_is_only_taken_up_anew_when_it_stays_unanswered(inside: Inside) -> None:  # type: ignore[type-arg]
    """A member that serves no more still answers what has reached it."""
    left = Departed(draining=frozenset({"127.0.0.2"}))
    drop = "add table ip t; add chain ip t c { type filter hook input priority 0; }"
    drop += "; add rule ip t c tcp dport 80 drop"

    def begin() -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        assert sock.connect_ex(("127.0.7.7", 80)) == errno.EINPROGRESS
        return sock

    def run() -> None:
        linux = HOST
        with Nft() as nft, socket.create_server(("127.0.0.2", 80)) as server:
            nft.run(rules.services(None, {"127.0.7.7": ("127.0.0.2",)}))
            nft.run(drop)
            with begin() as first, begin():
                begun = forget_flows(linux, left)
                assert len(begun) == conntrack.tracked(sysctl) == 2, "nothing is torn at once"
                # one of them is answered meanwhile: its next try, a second later
                nft.run("flush chain ip t c")
                ready = select.select((), (first,), (), 20)[1]
                assert ready
                other, _ = server.accept()
                again, _ = server.accept()
                nft.run("add rule ip t c tcp dport 80 drop")
                with begin() as third:
                    assert len(forget_flows(linux, left, begun)) == 1
                    nft.run("flush chain ip t c")
                    first.send(b"x")
                    assert select.select((other, again), (), (), 20)[0], "it goes on"
                    assert select.select((), (third,), (), 20)[1]
                server.accept()[0].close()
                other.close()
                again.close()
            # one that nobody answers goes
            nft.run("add rule ip t c tcp dport 80 drop")
            with begin():
                begun = forget_flows(linux, left)
                assert len(begun) == 1
                before = conntrack.tracked(sysctl)
                assert forget_flows(linux, left, begun) == frozenset()
                assert conntrack.tracked(sysctl) == before - 1

    inside(run)


def test_a_connection_from_a_port_used_again_is_not_taken_for_the_one_before(  # type: ignore[type-arg]
    inside: Inside,
) -> None:
    """Between the look at a connection that leads to nobody and its removal its client may have
    closed it, and have begun another from the same port, which leads to somebody."""
    members, vip = ("127.0.0.2", "127.0.0.3"), "127.0.7.7"

    def begin() -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.settimeout(10)
        sock.bind(("127.0.0.1", 33333))
        sock.connect((vip, 80))
        return sock

    def end(asks: socket.socket, answers: socket.socket) -> None:
        with asks, answers:
            answers.shutdown(socket.SHUT_WR)
            assert asks.recv(1) == b""

    def run() -> None:
        with (
            Nft() as nft,
            socket.create_server((members[0], 80)) as first,
            socket.create_server((members[1], 80)) as second,
            Netlink(NETLINK_NETFILTER) as flows,
        ):
            servers = {members[0]: first, members[1]: second}
            nft.run(rules.services(None, {vip: members[:1]}))
            # whether the second gets the id of the first is the memory allocator's whim
            for before, after in (members, members[::-1]) * 10:
                end(begin(), servers[before].accept()[0])
                nft.run(rules.services({vip: (before,)}, {vip: (after,)}))
                living: list[socket.socket] = []

                def gone(
                    flow: Flow,
                    before: str = before,
                    after: str = after,
                    living: list[socket.socket] = living,
                ) -> bool:
                    if flow.leads_to == before and not living:
                        living.extend((begin(), servers[after].accept()[0]))
                    return flow.leads_to == before

                assert conntrack.forget(flows, gone) == 1
                asks, answers = living
                # the other way round, what the client says would take the connection up anew
                answers.sendall(b"answer")
                assert asks.recv(100) == b"answer"
                end(asks, answers)

    inside(run)
