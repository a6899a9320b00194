"""What rtnetlink, namespaces and parameters keep to, with the real kernel and with the fake.

Subclass it as ``TestX`` and give the fixture ``linux``. Every test works in namespaces of its own.
What a kernel lacks is skipped, with the reason.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from sampan.kernel import netlink, tunnel
from sampan.kernel.linux import Linux
from sampan.kernel.netlink import Message, Rtnetlink

T = TypeVar("T")
Inside = Callable[[Callable[[Rtnetlink], T]], T]
BRIDGE_MAC = "02:42:00:00:00:01"


def outcome(link: Rtnetlink, message: Message) -> int:
    """The error number of one message, 0 if it is done."""
    (error,) = link.request(message)
    return 0 if error is None else error.errno or -1


class NetlinkContract:
    @pytest.fixture
    def linux(self) -> Linux:
        raise NotImplementedError

    @pytest.fixture
    def space(self, linux: Linux, tmp_path: Path) -> Iterator[Path]:
        path = tmp_path / "space"

        def begin() -> None:
            # No address that an interface gives itself: it would come in some tests and not others.
            try:
                linux.sysctl.write("net.ipv6.conf.default.disable_ipv6", "1")
            except FileNotFoundError:
                return

        linux.netns.create(path, begin)
        yield path
        linux.netns.delete(path)

    @pytest.fixture
    def inside(self, linux: Linux, space: Path) -> Inside[T]:
        """Run a function with a socket in the namespace."""

        def run(fn: Callable[[Rtnetlink], T]) -> T:
            def work() -> T:
                with linux.netlink() as link:
                    return fn(link)

            return linux.netns.run_inside(space, work)

        return run

    @pytest.fixture
    def other(self, linux: Linux, tmp_path: Path) -> Iterator[Path]:
        path = tmp_path / "other"
        linux.netns.create(path, lambda: None)
        yield path
        linux.netns.delete(path)

    # -- namespaces

    def test_a_namespace_is_new_kept_and_deleted(self, linux: Linux, space: Path) -> None:
        def look() -> list[tuple[str, bool]]:
            with linux.netlink() as link:
                return [(one.name, one.up) for one in link.links() if not one.kind]

        assert linux.netns.kept(space)
        assert linux.netns.run_inside(space, look) == [("lo", False)]
        linux.netns.delete(space)
        linux.netns.delete(space)
        assert not linux.netns.kept(space)
        with pytest.raises(FileNotFoundError):
            linux.netns.run_inside(space, look)
        with pytest.raises(FileNotFoundError), linux.netns.opened(space):
            pass

    def test_a_namespace_that_fails_inside_is_not_kept(self, linux: Linux, tmp_path: Path) -> None:
        def fail() -> None:
            raise KeyError("inside")

        with pytest.raises(KeyError):
            linux.netns.create(tmp_path / "failed", fail)
        assert not linux.netns.kept(tmp_path / "failed")
        assert not (tmp_path / "failed").exists()

    def test_a_kept_name_is_given_once(self, linux: Linux, space: Path) -> None:
        with pytest.raises(FileExistsError):
            linux.netns.create(space, lambda: None)
        assert linux.netns.kept(space)

    def test_parameters_are_those_of_the_namespace(
        self, linux: Linux, space: Path, other: Path
    ) -> None:
        name = "net.ipv4.ip_unprivileged_port_start"

        def change() -> tuple[bool, bool, str]:
            first, again = (linux.sysctl.ensure(name, "80") for _ in range(2))
            return first, again, linux.sysctl.read(name)

        assert linux.netns.run_inside(space, change) == (True, False, "80")
        assert linux.netns.run_inside(other, lambda: linux.sysctl.read(name)) == "1024"

    def test_an_interface_s_parameters_come_and_go_with_it(
        self, linux: Linux, inside: Inside[None]
    ) -> None:
        def run(link: Rtnetlink) -> None:
            name = "net/ipv4/conf/b/route_localnet"
            with pytest.raises(FileNotFoundError):
                linux.sysctl.read(name)
            link.do(netlink.add_bridge("b", mac=BRIDGE_MAC))
            assert linux.sysctl.read(name) == "0"
            linux.sysctl.write(name, "1")
            link.do(netlink.delete_link("b"))
            with pytest.raises(FileNotFoundError):
                linux.sysctl.write(name, "1")
            link.do(netlink.add_bridge("b", mac=BRIDGE_MAC))
            assert linux.sysctl.read(name) == "0"
            with pytest.raises(FileNotFoundError):
                linux.sysctl.write("net.ipv4.no_such_parameter", "1")

        inside(run)

    # -- links

    def test_a_bridge_is_made_once_changed_and_deleted(
        self, linux: Linux, inside: Inside[None]
    ) -> None:
        def run(link: Rtnetlink) -> None:
            made = netlink.add_bridge("b", mac=BRIDGE_MAC, mtu=1400, group=7)
            link.do(made)
            assert outcome(link, made) == errno.EEXIST
            (found,) = (one for one in link.links() if one.name == "b")
            assert (found.kind, found.mac, found.mtu, found.group, found.up) == (
                ("bridge", BRIDGE_MAC, 1400, 7, True)
            )
            assert found.index == linux.index_of("b") != 0
            link.do(netlink.set_link("b", mac="02:42:00:00:00:02", mtu=1300, group=8, up=False))
            (found,) = (one for one in link.links() if one.name == "b")
            assert (found.mac, found.mtu, found.group, found.up) == (
                ("02:42:00:00:00:02", 1300, 8, False)
            )
            link.do(netlink.delete_link("b"))
            assert linux.index_of("b") == 0
            assert outcome(link, netlink.delete_link("b")) == errno.ENODEV
            assert outcome(link, netlink.set_link("b", up=True)) == errno.ENODEV
            assert outcome(link, netlink.delete_link("lo")) == errno.EOPNOTSUPP

        inside(run)

    def test_every_message_of_a_batch_has_its_outcome(self, inside: Inside[None]) -> None:
        def run(link: Rtnetlink) -> None:
            results = link.request(
                netlink.delete_link("nobody"),
                netlink.set_link("lo", up=True),
                netlink.delete_link("lo"),
            )
            assert [error and error.errno for error in results] == [
                errno.ENODEV,
                None,
                errno.EOPNOTSUPP,
            ]
            with pytest.raises(OSError, match="No such device"):
                link.do(netlink.delete_link("nobody"), netlink.set_link("lo", up=False))
            (lo,) = (one for one in link.links() if one.name == "lo")
            assert not lo.up, "what came after the failure was tried"

        inside(run)

    def test_a_pair_spans_two_namespaces_and_goes_as_a_whole(
        self, linux: Linux, inside: Inside[None], other: Path
    ) -> None:
        def there() -> list[tuple[str, str, bool]]:
            with linux.netlink() as link:
                return [(o.name, o.mac, o.up) for o in link.links() if o.kind == "veth"]

        def run(link: Rtnetlink) -> None:
            link.do(netlink.add_bridge("b", mac=BRIDGE_MAC))
            bridge = linux.index_of("b")
            with linux.netns.opened(other) as target:

                def pair(name: str, peer: str, master: int = bridge) -> Message:
                    mac = "02:42:00:00:00:09"
                    return netlink.add_veth(
                        name, peer=peer, peer_mac=mac, peer_netns=target, master=master, group=5
                    )

                link.do(pair("v0", "eth0"))
                assert outcome(link, pair("v0", "eth1")) == errno.EEXIST
                assert outcome(link, pair("v1", "eth0")) == errno.EEXIST
                assert outcome(link, pair("v1", "eth1", master=999)) != 0
            (mine,) = (one for one in link.links() if one.kind == "veth")
            assert (mine.name, mine.master, mine.group) == ("v0", bridge, 5)
            link.do(netlink.isolate_port("v0"), netlink.hairpin_port("v0"))

        inside(run)
        assert linux.netns.run_inside(other, there) == [("eth0", "02:42:00:00:00:09", False)]
        inside(lambda link: link.do(netlink.delete_link("v0")))
        assert linux.netns.run_inside(other, there) == []

    def test_a_port_s_flags_are_a_port_s_only(self, linux: Linux, inside: Inside[None]) -> None:
        def run(link: Rtnetlink) -> None:
            link.do(netlink.add_bridge("b", mac=BRIDGE_MAC))
            assert outcome(link, netlink.isolate_port("b")) == errno.EOPNOTSUPP

        inside(run)

    def test_a_group_is_deleted_at_once(self, linux: Linux, inside: Inside[None]) -> None:
        def run(link: Rtnetlink) -> None:
            link.do(
                netlink.add_bridge("a", mac=BRIDGE_MAC, group=7),
                netlink.add_bridge("b", mac="02:42:00:00:00:02", group=7),
                netlink.add_bridge("c", mac="02:42:00:00:00:03", group=8),
            )
            link.do(netlink.delete_group(7))
            assert [bool(linux.index_of(name)) for name in "abc"] == [False, False, True]
            assert outcome(link, netlink.delete_group(7)) == errno.ENODEV

        inside(run)

    def test_a_link_moves_and_is_called_otherwise(
        self, linux: Linux, inside: Inside[None], other: Path
    ) -> None:
        def run(link: Rtnetlink) -> None:
            made = outcome(link, netlink.add_link("d", "macvlan"))
            assert made in (errno.EINVAL, errno.EOPNOTSUPP), "macvlan needs a lower link"
            link.do(netlink.add_bridge("b", mac=BRIDGE_MAC))
            with linux.netns.opened(other) as target:
                link.do(
                    netlink.add_veth("v", peer="p", peer_mac="02:42:00:00:00:04", peer_netns=target)
                )
                link.do(netlink.add_address(linux.index_of("v"), "10.0.0.1", 24))
                link.do(netlink.move_link(linux.index_of("v"), netns=target, name="eth7"))
                assert not linux.index_of("v")
                assert not [a for _, a in link.addresses() if a.version == 4]
                missing = netlink.move_link(4242, netns=target, name="eth8")
                assert outcome(link, missing) == errno.ENODEV

        inside(run)

        def there() -> dict[str, bool]:
            with linux.netlink() as link:
                return {one.name: one.up for one in link.links() if one.kind == "veth"}

        assert linux.netns.run_inside(other, there) == {"p": False, "eth7": False}

    @pytest.mark.parametrize("kind", ["macvlan", "ipvlan"])
    def test_what_is_on_top_of_a_link_goes_with_it(
        self, linux: Linux, inside: Inside[None], kind: str
    ) -> None:
        def run(link: Rtnetlink) -> None:
            link.do(netlink.add_bridge("b", mac=BRIDGE_MAC))
            lower = linux.index_of("b")
            made = outcome(link, netlink.add_link("top", kind, lower=lower))
            if made == errno.EOPNOTSUPP:
                pytest.skip(f"this kernel has no {kind}")
            assert made == 0
            assert outcome(link, netlink.add_link("nowhere", kind, lower=4242)) == errno.ENODEV
            link.do(netlink.delete_link("b"))
            assert not linux.index_of("top")

        inside(run)

    def test_a_bridge_s_port_carries_no_macvlan(self, linux: Linux, inside: Inside[None]) -> None:
        def run(link: Rtnetlink) -> None:
            link.do(netlink.add_bridge("b", mac=BRIDGE_MAC))
            _on_bridge(linux, link, "v")
            made = outcome(link, netlink.add_link("top", "macvlan", lower=linux.index_of("v")))
            if made == errno.EOPNOTSUPP:
                pytest.skip("this kernel has no macvlan")
            assert made == errno.EBUSY

        inside(run)

    def test_a_kind_that_nobody_has_is_refused(self, inside: Inside[None]) -> None:
        def run(link: Rtnetlink) -> None:
            assert outcome(link, netlink.add_link("x", "nosuchkind")) == errno.EOPNOTSUPP

        inside(run)

    # -- addresses and routes

    def test_an_address_is_given_once_and_brings_its_route(
        self, linux: Linux, inside: Inside[None]
    ) -> None:
        def run(link: Rtnetlink) -> None:
            link.do(netlink.add_bridge("b", mac=BRIDGE_MAC))
            index = linux.index_of("b")
            link.do(netlink.add_address(index, "10.0.0.1", 24))
            again = netlink.add_address(index, "10.0.0.1", 24)
            assert outcome(link, again) == errno.EEXIST
            assert outcome(link, netlink.add_address(4242, "10.0.0.9", 24)) == errno.ENODEV
            assert (index, "10.0.0.1/24") in [(at, str(a)) for at, a in link.addresses()]
            assert _routes(link) == {("10.0.0.0/24", index, "")}
            link.do(netlink.default_route("10.0.0.9", index))
            second = netlink.default_route("10.0.0.8", index)
            assert outcome(link, second) == errno.EEXIST
            strange = netlink.default_route("192.0.2.1", index)
            assert outcome(link, strange) in (errno.EEXIST, errno.ENETUNREACH)
            assert ("0.0.0.0/0", index, "10.0.0.9") in _routes(link)
            link.do(netlink.default_route("10.0.0.9", index, delete=True))
            gone = netlink.default_route("10.0.0.9", index, delete=True)
            assert outcome(link, gone) == errno.ESRCH
            assert outcome(link, strange) == errno.ENETUNREACH
            link.do(netlink.delete_address(index, "10.0.0.1", 24))
            assert _routes(link) == set()
            missing = netlink.delete_address(index, "10.0.0.1", 24)
            assert outcome(link, missing) == errno.EADDRNOTAVAIL

        inside(run)

    def test_a_link_that_is_down_has_no_routes(self, linux: Linux, inside: Inside[None]) -> None:
        def run(link: Rtnetlink) -> None:
            link.do(netlink.add_bridge("b", mac=BRIDGE_MAC))
            index = linux.index_of("b")
            link.do(
                netlink.add_address(index, "10.0.0.1", 24),
                netlink.default_route("10.0.0.9", index),
                netlink.set_link("b", up=False),
            )
            assert _routes(link) == set()
            down = netlink.default_route("10.0.0.9", index)
            assert outcome(link, down) == errno.ENETUNREACH
            link.do(netlink.set_link("b", up=True))
            assert _routes(link) == {("10.0.0.0/24", index, "")}

        inside(run)

    def test_ipv6_is_refused_where_it_is_switched_off(
        self, linux: Linux, inside: Inside[None]
    ) -> None:
        def run(link: Rtnetlink) -> None:
            link.do(netlink.add_bridge("b", mac=BRIDGE_MAC))
            index = linux.index_of("b")
            six = netlink.add_address(index, "fd00::1", 64)
            assert outcome(link, six) in (errno.EACCES, errno.EOPNOTSUPP)
            try:
                linux.sysctl.write("net/ipv6/conf/b/disable_ipv6", "0")
            except FileNotFoundError:
                pytest.skip("this kernel has no IPv6")
            link.do(six)
            assert "fd00::1/64" in {str(address) for _, address in link.addresses()}

        inside(run)

    # -- tunnels, entries, rules

    def test_a_tunnel_is_one_of_its_id(self, linux: Linux, inside: Inside[None]) -> None:
        def run(link: Rtnetlink) -> None:
            link.do(netlink.add_bridge("b", mac=BRIDGE_MAC))
            bridge = linux.index_of("b")
            end = {"local": "192.0.2.1", "mtu": 1400, "master": bridge, "group": 5}
            made = outcome(link, tunnel.add_vxlan("v", vni=77, port=4790, **end))  # type: ignore[arg-type]
            if made == errno.EOPNOTSUPP:
                pytest.skip("this kernel has no VXLAN")
            same = tunnel.add_vxlan("w", vni=77, port=4790, **end)  # type: ignore[arg-type]
            assert outcome(link, same) == errno.EEXIST
            link.do(tunnel.add_vxlan("w", vni=78, port=4790, **end))  # type: ignore[arg-type]
            link.do(tunnel.quiet_tunnel("v"))
            found = {v.name: (v.vni, v.local, v.port, v.mtu, v.master) for v in tunnel.vxlans(link)}
            assert found["v"] == (77, "192.0.2.1", 4790, 1400, bridge)
            index = linux.index_of("v")
            mac = tunnel.mac_of("10.0.0.9")
            for host in ("192.0.2.7", "192.0.2.8"):
                link.do(tunnel.forward_to_host(index, mac, host))
            assert tunnel.forwarding(link)[index][mac] == "192.0.2.8", "the last word counts"
            gone = tunnel.forward_to_host(index, mac, "", delete=True)
            link.do(gone)
            assert outcome(link, gone) == errno.ENOENT
            assert mac not in tunnel.forwarding(link).get(index, {})

        inside(run)

    def test_neighbours_go_with_their_link(self, linux: Linux, inside: Inside[None]) -> None:
        def run(link: Rtnetlink) -> None:
            link.do(netlink.add_bridge("b", mac=BRIDGE_MAC))
            index = linux.index_of("b")
            link.do(tunnel.neighbour(index, "10.0.0.9", "02:42:0a:00:00:09"))
            assert tunnel.neighbours(link) == {index: {"10.0.0.9"}}
            missing = tunnel.neighbour(index, "10.0.0.8", delete=True)
            assert outcome(link, missing) == errno.ENOENT
            nowhere = tunnel.neighbour(4242, "10.0.0.8", "02:42:0a:00:00:08")
            assert outcome(link, nowhere) == errno.ENODEV
            link.do(netlink.delete_link("b"))
            assert not tunnel.neighbours(link).get(index)

        inside(run)

    def test_a_rule_is_made_once_and_leads_to_its_table(
        self, linux: Linux, inside: Inside[None]
    ) -> None:
        def run(link: Rtnetlink) -> None:
            link.do(netlink.add_bridge("b", mac=BRIDGE_MAC))
            rule = tunnel.mark_rule(0x2000000, 77, 100)
            link.do(rule)
            assert outcome(link, rule) == errno.EEXIST
            index = linux.index_of("b")
            # taken to be on the link, whatever the addresses say; but some address there must be
            route = tunnel.table_route(77, "169.254.1.1", index)
            assert outcome(link, route) == errno.EINVAL
            link.do(netlink.add_address(index, "10.0.0.1", 24), route)
            assert ("0.0.0.0/0", index, "169.254.1.1") in _routes(link)

        inside(run)

    def test_an_unknown_message_is_refused(self, inside: Inside[None]) -> None:
        def run(link: Rtnetlink) -> None:
            assert outcome(link, (200, 0, struct.pack("=BxHiII", 0, 0, 0, 0, 0))) != 0

        inside(run)


def _routes(link: Rtnetlink) -> set[tuple[str, int, str]]:
    return {
        (str(route.destination), route.interface, route.gateway)
        for route in link.routes()
        if route.destination.version == 4
    }


def _on_bridge(linux: Linux, link: Rtnetlink, name: str) -> None:
    """A pair, of which one end is a port of the bridge ``b``."""
    link.do(netlink.add_link(name, "veth"), netlink.set_link(name, master=linux.index_of("b")))
