"""Which address a host gives to the others."""

from __future__ import annotations

import pytest

from sampan.cluster.node import addresses
from sampan.cluster.node.addresses import HostAddress, Listen, NoAddress
from sampan.config import Instance
from sampan.errors import InvalidArgument
from sampan.kernel.linux import HOST

ONE = [HostAddress("eth0", "10.1.0.5")]
SAME = [*ONE, HostAddress("eth0", "10.1.0.6")]
OTHER = [*ONE, HostAddress("eth1", "10.2.0.5")]


def test_the_store_listens_on_the_next_port() -> None:
    assert addresses.etcd_url("10.0.0.1:2377") == "https://10.0.0.1:2378"
    assert addresses.etcd_url("10.0.0.1:65535") == "https://10.0.0.1:65534"
    assert addresses.etcd_port(addresses.etcd_url("[fd00::1]:2377")) == 2378


def test_one_address_needs_no_choice() -> None:
    listen = addresses.parse_listen("", ONE)
    assert listen == Listen("0.0.0.0", 2377)
    assert addresses.advertised("", listen, ONE) == "10.1.0.5:2377"
    assert addresses.data_path("", "10.1.0.5:2377", ONE, "127.0.0.1:1") == "10.1.0.5"


def test_several_addresses_are_listed() -> None:
    listen = addresses.parse_listen("", SAME)
    with pytest.raises(NoAddress, match=r"on interface eth0 \(10.1.0.5 and 10.1.0.6\)"):
        addresses.advertised("", listen, SAME)
    with pytest.raises(NoAddress, match=r"\(10.1.0.5 on eth0 and 10.2.0.5 on eth1\)"):
        addresses.advertised("", listen, OTHER)
    with pytest.raises(NoAddress, match="could not find"):
        addresses.advertised("", listen, [])


def test_a_chosen_address_or_interface_is_taken() -> None:
    listen = addresses.parse_listen("eth1:4000", OTHER)
    assert listen == Listen("10.2.0.5", 4000)
    assert addresses.advertised("", listen, OTHER) == "10.2.0.5:4000"
    assert addresses.advertised("eth0", listen, OTHER) == "10.1.0.5:4000"
    assert addresses.advertised("192.0.2.9", listen, OTHER) == "192.0.2.9:4000"
    assert addresses.data_path("eth1", "10.1.0.5:2377", OTHER, "127.0.0.1:1") == "10.2.0.5"


def test_tunnels_end_at_an_address_of_the_host_itself() -> None:
    # behind NAT: what the others know is not here, the way to them is
    assert addresses.data_path("", "192.0.2.9:2377", ONE, "127.0.0.1:1") == "127.0.0.1"


def test_the_host_reaches_itself_where_it_listens() -> None:
    assert addresses.reached_from_here("0.0.0.0:2377") == "127.0.0.1:2377"
    assert addresses.reached_from_here("[::]:4000") == "[::1]:4000"
    assert addresses.reached_from_here("10.1.0.5:2377") == "10.1.0.5:2377"


def test_an_interface_without_one_address_is_no_answer() -> None:
    with pytest.raises(NoAddress, match="more than one"):
        addresses.parse_listen("eth0", SAME)
    with pytest.raises(NoAddress, match="no interface of that name"):
        addresses.parse_listen("wlan7", SAME)
    with pytest.raises(InvalidArgument, match="non-zero"):
        addresses.advertised("0.0.0.0", Listen("0.0.0.0", 2377), ONE)


@pytest.mark.parametrize("suffix", ["", "abc123"])
def test_interfaces_of_containers_are_told_by_their_names(suffix: str) -> None:
    instance = Instance(suffix)
    network, endpoint = "5laaalsrdsx9zz0123456789a", "0123456789abcdef0123"
    made = (instance.default_bridge, instance.bridge(network), instance.veth(endpoint))
    assert all(map(instance.made, (*made, "docker0", "br-0123456789ab", "veth1234567")))
    assert not any(map(instance.made, ("eth0", "br0", "bridge", "bond0", "virbr0", "vethernet")))


def test_this_host_has_addresses_but_no_loopback() -> None:
    found = addresses.of_this_host(HOST, lambda name: False)
    assert all(not a.address.startswith("127.") for a in found)
    assert addresses.of_this_host(HOST, lambda name: True) == []
