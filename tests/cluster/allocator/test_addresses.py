from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.cluster.allocator.addresses import NetworkAddresses, number_of
from sampan.cluster.allocator.ports import PortTaken, allocate_ports
from sampan.cluster.allocator.subnets import (
    ChosenSubnet,
    SubnetRefused,
    choose_subnet,
    choose_vni,
    parsed,
)
from sampan.cluster.records import Cluster, ClusterNetwork
from sampan.cluster.spec import EndpointSpec, IpamConfig, NetworkSpec, PortConfig


def net(id: str, subnet: str = "", vni: int = 0, asked: str = "", **options: str) -> ClusterNetwork:
    configs = (IpamConfig(subnet=asked),) if asked else ()
    spec = NetworkSpec(name=id, ipam_configs=configs, options=options)
    return ClusterNetwork(id=id, spec=spec, subnet=subnet, vni=vni)


CLUSTER = Cluster(id="c")


def test_the_first_network_gets_the_pools_first_subnet() -> None:
    assert choose_subnet(net("a"), [], CLUSTER, []) == ChosenSubnet("10.0.0.0/24", "10.0.0.1")


def test_a_subnet_meets_no_network_and_no_route() -> None:
    route = parsed("10.0.1.0/26")
    assert route is not None
    chosen = choose_subnet(net("b"), [net("a", "10.0.0.0/24")], CLUSTER, [route])
    assert chosen == ChosenSubnet("10.0.2.0/24", "10.0.2.1")


def test_the_subnet_of_a_removed_network_comes_back_late() -> None:
    chosen = choose_subnet(net("b"), [], CLUSTER, [], after=number_of("10.0.4.0"))
    assert chosen == ChosenSubnet("10.0.5.0/24", "10.0.5.1")


def test_a_subnet_that_the_user_gave_is_taken_or_refused() -> None:
    assert choose_subnet(net("b", asked="10.9.0.0/16"), [], CLUSTER, []) == ChosenSubnet(
        "10.9.0.0/16", "10.9.0.1"
    )
    refused = choose_subnet(net("b", asked="10.9.0.0/16"), [net("a", "10.9.1.0/24")], CLUSTER, [])
    assert isinstance(refused, SubnetRefused)
    assert "Pool overlaps" in refused.why


def test_an_exhausted_pool_says_so() -> None:
    small = Cluster(id="c", default_addr_pool=("10.0.0.0/24",))
    refused = choose_subnet(net("b"), [net("a", "10.0.0.0/24")], small, [])
    assert isinstance(refused, SubnetRefused)
    assert "10.0.0.0/24" in refused.why


def test_vxlan_ids_grow_and_may_be_asked_for() -> None:
    assert choose_vni(net("a"), []) == 4096
    assert choose_vni(net("b"), [net("a", vni=4096)]) == 4097
    assert choose_vni(net("b"), [], after=4100) == 4101
    option = {"com.docker.network.driver.overlay.vxlanid_list": "77"}
    assert choose_vni(net("b", **option), []) == 77
    assert isinstance(choose_vni(net("b", **option), [net("a", vni=77)]), SubnetRefused)


def test_an_address_comes_back_as_late_as_possible() -> None:
    pool = NetworkAddresses.of("10.0.0.0/29")
    pool.hold(["10.0.0.1"])
    given = [pool.take() for _ in range(2)]
    assert given == ["10.0.0.2", "10.0.0.3"]
    pool.used.discard(number_of("10.0.0.2"))
    assert [pool.take() for _ in range(5)] == ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2", None]


def test_a_range_narrows_the_pool() -> None:
    pool = NetworkAddresses.of("10.0.0.0/24", within="10.0.0.128/30")
    assert pool.take() == "10.0.0.128"


@given(st.lists(st.integers(0, 9), max_size=200))
def test_no_address_twice_whatever_is_freed(order: list[int]) -> None:
    pool = NetworkAddresses.of("10.0.0.0/28")
    out: list[str] = []
    for number in order:
        if number < 6:
            address = pool.take()
            if address is None:
                assert len(out) == 14
            else:
                assert address not in out
                out.append(address)
        elif out:
            pool.used.discard(number_of(out.pop(number % len(out))))


def port(target: int, published: int = 0, mode: str = "ingress") -> PortConfig:
    return PortConfig(target_port=target, published_port=published, publish_mode=mode)  # type: ignore[arg-type]


def test_ports_are_kept_given_and_refused() -> None:
    ports, hand = allocate_ports(EndpointSpec(ports=(port(80), port(81))), (), {})
    assert [p.published_port for p in ports] == [30000, 30001]
    again, _ = allocate_ports(EndpointSpec(ports=(port(81), port(82))), ports, {}, hand)
    assert [p.published_port for p in again] == [30001, 30002]
    with pytest.raises(PortTaken, match="port '80' is already in use by service 'web'"):
        allocate_ports(EndpointSpec(ports=(port(80, 80),)), (), {("tcp", 80): "web"})
    host, _ = allocate_ports(EndpointSpec(ports=(port(80, 0, "host"),)), (), {})
    assert host[0].published_port == 0
