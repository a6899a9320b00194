"""The cluster's networks as they are shown where only a node's own view of them is known."""

from __future__ import annotations

from sampan.api.translate.cluster_network import peers_seen
from sampan.network.overlay.contract import (
    DataPlaneView,
    IngressNode,
    OverlayMember,
    OverlayNetwork,
)


def member(task_id: str, node: str, address: str) -> OverlayMember:
    return OverlayMember(
        task_id=task_id, task_name="", service_id="", ipv4="", node_id=node, node_address=address
    )


def test_peers_are_the_nodes_with_a_part_of_the_network() -> None:
    members = (member("t1", "b" * 25, "10.1.0.2"), member("t2", "a" * 25, "10.1.0.1"))
    view = DataPlaneView(
        networks=(
            OverlayNetwork(id="n1", name="one", vni=1, subnet="", members=(*members, members[0])),
            OverlayNetwork(id="in", name="ingress", vni=2, subnet="", ingress=True),
        ),
        ingress_nodes=(IngressNode(node_id="c" * 25, ipv4="", node_address="10.1.0.3"),),
    )
    assert [(p.name, p.ip) for p in peers_seen(view, "n1")] == [
        ("a" * 12, "10.1.0.1"),
        ("b" * 12, "10.1.0.2"),
    ]
    assert [p.ip for p in peers_seen(view, "in")] == ["10.1.0.3"]
    assert peers_seen(view, "none") == []
