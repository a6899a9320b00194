"""What a view means, and the rules it becomes. No kernel."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sampan.network.overlay import rules
from sampan.network.overlay.contract import (
    DataPlaneView,
    IngressNode,
    OverlayMember,
    OverlayNetwork,
    PublishedTarget,
    ServiceEntry,
)
from sampan.network.overlay.plan import Backends, Departed, Planner, departed

HERE, THERE = ("here", "192.0.2.1"), ("there", "192.0.2.2")


def member(number: int, node: tuple[str, str] = HERE, **more: object) -> OverlayMember:
    known: dict[str, object] = {
        "task_id": f"t{number}",
        "task_name": f"web.{number}",
        "service_id": "web",
        "ipv4": f"10.0.1.{number}",
        "node_id": node[0],
        "node_address": node[1],
        "serving": True,
    }
    return OverlayMember(**(known | more))  # type: ignore[arg-type]


def view(*members: OverlayMember, ingress: bool = False, **more: object) -> DataPlaneView:
    ports = (PublishedTarget(protocol="tcp", published=80, target=8080),) if ingress else ()
    service = ServiceEntry(
        service_id="web", name="Web", aliases=("www",), vip="10.0.1.100", ports=ports
    )
    network = OverlayNetwork(
        id="n",
        name="app",
        vni=4096,
        subnet="10.0.1.0/24",
        ingress=ingress,
        members=members,
        services=(service,),
    )
    nodes = (
        IngressNode(node_id="here", ipv4="10.0.1.250", node_address=HERE[1]),
        IngressNode(node_id="there", ipv4="10.0.1.251", node_address=THERE[1]),
    )
    return DataPlaneView(
        node_id="here",
        node_address=HERE[1],
        networks=(replace(network, **more),),
        ingress_nodes=nodes if ingress else (),
    )


def test_members_are_here_or_elsewhere_and_only_who_serves_takes_traffic() -> None:
    plan = Planner().plan(view(member(2), member(10, THERE), member(3, THERE, serving=False)))["n"]
    assert plan.wire.local == {"10.0.1.2"}
    assert plan.wire.remote == {"10.0.1.10": THERE[1], "10.0.1.3": THERE[1]}
    assert plan.balance == {"10.0.1.100": ("10.0.1.2", "10.0.1.10")}
    assert plan.mesh == {}


def test_the_ingress_network_is_for_ports_and_nodes_and_not_for_names() -> None:
    plan = Planner().plan(view(member(2), member(3, serving=False), ingress=True))["n"]
    assert plan.mesh == {("tcp", 80): Backends(("10.0.1.2",), 8080)}
    assert plan.wire.remote == {"10.0.1.251": THERE[1]}, "the other nodes' own addresses"
    assert plan.balance == {}
    assert plan.zone.forward == plan.zone.reverse == {}


def test_names() -> None:
    box = member(4, hostname="Box", aliases=("also",))
    zone = Planner().plan(view(member(2), box, member(3, serving=False)))["n"].zone
    assert zone.forward == {
        "web": ("10.0.1.100",),
        "www": ("10.0.1.100",),
        "tasks.web": ("10.0.1.2", "10.0.1.4"),
        "tasks.www": ("10.0.1.2", "10.0.1.4"),
        "web.2": ("10.0.1.2",),
        "web.4": ("10.0.1.4",),
        "box": ("10.0.1.4",),
        "also": ("10.0.1.4",),
    }
    assert zone.reverse["10.0.1.100"] == "Web"
    assert zone.reverse["10.0.1.3"] == "web.3"


def test_without_a_virtual_address_the_name_is_the_members() -> None:
    service = ServiceEntry(service_id="web", name="web")
    told = view(member(2), member(3), services=(service,))
    plan = Planner().plan(told)["n"]
    assert plan.zone.forward["web"] == ("10.0.1.2", "10.0.1.3")
    assert plan.balance == {}


def test_what_has_not_changed_is_not_thought_of_again() -> None:
    planner = Planner()
    first = planner.plan(view(member(2)))["n"]
    assert planner.plan(view(member(2)))["n"] is first
    assert planner.plan(replace(view(member(2)), node_address="192.0.2.9"))["n"] is not first
    assert planner.plan(DataPlaneView()) == {}


def test_who_has_left_is_draining_or_gone() -> None:
    planner = Planner()
    old = planner.plan(view(member(2), member(3), member(4)))
    new = planner.plan(view(member(2), member(3, serving=False)))
    left = departed(old, new)["n"]
    assert left.draining == {"10.0.1.3"}
    assert left.gone == {"10.0.1.4"}
    assert departed(new, new) == {}
    back = planner.plan(view(member(2), member(3, serving=False), member(4, serving=False)))
    both = left.and_then(departed(new, back).get("n", Departed()), back["n"])
    assert (both.draining, both.gone) == ({"10.0.1.3"}, set()), "who is back is spared"


def test_a_change_of_one_service_is_one_rule() -> None:
    old = {"10.0.1.100": ("10.0.1.2",), "10.0.1.101": ("10.0.1.9",)}
    new = old | {"10.0.1.100": ("10.0.1.2", "10.0.1.3")}
    assert rules.services(old, new, start=lambda n: 1).splitlines() == [
        "flush chain ip sampan v0a000164",
        "add rule ip sampan v0a000164 dnat to numgen inc mod 2 map { 0 : 10.0.1.3, 1 : 10.0.1.2 }",
        # for a packet that has come too late for the map: whoever finds nothing is refused
        "add rule ip sampan v0a000164 dnat to 10.0.1.3",
    ]
    assert rules.services(new, new) == ""


def test_a_node_more_is_three_elements() -> None:
    text = rules.ingress("eth0", "10.0.0.5", frozenset(), frozenset({"10.0.0.250"}))
    assert text.splitlines() == [
        "add element ip sampan-ingress zone_in { 02:42:0a:00:00:fa : 250 }",
        "add element ip sampan-ingress node_in { 02:42:0a:00:00:fa : 0x20000fa }",
        "add element netdev sampan-ingress node_out { 0x20000fa : 02:42:0a:00:00:fa }",
    ]


Balances = st.dictionaries(
    st.sampled_from([f"10.0.1.{n}" for n in range(100, 106)]),
    st.lists(st.sampled_from([f"10.0.1.{n}" for n in range(2, 8)]), unique=True).map(tuple),
)


@given(Balances, Balances)
def test_every_change_touches_what_differs_and_nothing_else(
    old: dict[str, tuple[str, ...]], new: dict[str, tuple[str, ...]]
) -> None:
    text = rules.services(old, new)
    for vip in old.keys() | new.keys():
        chain = "v" + bytes(int(part) for part in vip.split(".")).hex()
        assert (chain in text) == (old.get(vip) != new.get(vip))
