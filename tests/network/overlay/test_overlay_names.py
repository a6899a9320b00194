"""A cluster's names in the DNS table, and how they are told. No sockets."""

from __future__ import annotations

from typing import Any

from sampan.network.contract import Zone
from sampan.network.dns import message
from sampan.network.dns.table import DnsEndpoint, DnsTable
from sampan.network.dns_control import zone_messages


def told(
    table: DnsTable, network: str, old: Zone | None, new: Zone, last: int | None = None
) -> None:
    """As it goes over the socket; only the first ``last`` packets."""
    packets: list[dict[str, Any]] = list(zone_messages(network, "app", old, new))
    for packet in packets[:last]:
        table.zone(
            network,
            packet["name"],
            packet["forward"],
            packet["reverse"],
            anew=packet["anew"],
            last=packet["last"],
        )


def table() -> DnsTable:
    made = DnsTable()
    made.join("box", "net", DnsEndpoint(("10.0.0.9",), ("box", "web"), "app"))
    made.join("other", "elsewhere", DnsEndpoint(("10.9.0.9",), ("other",), "elsewhere"))
    return made


def test_the_clusters_names_come_before_the_containers() -> None:
    names = table()
    assert names.lookup("box", "web") == ("10.0.0.9",)
    told(names, "net", None, Zone({"web": ("10.0.0.100",)}, {"10.0.0.100": "web"}))
    assert names.lookup("box", "web") == names.lookup("box", "web.app") == ("10.0.0.100",)
    assert names.lookup("box", "box.app") == ("10.0.0.9",)
    assert names.reverse("box", message.reverse_name("10.0.0.100")) == "web.app"
    assert names.lookup("other", "web") == (), "only who is on the network is told"
    names.unzone("net")
    assert names.lookup("box", "web") == ("10.0.0.9",)


def test_a_change_is_a_difference_and_is_heeded_whole() -> None:
    names = table()
    old = Zone({f"n{i}": ("10.0.1.1",) for i in range(900)})
    told(names, "net", None, old)
    new = Zone({f"n{i}": ("10.0.1.2",) for i in range(1, 900)} | {"more": ("10.0.1.3",)})
    packets = list(zone_messages("net", "app", old, new))
    assert len(packets) == 3
    told(names, "net", old, new, last=2)
    assert names.lookup("box", "n1") == ("10.0.1.1",), "not before the last packet"
    told(names, "net", old, new)
    assert names.lookup("box", "n1") == ("10.0.1.2",)
    assert names.lookup("box", "more") == ("10.0.1.3",)
    assert names.lookup("box", "n0") == ()
    (one,) = zone_messages("net", "app", new, Zone(new.forward | {"n5": ("10.0.1.9",)}))
    assert one["forward"] == {"n5": ["10.0.1.9"]}


def test_all_of_it_may_be_told_again() -> None:
    names = table()
    told(names, "net", None, Zone({"old": ("10.0.1.1",)}))
    names.begin()
    names.join("box", "net", DnsEndpoint(("10.0.0.9",), ("box",), "app"))
    told(names, "net", None, Zone({"new": ("10.0.1.2",)}))
    assert names.lookup("box", "old") == ("10.0.1.1",)
    names.commit()
    assert names.lookup("box", "old") == ()
    assert names.lookup("box", "new") == ("10.0.1.2",)
