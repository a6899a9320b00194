"""The instance's nftables table: rules that never change, sets and maps whose elements do.

    guard        a container says nothing to 127.0.0.0/8 of the host
    publish      (address, protocol, port) -> container, for what comes in and what the host sends
    postrouting  masquerade, only where an answer would not find its way back
    forward      bridges are apart; what is published is open; internal stays inside
    input        on overlay networks the host is not there, but for answers to what it asked

The whole table can be written again over itself at any time in one transaction, without a
published port being closed for an instant: chains are emptied and refilled, maps are left alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sampan.kernel.linux import Nftables
from sampan.kernel.nft import NftError

MARK = 0x1000000
"""Bit of the packet mark that says: seen (and not dropped) by our forward chain."""

_SETS = {
    "bridges": "type ifname",
    "internal": "type ifname",
    "natted": "type ifname",
    "same": "type ifname . ifname",
    "apart": "type ifname",
    "overlay": "type ifname",
    "mesh": "type ifname",
}
# Published containers, each as (address, address): who speaks to itself by a published port.
_SELVES = {"self4": "type ipv4_addr . ipv4_addr", "self6": "type ipv6_addr . ipv6_addr"}
# The bridges on which the host is a neighbour, each with its MAC, and the tunnels' UDP ports. Never
# flushed: connections would lose their translation for that moment.
_OWN = {"own": "type ifname . ether_addr", "tunnels": "type inet_service"}
_MAPS = {
    "any4": "type inet_proto . inet_service : ipv4_addr . inet_service",
    "exact4": "type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service",
    "any6": "type inet_proto . inet_service : ipv6_addr . inet_service",
    "exact6": "type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service",
}
_CHAINS = {
    "guard": (
        "type filter hook prerouting priority raw",
        # Our bridges have route_localnet, for the host's own 127.0.0.1:PORT. A container must
        # not gain by it. Before conntrack, so that answers still bear the bridge's address.
        (
            "iifname @bridges ip daddr 127.0.0.0/8 drop",
            # With br_netfilter loaded we see what is only bridged, too. It is not for this host to
            # track: connections of one client through two other nodes would be one to it.
            "iifname @overlay iifname . ether daddr != @own notrack",
            # Tunnels' packets bear a source port for each flow in them: 28,000 entries in the
            # host's table for each pair of hosts, and work for each packet, for nothing.
            "udp dport @tunnels fib daddr type local notrack",
        ),
    ),
    "tunnel": (
        "type filter hook output priority raw",
        ("udp dport @tunnels fib saddr type local notrack",),
    ),
    "publish": (
        "",
        (
            "dnat ip to ip daddr . meta l4proto . th dport map @exact4",
            "meta nfproto ipv4 fib daddr type local dnat ip to meta l4proto . th dport map @any4",
            "ip6 daddr ::1 return",
            "dnat ip6 to ip6 daddr . meta l4proto . th dport map @exact6",
            "meta nfproto ipv6 fib daddr type local dnat ip6 to meta l4proto . th dport map @any6",
        ),
    ),
    "prerouting": ("type nat hook prerouting priority dstnat", ("jump publish",)),
    "output": ("type nat hook output priority -100", ("jump publish",)),
    "postrouting": (
        "type nat hook postrouting priority srcnat",
        (
            # From the host's loopback: a container cannot answer 127.0.0.1.
            "oifname @bridges ip saddr 127.0.0.0/8 masquerade",
            # By a published port to a neighbour on the same bridge: it would answer directly, past
            # the translation. (With br_netfilter loaded such packets are bridged, have no input
            # interface here, and their answers do come past the translation.)
            "iifname . oifname @same ct status dnat masquerade",
            # By a published port to oneself: nobody answers a packet from one's own address.
            "ip saddr . ip daddr @self4 masquerade",
            "ip6 saddr . ip6 daddr @self6 masquerade",
            "iifname @natted oifname != @bridges masquerade",
            # Into the cluster's ingress network clients come with their own address, but that of a
            # container means something on this host only.
            "iifname @bridges oifname @mesh masquerade",
        ),
    ),
    "forward": (
        # Before everyone else's filters, which are told by the mark that it is ours.
        "type filter hook forward priority filter - 1",
        (
            f"iifname @bridges meta mark set meta mark or {MARK:#x}",
            f"oifname @bridges meta mark set meta mark or {MARK:#x}",
            "iifname . oifname @same iifname != @apart accept",
            "iifname @internal drop",
            "oifname @internal drop",
            "ct state established,related accept",
            # A task answers by the ingress network; it goes out by another.
            "iifname @mesh drop",
            "oifname @bridges ct status dnat accept",
            "oifname @bridges drop",
        ),
    ),
    "input": (
        "type filter hook input priority filter - 1",
        ("iifname @overlay ct state established,related accept", "iifname @overlay drop"),
    ),
}
_ORDER = ("guard", "tunnel", "publish", "prerouting", "output", "postrouting", "forward", "input")


@dataclass(frozen=True, slots=True)
class BridgeSegment:
    """What the rules must know of a bridge."""

    bridge: str
    internal: bool = False
    masquerade: bool = True
    icc: bool = True
    overlay: bool = False
    """The bridge is a node's end of a cluster's network."""
    mesh: bool = False
    """It is the ingress network."""
    mac: str = ""
    """With ``overlay``: the host is a neighbour there, with this MAC address."""

    def sets(self) -> dict[str, str]:
        """Set -> this bridge's element of it."""
        name = f'"{self.bridge}"'
        found = {"bridges": name, "same": f"{name} . {name}"}
        if self.internal:
            found["internal"] = name
        elif self.masquerade:
            found["natted"] = name
        if not self.icc:
            found["apart"] = name
        if self.overlay:
            found["overlay"] = name
        if self.mesh:
            found["mesh"] = name
        if self.mac:
            found["own"] = f"{name} . {self.mac}"
        return found


