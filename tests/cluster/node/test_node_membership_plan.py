"""What requests to make and join a cluster come to."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sampan.cluster.model import Change, State
from sampan.cluster.node.addresses import HostAddress, of_this_host
from sampan.cluster.node.contract import InitRequest, JoinRequest
from sampan.cluster.node.leave_check import is_demoted, what_leaving_costs
from sampan.cluster.node.membership_plan import plan_init, plan_join
from sampan.cluster.node.pools import check_pools
from sampan.cluster.records import Node, Object
from sampan.cluster.spec import CaConfig, NodeSpec, SwarmSpec
from sampan.errors import InvalidArgument, Unsupported
from sampan.kernel.linux import HOST


def of_host() -> list[HostAddress]:
    return of_this_host(HOST, lambda name: False)


def test_a_cluster_is_planned_from_what_was_asked() -> None:
    request = InitRequest(
        listen_addr="127.0.0.1:4000",
        advertise_addr="10.9.0.1",
        data_path_addr="10.9.1.1",
        data_path_port=4800,
        default_addr_pool=("10.20.0.0/16",),
        subnet_size=26,
        availability="drain",
    )
    record, cluster, node = plan_init(request, of_host)
    assert (record.listen, record.advertise) == ("127.0.0.1:4000", "10.9.0.1:4000")
    assert (record.data_path, record.data_path_port) == ("10.9.1.1", 4800)
    assert record.etcd_url == "https://10.9.0.1:4001"
    assert record.phase == "joining"
    assert (cluster.default_addr_pool, cluster.subnet_size) == (("10.20.0.0/16",), 26)
    assert cluster.id == record.cluster_id
    assert (node.id, node.role, node.spec.availability) == (record.node_id, "manager", "drain")


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (InitRequest(data_path_port=80), "invalid DataPathPort"),
        (InitRequest(availability="asleep"), 'invalid availability "asleep"'),
        (InitRequest(default_addr_pool=("10.0.0.0/33",)), "invalid default address pool"),
        (InitRequest(spec=SwarmSpec(ca_config=CaConfig(node_cert_expiry=1))), "1h0m0s"),
    ],
)
def test_what_cannot_be_is_refused(request_: InitRequest, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        plan_init(replace(request_, advertise_addr="10.9.0.1"), of_host)


def test_locked_managers_are_not_there() -> None:
    with pytest.raises(Unsupported, match="autolock"):
        plan_init(InitRequest(auto_lock_managers=True), of_host)


def test_a_joiner_advertises_the_address_on_its_way_to_the_manager() -> None:
    record = plan_join(JoinRequest(), "127.0.0.1:2377", of_host)
    assert record.advertise == "127.0.0.1:2377"
    assert record.managers == ("127.0.0.1:2377",)
    chosen = plan_join(JoinRequest(advertise_addr="10.9.0.2:99"), "127.0.0.1:2377", of_host)
    assert chosen.advertise == "10.9.0.2:99"


@pytest.mark.parametrize(
    ("pools", "size", "said"),
    [
        (["10.0.0.0/24"], 16, "do not fit"),
        (["10.0.0.0/8", "10.1.0.0/16"], 24, "overlap"),
        (["fd00::/8"], 24, "an IPv4 network"),
        (["10.0.0.1/8"], 24, "an IPv4 network"),
        ([], 30, "29 is the most"),
    ],
)
def test_bad_pools(pools: list[str], size: int, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        check_pools(pools, size)


def test_pools_have_defaults() -> None:
    assert check_pools((), 0).pools == ("10.0.0.0/8",)
    assert check_pools((), 0).size == 24


def state_of(managers: int, alive: int, leader: str = "m0") -> State:
    state = State()
    nodes: list[Object] = [
        Node(id=f"m{i}", role="manager", spec=NodeSpec(role="manager")) for i in range(managers)
    ]
    changes = [Change("node", node.id, None, node) for node in nodes]
    changes += [Change("presence", f"m{i}", None, object()) for i in range(alive)]
    state.apply([*changes, Change("leader", "leader", None, leader)], 1)
    return state


def test_leaving_says_what_it_costs() -> None:
    assert "Removing the last manager erases" in what_leaving_costs(state_of(1, 1))
    assert "leaves 1 managers out of 2" in what_leaving_costs(state_of(2, 2))
    assert "leaves 1 managers out of 3" in what_leaving_costs(state_of(3, 2))
    assert "quorum" not in what_leaving_costs(state_of(3, 3))
    assert "lost consensus" in what_leaving_costs(state_of(3, 3, leader=""))
    assert "lost consensus" in what_leaving_costs(None)


def test_who_is_demoted_takes_nothing_along() -> None:
    state = state_of(2, 2)
    assert not is_demoted(state, "m1")
    before = state.nodes["m1"]
    # by its specification: the leader takes it out of the store a moment later
    after = replace(before, spec=NodeSpec(role="worker"))
    state.apply([Change("node", "m1", before, after)], 2)
    assert is_demoted(state, "m1")
