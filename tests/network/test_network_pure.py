"""Addresses, subnets, ports and files: what needs no kernel."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.api.errors import status_of
from sampan.errors import InvalidArgument
from sampan.network.contract import (
    AddressTaken,
    BadAddress,
    ContainerNet,
    NoAddressLeft,
    NoSubnetLeft,
    PortTaken,
    SubnetOverlap,
)
from sampan.network.etc import ResolvConf, etc_files, host_resolver, parse_resolv_conf
from sampan.network.ipam import Subnetwork, complete, parse_subnet
from sampan.network.ports import PortAllocator, parse_port, parse_requests
from sampan.network.subnets import Taken, candidates, choose, choose_ula, refuse_overlap
from sampan.store.records import EndpointSettings, IpamPool, PortBinding


@pytest.mark.parametrize(
    ("pool", "gateway"),
    [
        (IpamPool(subnet="10.0.0.0/24"), "10.0.0.1"),
        (IpamPool(subnet="10.0.0.7/24"), "10.0.0.1"),
        (IpamPool(subnet="10.0.0.0/24", gateway="10.0.0.254"), "10.0.0.254"),
        (IpamPool(subnet="10.0.0.0/24", ip_range="10.0.0.128/25"), "10.0.0.128"),
        (IpamPool(subnet="10.0.0.0/24", aux_addresses={"nas": "10.0.0.1"}), "10.0.0.2"),
        (IpamPool(subnet="fd00:1::/64"), "fd00:1::1"),
    ],
)
def test_a_pool_gets_its_gateway(pool: IpamPool, gateway: str) -> None:
    assert complete(pool).gateway == gateway


@pytest.mark.parametrize(
    "pool",
    [
        IpamPool(subnet="10.0.0.0"),
        IpamPool(subnet="10.0.0.0/33"),
        IpamPool(subnet="10.0.0.0/24", gateway="10.0.1.1"),
        IpamPool(subnet="10.0.0.0/24", ip_range="10.0.1.0/25"),
        IpamPool(subnet="10.0.0.0/24", aux_addresses={"nas": "10.9.0.1"}),
        IpamPool(subnet="10.0.0.0/31"),
    ],
)
def test_a_pool_that_contradicts_itself_is_refused(pool: IpamPool) -> None:
    with pytest.raises(BadAddress):
        complete(pool)


def test_an_address_given_back_is_quarantined_and_returns_to_its_owner() -> None:
    subnetwork = Subnetwork(complete(IpamPool(subnet="10.0.0.0/29")))
    assert [str(subnetwork.allocate(owner)) for owner in "ab"] == ["10.0.0.2", "10.0.0.3"]
    subnetwork.release("10.0.0.2", "a", quarantine=True)
    assert str(subnetwork.allocate("c")) == "10.0.0.4"
    again = subnetwork.allocate("a")
    assert str(again) == "10.0.0.2"
    assert subnetwork.is_quarantined(again)
    subnetwork.leave_quarantine(["10.0.0.2"])
    assert not subnetwork.is_quarantined(again)


def test_a_full_subnet_says_so_and_quarantined_ones_are_the_last_resort() -> None:
    subnetwork = Subnetwork(complete(IpamPool(subnet="10.0.0.0/30")))
    assert str(subnetwork.allocate("a")) == "10.0.0.2"
    with pytest.raises(NoAddressLeft, match="larger subnet"):
        subnetwork.allocate("b")
    subnetwork.release("10.0.0.2", "a", quarantine=True)
    assert subnetwork.is_quarantined(subnetwork.allocate("b"))


def test_the_gateway_and_a_neighbour_s_address_are_taken() -> None:
    subnetwork = Subnetwork(complete(IpamPool(subnet="10.0.0.0/24")))
    subnetwork.take("10.0.0.9", "a")
    subnetwork.take("10.0.0.9", "a")
    for address in ("10.0.0.1", "10.0.0.9", "10.0.0.255"):
        with pytest.raises(AddressTaken):
            subnetwork.take(address, "b")


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans()), max_size=60))
def test_no_address_is_ever_two_owners(steps: list[tuple[str, bool]]) -> None:
    subnetwork = Subnetwork(complete(IpamPool(subnet="10.0.0.0/28")))
    held: dict[str, str] = {}
    for owner, quarantine in steps:
        if owner in held:
            subnetwork.release(held.pop(owner), owner, quarantine=quarantine)
        else:
            held[owner] = str(subnetwork.allocate(owner))
        assert len(set(held.values())) == len(held)
        assert all(ipaddress.ip_address(a) in subnetwork.subnet for a in held.values())
        assert "10.0.0.1" not in held.values()


def test_a_subnet_is_chosen_past_what_is_taken() -> None:
    taken = [Taken(parse_subnet("172.17.0.0/16"), "x"), Taken(parse_subnet("172.16.0.0/14"), "y")]
    pools = (("172.17.0.0/16", 16), ("172.20.0.0/14", 16))
    assert str(choose(pools, taken)) == "172.20.0.0/16"
    with pytest.raises(NoSubnetLeft, match=r"in use by y and x: .*network prune"):
        choose(pools[:1], taken)
    many = [Taken(net, f"n{at}") for at, net in enumerate(candidates((("10.0.0.0/20", 24),), 4))]
    elsewhere = Taken(parse_subnet("10.9.0.0/16"), "not in the way")
    with pytest.raises(NoSubnetLeft, match=r"in use by n0, n1, .*, n7 and 8 more: remove") as error:
        choose((("10.0.0.0/20", 24),), [elsewhere, *many])
    assert status_of(error.value) == 409
    with pytest.raises(SubnetOverlap, match="which is y"):
        refuse_overlap(parse_subnet("172.18.3.0/24"), taken[1:])


def test_a_local_ipv6_subnet_follows_from_the_network_s_id() -> None:
    one, other = choose_ula("0123456789abcdef"), choose_ula("fedcba9876543210")
    assert one.is_private
    assert one.prefixlen == 64
    assert one != other


@pytest.mark.parametrize(
    ("text", "range_"), [("", (0, 0)), ("0", (0, 0)), ("80", (80, 80)), ("8000-8010", (8000, 8010))]
)
def test_ports_are_parsed(text: str, range_: tuple[int, int]) -> None:
    assert parse_port(text) == range_


@pytest.mark.parametrize("text", ["x", "80-", "-80", "90-80", "65536", "1-2-3"])
def test_no_port_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_port(text)


def test_a_binding_without_an_address_is_one_for_each_family() -> None:
    wanted = {"80/tcp": (PortBinding(host_port="8080"),)}
    assert [w.host_ip for w in parse_requests(wanted, "", ipv6=True)] == ["0.0.0.0", "::"]
    assert [w.host_ip for w in parse_requests(wanted, "", ipv6=False)] == ["0.0.0.0"]
    assert [w.host_ip for w in parse_requests(wanted, "10.0.0.1", ipv6=True)] == ["10.0.0.1"]


def test_a_range_skips_what_is_taken_and_all_or_none_is_held() -> None:
    book = PortAllocator()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        if number > 65500:
            pytest.skip("the kernel chose a port at the very end")
        binding = PortBinding(host_ip="127.0.0.1", host_port=f"{number}-{number + 20}")
        (held,) = book.hold("a", parse_requests({"80/tcp": (binding,)}, "", ipv6=False))
        assert number < held.port.host_port <= number + 20
        exact = PortBinding(host_ip="127.0.0.1", host_port=str(number))
        free = PortBinding(host_ip="127.0.0.1")
        wishes = parse_requests({"81/tcp": (free, exact)}, "", ipv6=False)
        with pytest.raises(PortTaken, match="address already in use"):
            book.hold("b", wishes)
        assert not book.held.get("b")
    book.release("a")
    book.release("a")


def test_both_families_get_the_same_random_port() -> None:
    book = PortAllocator()
    held = book.hold(
        "a", parse_requests({"80/tcp": ()}, "", ipv6=Path("/proc/net/if_inet6").exists())
    )
    assert len({one.port.host_port for one in held}) == 1
    book.release("a")


def test_resolv_conf_is_read_as_the_resolver_does() -> None:
    text = (
        "# me\nnameserver 10.0.0.1 \ndomain a\nsearch b c\noptions ndots:2 rotate\nnameserver ::1\n"
    )
    assert parse_resolv_conf(text) == ResolvConf(
        ("10.0.0.1", "::1"), ("b", "c"), ("ndots:2", "rotate")
    )


def test_behind_systemd_s_stub_are_the_real_servers(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").write_text("nameserver 127.0.0.53\n")
    assert host_resolver(tmp_path).servers == ("127.0.0.53",)
    real = tmp_path / "run/systemd/resolve"
    real.mkdir(parents=True)
    (real / "resolv.conf").write_text("nameserver 9.9.9.9\n")
    assert host_resolver(tmp_path).servers == ("9.9.9.9",)


BOX = ContainerNet(
    container_id="f" * 64,
    name="web",
    hostname="web.example.org",
    extra_hosts=("db:10.0.0.5", "six:fd00::1", "gw:host-gateway"),
)
AT = EndpointSettings(network_id="n", network_name="n", ipv4="10.0.0.2")


def test_the_hosts_file_has_the_extra_hosts_and_the_container() -> None:
    files = etc_files(
        BOX, [AT], ResolvConf(), embedded=True, host_network=False, host_gateway=["10.0.0.1"]
    )
    lines = files.hosts.splitlines()
    for line in ("10.0.0.5\tdb", "fd00::1\tsix", "10.0.0.1\tgw", "10.0.0.2\tweb.example.org web"):
        assert line in lines


@pytest.mark.parametrize(
    ("embedded", "host_network", "servers"),
    [
        (True, False, "nameserver 127.0.0.11\n"),
        (False, False, "nameserver 10.0.0.1\n"),
        (False, True, "nameserver 127.0.0.1\nnameserver 10.0.0.1\n"),
    ],
)
def test_which_servers_a_container_asks(embedded: bool, host_network: bool, servers: str) -> None:
    host = ResolvConf(("127.0.0.1", "10.0.0.1"), ("corp",))
    files = etc_files(BOX, [AT], host, embedded=embedded, host_network=host_network)
    assert files.resolv_conf.startswith(servers + "search corp\n")