@dataclass(frozen=True, slots=True)
class Forwarding:
    """One published port. ``host_ip`` 0.0.0.0 or :: means: every address of the host."""

    host_ip: str
    host_port: int
    protocol: str
    container_ip: str
    container_port: int

    def self_element(self) -> tuple[str, str]:
        """(set, element)."""
        version = ipaddress.ip_address(self.container_ip).version
        return f"self{version}", f"{self.container_ip} . {self.container_ip}"

    def element(self) -> tuple[str, str, str]:
        """(map, key, value)."""
        host = ipaddress.ip_address(self.host_ip)
        key = f"{self.protocol} . {self.host_port}"
        value = f"{self.container_ip} . {self.container_port}"
        if host.is_unspecified:
            return f"any{host.version}", key, value
        return f"exact{host.version}", f"{host} . {key}", value


def static_rules(table: str, segments: Iterable[BridgeSegment]) -> str:
    """The table with these bridges and with whatever is in its port maps."""
    lines = [f"add table inet {table}"]
    for name, kind in _SETS.items():
        lines += [f"add set inet {table} {name} {{ {kind}; }}", f"flush set inet {table} {name}"]
    lines += [
        f"add set inet {table} {name} {{ {kind}; }}" for name, kind in (_SELVES | _OWN).items()
    ]
    lines += [f"add map inet {table} {name} {{ {kind}; }}" for name, kind in _MAPS.items()]
    for name in _ORDER:
        hook, rules = _CHAINS[name]
        head = f"add chain inet {table} {name}"
        lines.append(f"{head} {{ {hook}; policy accept; }}" if hook else head)
        lines.append(f"flush chain inet {table} {name}")
        lines += [f"add rule inet {table} {name} {rule}" for rule in rules]
    for segment in segments:
        lines += _elements("add", table, segment)
    return "\n".join(lines)


def _elements(verb: str, table: str, segment: BridgeSegment) -> list[str]:
    return [
        f"{verb} element inet {table} {name} {{ {element} }}"
        for name, element in segment.sets().items()
    ]


class Firewall:
    """Applies it. Blocking (0.2 ms a call), one thread."""

    def __init__(self, nft: Nftables, table: str) -> None:
        self._nft, self.table = nft, table

    def install(self, segments: Sequence[BridgeSegment]) -> None:
        """Write the table, over one that is there already."""
        rules = static_rules(self.table, segments)
        try:
            self._nft.run(rules)
        except NftError:
            # A table of another version, whose sets have other types: published ports close
            # until ``restore`` opens them again, a moment from now.
            self._nft.run(f"add table inet {self.table}; delete table inet {self.table}\n{rules}")

    def let_through(self) -> None:
        """Where another tool has set a FORWARD policy of DROP (dockerd, ufw), have it accept what
        our own chain let pass: one rule at its head, by the mark, tagged with our table's name.
        It stays when the daemon stops, as the containers do. Idempotent."""
        for family in ("ip", "ip6"):
            try:
                found = self._nft.query(f"list chain {family} filter FORWARD")
            except NftError:
                continue
            rules = [item["rule"] for item in found if "rule" in item]
            policies = [item["chain"].get("policy") for item in found if "chain" in item]
            if "drop" in policies and not any(r.get("comment") == self.table for r in rules):
                self._nft.run(
                    f"insert rule {family} filter FORWARD meta mark and {MARK:#x} == {MARK:#x} "
                    f'accept comment "{self.table}"'
                )

    def add_segment(self, segment: BridgeSegment) -> None:
        self._nft.run("\n".join(_elements("add", self.table, segment)))

    def remove_segment(self, segment: BridgeSegment) -> None:
        """Idempotent: an element is added before it is deleted, in one transaction."""
        lines = _elements("add", self.table, segment) + _elements("delete", self.table, segment)
        self._nft.run("\n".join(lines))

    def tunnel(self, port: int) -> None:
        """A UDP port at which tunnels of this host begin and end."""
        self._nft.run(f"add element inet {self.table} tunnels {{ {port} }}")

    def forget_tunnels(self) -> None:
        self._nft.run(f"flush set inet {self.table} tunnels")

    def forward(self, forwardings: Iterable[Forwarding]) -> None:
        lines = [line for one in forwardings for line in self._add(one)]
        if lines:
            self._nft.run("\n".join(lines))

    def unforward(self, forwardings: Iterable[Forwarding]) -> None:
        """All of a container's. Idempotent."""
        lines: dict[str, None] = {}
        for one in forwardings:
            name, key, _ = one.element()
            own, element = one.self_element()
            lines |= dict.fromkeys(self._add(one))
            lines[f"delete element inet {self.table} {name} {{ {key} }}"] = None
            lines[f"delete element inet {self.table} {own} {{ {element} }}"] = None
        if lines:
            # Additions first: an element that was added may be deleted, once.
            self._nft.run("\n".join(sorted(lines)))

    def replace_forwardings(self, forwardings: Iterable[Forwarding]) -> None:
        """Exactly these from now on, in one transaction."""
        lines = [f"flush map inet {self.table} {name}" for name in _MAPS]
        lines += [f"flush set inet {self.table} {name}" for name in _SELVES]
        for one in forwardings:
            lines += self._add(one)
        self._nft.run("\n".join(lines))

    def _add(self, one: Forwarding) -> list[str]:
        name, key, value = one.element()
        own, element = one.self_element()
        return [
            f"add element inet {self.table} {name} {{ {key} : {value} }}",
            f"add element inet {self.table} {own} {{ {element} }}",
        ]
