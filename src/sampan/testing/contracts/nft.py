"""What nftables keeps to, with the real library and with the fake: the part of it that sampan says.

Subclass it as ``TestX`` and give the fixture ``linux``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.kernel import netlink
from sampan.kernel.linux import Linux, Nftables
from sampan.kernel.nft import NftError
from sampan.network.firewall import BridgeSegment, Firewall, Forwarding
from sampan.network.overlay import rules
from sampan.network.overlay.plan import Backends, Balance

Inside = Callable[[Callable[[Nftables], None]], None]


def elements(nft: Nftables, name: str) -> list[Any]:
    """Of a set or map of the table ``t``."""
    (found,) = (
        item[kind] for item in nft.query(f"list {name}") for kind in ("set", "map") if kind in item
    )
    listed: list[Any] = found.get("elem", [])
    return listed


class NftContract:
    @pytest.fixture
    def linux(self) -> Linux:
        raise NotImplementedError

    @pytest.fixture
    def inside(self, linux: Linux, tmp_path: Path) -> Iterator[Inside]:
        path = tmp_path / "space"
        linux.netns.create(path, lambda: None)

        def run(fn: Callable[[Nftables], None]) -> None:
            def work() -> None:
                with linux.nft() as nft:
                    fn(nft)

            linux.netns.run_inside(path, work)

        yield run
        linux.netns.delete(path)

    def test_a_table_is_added_twice_and_created_once(self, inside: Inside) -> None:
        def run(nft: Nftables) -> None:
            nft.run("add table ip t\nadd table ip t")
            with pytest.raises(NftError, match="File exists"):
                nft.run("create table ip t")
            (table,) = (i["table"] for i in nft.query("list tables ip") if "table" in i)
            assert (table["family"], table["name"]) == ("ip", "t")
            nft.run("delete table ip t")
            with pytest.raises(NftError, match="No such file"):
                nft.run("delete table ip t")
            nft.run("add table ip t; delete table ip t")
            assert not [i for i in nft.query("list tables ip") if "table" in i]

        inside(run)

    def test_a_refused_transaction_changes_nothing(self, inside: Inside) -> None:
        def run(nft: Nftables) -> None:
            nft.run("table ip t { set s { type ipv4_addr; }; }")
            with pytest.raises(NftError, match="No such file"):
                nft.run("add element ip t s { 10.0.0.1 }\nadd element ip t nowhere { 10.0.0.1 }")
            assert elements(nft, "set ip t s") == []
            with pytest.raises(NftError):
                nft.run("add element ip t s { 10.0.0.1 }\nnonsense")
            assert elements(nft, "set ip t s") == []

        inside(run)

    def test_elements_are_added_twice_and_deleted_once(self, inside: Inside) -> None:
        def run(nft: Nftables) -> None:
            nft.run("add table ip t\nadd set ip t s { type ipv4_addr; }")
            nft.run("add element ip t s { 10.0.0.1, 10.0.0.2 }\nadd element ip t s { 10.0.0.1 }")
            assert len(elements(nft, "set ip t s")) == 2
            nft.run("delete element ip t s { 10.0.0.1 }")
            with pytest.raises(NftError, match="No such file"):
                nft.run("delete element ip t s { 10.0.0.1 }")
            nft.run("add element ip t s { 10.0.0.1 }\ndelete element ip t s { 10.0.0.1 }")
            nft.run("flush set ip t s")
            assert elements(nft, "set ip t s") == []

        inside(run)

    def test_a_key_of_a_map_has_one_value(self, inside: Inside) -> None:
        def run(nft: Nftables) -> None:
            nft.run("add table ip t\nadd map ip t m { type inet_service : ipv4_addr; }")
            nft.run("add element ip t m { 80 : 10.0.0.1 }\nadd element ip t m { 80 : 10.0.0.1 }")
            with pytest.raises(NftError, match="File exists"):
                nft.run("add element ip t m { 80 : 10.0.0.2 }")
            nft.run("delete element ip t m { 80 }\nadd element ip t m { 80 : 10.0.0.2 }")
            nft.run("flush map ip t m")

        inside(run)

    def test_a_chain_goes_with_its_rules(self, inside: Inside) -> None:
        def run(nft: Nftables) -> None:
            nft.run("add table ip t\nadd chain ip t c\nadd rule ip t c accept")
            nft.run("add chain ip t c")
            nft.run("delete chain ip t c")
            with pytest.raises(NftError, match="No such file"):
                nft.run("add rule ip t c accept")

        inside(run)

    def test_a_chain_that_is_jumped_to_stays(self, inside: Inside) -> None:
        def run(nft: Nftables) -> None:
            nft.run("add table ip t\nadd chain ip t a\nadd chain ip t b\nadd rule ip t a jump b")
            with pytest.raises(NftError, match="Device or resource busy"):
                nft.run("delete chain ip t b")
            nft.run("flush chain ip t a\ndelete chain ip t b")
            nft.run("add map ip t m { type inet_service : verdict; }\nadd chain ip t b")
            nft.run("add element ip t m { 80 : goto b }")
            with pytest.raises(NftError, match="Device or resource busy"):
                nft.run("delete chain ip t b")
            nft.run("delete element ip t m { 80 }\ndelete chain ip t b")

        inside(run)

    def test_a_rule_names_a_set_that_is_there(self, inside: Inside) -> None:
        def run(nft: Nftables) -> None:
            nft.run("add table ip t\nadd chain ip t c")
            with pytest.raises(NftError, match="No such file"):
                nft.run("add rule ip t c ip daddr @nowhere accept")

        inside(run)

    def test_rules_are_told_with_handle_policy_and_comment(self, inside: Inside) -> None:
        def run(nft: Nftables) -> None:
            hook = "type filter hook forward priority 0; policy drop;"
            nft.run(f"add table ip filter\nadd chain ip filter FORWARD {{ {hook} }}")
            nft.run('insert rule ip filter FORWARD meta mark 7 accept comment "mine"')
            nft.run("insert rule ip filter FORWARD meta mark 8 accept")
            listed = nft.query("list chain ip filter FORWARD")
            (chain,) = (item["chain"] for item in listed if "chain" in item)
            assert chain["policy"] == "drop"
            first, second = (item["rule"] for item in listed if "rule" in item)
            assert (first.get("comment"), second["comment"]) == (None, "mine")
            nft.run(f"delete rule ip filter FORWARD handle {second['handle']}")
            assert not any("comment" in i["rule"] for i in _listed(nft) if "rule" in i)
            with pytest.raises(NftError, match="No such file"):
                nft.query("list chain ip6 filter FORWARD")

        inside(run)

    def test_an_egress_chain_has_its_interface(self, linux: Linux, inside: Inside) -> None:
        def run(nft: Nftables) -> None:
            nodes = frozenset({"10.0.0.250"})
            with linux.netlink() as link:
                link.do(netlink.add_bridge("eth9", mac="02:42:00:00:00:01"))
            nft.run(rules.ingress("eth9", "10.0.0.2", None, nodes))

        inside(run)

    # -- what the network says

    def test_the_firewall_s_table_is_written_over_itself(self, inside: Inside) -> None:
        def run(nft: Nftables) -> None:
            firewall = Firewall(nft, "t")
            bridges = [
                BridgeSegment("b"),
                BridgeSegment("i", internal=True),
                BridgeSegment("o", mac="02:42:00:00:00:01"),
            ]
            port = Forwarding("0.0.0.0", 8080, "tcp", "10.0.0.2", 80)
            for _ in range(2):
                firewall.install(bridges)
                firewall.forward([port])
            firewall.add_segment(bridges[0])
            assert len(elements(nft, "map inet t any4")) == 1
            firewall.unforward([port])
            firewall.unforward([port])
            assert elements(nft, "map inet t any4") == []
            for bridge in bridges * 2:
                firewall.remove_segment(bridge)
            assert elements(nft, "set inet t bridges") == []

        inside(run)

    def test_what_the_overlay_says_is_taken(self, inside: Inside) -> None:
        def run(nft: Nftables) -> None:
            one: Balance = {"10.0.1.9": ("10.0.1.2",)}
            two: Balance = {"10.0.1.9": (), "10.0.1.8": ("10.0.1.3", "10.0.1.3")}
            nft.run(rules.services(None, one))
            with pytest.raises(NftError, match="File exists"):
                nft.run(rules.services(None, two))
            nft.run(rules.services(one, two))
            nft.run(rules.services(two, {}))
            port = ("tcp", 80)
            first = {port: Backends(("10.0.1.2", "10.0.1.3"), 8080)}
            nft.run(rules.mesh("m", None, first))
            nft.run(rules.mesh("m", first, {}))
            nft.run(rules.without([("ip", rules.TABLE), ("ip", "m")]))
            assert not [i for i in nft.query("list tables ip") if "table" in i]

        inside(run)


def _listed(nft: Nftables) -> list[dict[str, Any]]:
    return nft.query("list chain ip filter FORWARD")
