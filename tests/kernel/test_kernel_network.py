"""Namespaces, links, rules and parameters, each in a namespace of its own."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.errors import InvalidArgument
from sampan.kernel import netlink, netns, sysctl
from sampan.kernel.netlink import Netlink, index_of
from sampan.kernel.nft import Nft, NftError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

OURS = "/proc/thread-self/ns/net"


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "ns"
    netns.create(path, lambda: None)
    yield path
    netns.delete(path)


def test_a_namespace_is_kept_entered_and_deleted(space: Path) -> None:
    home = os.stat(OURS).st_ino
    assert netns.kept(space)
    inside = netns.run_inside(space, lambda: os.stat(OURS).st_ino)
    assert inside == os.stat(space).st_ino != home
    assert os.stat(OURS).st_ino == home
    netns.delete(space)
    netns.delete(space)
    assert not netns.kept(space)


def test_a_failure_inside_leaves_nothing_and_brings_the_thread_home(tmp_path: Path) -> None:
    home = os.stat(OURS).st_ino

    def fail() -> None:
        raise KeyError("inside")

    with pytest.raises(KeyError):
        netns.create(tmp_path / "ns", fail)
    assert not (tmp_path / "ns").exists()
    assert os.stat(OURS).st_ino == home


def test_a_name_that_is_taken_is_refused_and_left(space: Path) -> None:
    with pytest.raises(FileExistsError):
        netns.create(space, lambda: None)
    assert netns.kept(space)


def test_a_plain_file_is_no_namespace(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not netns.kept(tmp_path / "file")
    assert not netns.kept(tmp_path / "nothing")


def test_a_bridge_a_pair_and_its_addresses(space: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    netns.create(other, lambda: None)

    def work() -> None:
        with Netlink() as link:
            link.do(netlink.add_bridge("b", mac="02:42:00:00:00:09", mtu=1400, group=7))
            bridge = index_of("b")
            target = os.open(other, os.O_RDONLY)
            link.do(
                netlink.add_veth(
                    "v",
                    peer="eth0",
                    peer_mac="02:42:00:00:00:02",
                    peer_netns=target,
                    master=bridge,
                    group=7,
                ),
                netlink.isolate_port("v"),
                netlink.hairpin_port("v"),
                netlink.add_address(bridge, "10.0.0.1", 24),
                netlink.add_address(bridge, "fd00::1", 64),
                netlink.default_route("10.0.0.9", bridge),
            )
            os.close(target)
            links = {one.name: one for one in link.links()}
            assert (links["b"].kind, links["b"].mac, links["b"].up) == (
                "bridge",
                "02:42:00:00:00:09",
                True,
            )
            assert (links["v"].master, links["v"].group) == (bridge, 7)
            routes = {str(r.destination): r for r in link.routes()}
            assert routes["10.0.0.0/24"].interface == bridge
            assert routes["0.0.0.0/0"].gateway == "10.0.0.9"
            assert "fd00::1/64" in {str(address) for _, address in link.addresses()}
            link.do(netlink.delete_group(7))
            assert {one.name for one in link.links()} == {"lo"}

    netns.run_inside(space, work)
    netns.delete(other)


def test_every_message_of_a_batch_has_its_outcome(space: Path) -> None:
    def work() -> list[OSError | None]:
        with Netlink() as link:
            return link.request(
                netlink.delete_link("nobody"),
                netlink.set_link("lo", up=True),
                netlink.delete_link("lo"),
            )

    first, second, third = netns.run_inside(space, work)
    assert first is not None
    assert first.errno == errno.ENODEV
    assert second is None
    assert third is not None


def test_a_refused_transaction_changes_nothing(space: Path) -> None:
    def work() -> None:
        with Nft() as nft:
            nft.run("table ip t { set s { type ipv4_addr; }; }")
            with pytest.raises(NftError, match="No such file"):
                nft.run("add element ip t s { 10.0.0.1 }\nadd element ip t nowhere { 10.0.0.1 }")
            (listed,) = (i["set"] for i in nft.query("list set ip t s") if "set" in i)
            assert "elem" not in listed

    netns.run_inside(space, work)


def test_parameters_are_those_of_the_namespace(space: Path) -> None:
    def work() -> None:
        assert sysctl.ensure("net.ipv4.ip_forward", "1") in (True, False)
        assert sysctl.read("net.ipv4.ip_forward") == "1"
        assert not sysctl.ensure("net.ipv4.ip_forward", "1")

    netns.run_inside(space, work)


@pytest.mark.parametrize("name", ["", "net", "../etc/passwd", "net..x", "a b.c", "net.ipv4;x"])
def test_a_parameter_s_name_cannot_leave_its_tree(name: str) -> None:
    with pytest.raises(InvalidArgument):
        sysctl.path_of(name)
