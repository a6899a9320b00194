"""nftables text: a container's virtual addresses, a task's way back, the host's published ports.

Pure. Each kind has its static rules, written once, and what changes: a chain for each service,
which one rule fills, and elements of maps. A change is one transaction: a packet meets the old
rule or the new one.

The first member of a rule's turn is drawn at random each time it is written: with ``numgen inc``
from 0, a hundred containers that each connect once would all meet the first member.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterable, Mapping

from sampan.kernel.tunnel import mac_of
from sampan.network.overlay.plan import Backends, Balance, Mesh, Port

TABLE = "sampan"
"""In a container's namespace (family ip): virtual addresses."""
INGRESS = "sampan-ingress"
"""In a task's namespace (families ip and netdev): replies go back the way they came."""
MARK = 0x2000000
"""Bit of the packet and connection mark in a task's namespace: came in through the mesh. Below it
is which node: the last three bytes of its ingress address."""

Start = Callable[[int], int]
"""n -> where the turn of n members starts."""


def _dnat(targets: list[str], start: Start, dnat: str = "dnat to") -> list[str]:
    """The rules that lead to the targets in turn; none without a target.

    The last one needs no look-up. A packet that is on its way through a chain while another is
    written in its place goes on in the old rules, but finds the elements of their map gone; it
    would fall through to where connections are refused.
    """
    if not targets:
        return []
    first = start(len(targets))
    turned = targets[first:] + targets[:first]
    # an address and a port are a concatenation in a map, and else are not
    last = f"{dnat} {turned[0].replace(' . ', ':')}"
    if len(turned) == 1:
        return [last]
    inside = ", ".join(f"{i} : {target}" for i, target in enumerate(turned))
    return [f"{dnat} numgen inc mod {len(turned)} map {{ {inside} }}", last]


# ---------------------------------------------------------------- virtual addresses


def _chain(vip: str) -> str:
    return "v" + socket.inet_aton(vip).hex()


def services(old: Balance | None, new: Balance, *, start: Start = random.randrange) -> str:
    """What makes ``old`` into ``new``; empty if they are equal.

    Args:
        old: None: there is no table yet (its creation fails if there is one after all).
    """
    if old is None:
        return _all_services(new, start)
    lines = []
    for vip, members in new.items():
        if old.get(vip) == members:
            continue
        chain = f"ip {TABLE} {_chain(vip)}"
        known = vip in old
        lines.append(f"flush chain {chain}" if known else f"add chain {chain}")
        lines += [f"add rule {chain} {rule}" for rule in _dnat(list(members), start)]
        if not known:
            lines.append(f"add element ip {TABLE} vips {{ {vip} }}")
            lines.append(f"add element ip {TABLE} services {{ {vip} : goto {_chain(vip)} }}")
    for vip in old.keys() - new.keys():
        lines.append(f"delete element ip {TABLE} services {{ {vip} }}")
        lines.append(f"delete element ip {TABLE} vips {{ {vip} }}")
        lines.append(f"flush chain ip {TABLE} {_chain(vip)}")
        lines.append(f"delete chain ip {TABLE} {_chain(vip)}")
    return "\n".join(lines)


def _all_services(new: Balance, start: Start) -> str:
    """The whole table in one piece, which libnftables reads several times faster than the same
    as commands."""
    chains = []
    for vip, members in new.items():
        rules = " ".join(f"{rule};" for rule in _dnat(list(members), start))
        chains.append(f"    chain {_chain(vip)} {{ {rules} }}")
    vips = f"elements = {{ {', '.join(new)} }}" if new else ""
    leading = ", ".join(f"{vip} : goto {_chain(vip)}" for vip in new)
    services = f"elements = {{ {leading} }}" if new else ""
    return (
        _SERVICES.replace("CHAINS", "\n".join(chains))
        .replace("VIPS", vips)
        .replace("SERVICES", services)
    )


# The empty chains are there for their hooks: at them the kernel finds another source port for a
# connection whose translated form would be the same as another's.
_SERVICES = f"""create table ip {TABLE}
table ip {TABLE} {{
CHAINS
    set vips {{ type ipv4_addr; VIPS }}
    map services {{ type ipv4_addr : verdict; SERVICES }}
    chain output {{
        type nat hook output priority -100;
        ip daddr @vips icmp type echo-request redirect
        ip daddr vmap @services
    }}
    chain refuse {{
        type filter hook output priority 0;
        ip daddr @vips goto nobody
    }}
    chain nobody {{
        meta l4proto tcp reject with tcp reset
        reject with icmp type port-unreachable
    }}
    chain input {{ type nat hook input priority 100; }}
    chain postrouting {{ type nat hook postrouting priority 100; }}
}}"""


# ---------------------------------------------------------------- the way back of a task


def mark_of(node_ip: str) -> int:
    return MARK | int.from_bytes(socket.inet_aton(node_ip)[1:], "big")


def _zone_of(node_ip: str) -> int:
    return int.from_bytes(socket.inet_aton(node_ip)[2:], "big")


def ingress(interface: str, address: str, old: frozenset[str] | None, new: frozenset[str]) -> str:
    """A task's namespace on the ingress network, for packets that came through these nodes
    (their ingress addresses). ``old`` as with ``services``.

    Args:
        interface, address: the task's on that network.
    """
    static = _INGRESS.replace("INTERFACE", interface).replace("ADDRESS", address)
    lines = [] if old is not None else [static]
    before = old or frozenset()
    for verb, nodes in (("add", new - before), ("delete", before - new)):
        for node in sorted(nodes):
            mac, mark = mac_of(node), f"{mark_of(node):#x}"
            for family, name, key, value in (
                ("ip", "zone_in", mac, str(_zone_of(node))),
                ("ip", "node_in", mac, mark),
                ("netdev", "node_out", mark, mac),
            ):
                element = f"{key} : {value}" if verb == "add" else key
                lines.append(f"{verb} element {family} {INGRESS} {name} {{ {element} }}")
    return "\n".join(lines)


# Two clients' connections may be one and the same to the task, address and port, when a client
# comes through two nodes at once. The zone keeps them apart on their way in, and the chain "input"
# is where one of them gets another source port: answers have no zone, so theirs must differ.
#
# An answer to a datagram has the source address of the route that its receiver's has, which is that
# of the way out. Who asked through the mesh is kept in mind, and answered from the address asked.
_INGRESS = f"""create table ip {INGRESS}
create table netdev {INGRESS}
table ip {INGRESS} {{
    map zone_in {{ typeof ether saddr : ct zone; }}
    map node_in {{ type ether_addr : mark; }}
    set askers {{
        type ipv4_addr . inet_service . inet_service; flags dynamic, timeout;
        timeout 3m; size 65536;
    }}
    chain arrive {{
        type filter hook prerouting priority -300;
        iifname "INTERFACE" ct original zone set ether saddr map @zone_in
    }}
    chain remember {{
        type filter hook prerouting priority -150;
        iifname "INTERFACE" ct state new ct mark set ether saddr map @node_in
        iifname "INTERFACE" ct direction original meta mark set ct mark
    }}
    chain reply {{
        type route hook output priority -150;
        ct direction reply ct mark and {MARK:#x} == {MARK:#x} meta mark set ct mark
    }}
    chain input {{ type nat hook input priority 100; }}
    chain postrouting {{ type nat hook postrouting priority 100; }}
    chain asked {{
        type filter hook input priority 101;
        iifname "INTERFACE" update @askers {{ ip saddr . udp sport . udp dport }}
    }}
    chain answer {{
        type filter hook output priority -300;
        ip saddr != ADDRESS ip daddr . udp dport . udp sport @askers ip saddr set ADDRESS
    }}
}}
table netdev {INGRESS} {{
    map node_out {{ type mark : ether_addr; }}
    chain egress {{
        type filter hook egress device "INTERFACE" priority 0;
        ether daddr set meta mark map @node_out
    }}
}}"""


# ---------------------------------------------------------------- published ports


def mesh(table: str, old: Mesh | None, new: Mesh, *, start: Start = random.randrange) -> str:
    """The host's table of published ports. ``old`` as with ``services``."""
    lines = [] if old is not None else [_MESH.replace("TABLE", table)]
    before: Mapping[Port, Backends] = old or {}
    for port, backends in new.items():
        if before.get(port) == backends:
            continue
        protocol, number = port
        name = f"{protocol}{number}"
        chain = f"ip {table} {name}"
        known = port in before
        lines.append(f"flush chain {chain}" if known else f"add chain {chain}")
        targets = [f"{address} . {backends.target}" for address in backends.addresses]
        for rule in _dnat(targets, start, "dnat ip to"):
            lines.append(f"add rule {chain} meta l4proto {protocol} {rule}")
        if not known:
            element = f"{protocol} . {number} : goto {name}"
            lines.append(f"add element ip {table} ports {{ {element} }}")
    for protocol, number in before.keys() - new.keys():
        lines.append(f"delete element ip {table} ports {{ {protocol} . {number} }}")
        lines.append(f"flush chain ip {table} {protocol}{number}")
        lines.append(f"delete chain ip {table} {protocol}{number}")
    return "\n".join(lines)


# Before the table of published containers: a port that the cluster publishes is the cluster's.
_MESH = """create table ip TABLE
table ip TABLE {
    map ports { type inet_proto . inet_service : verdict; }
    chain prerouting {
        type nat hook prerouting priority -101;
        fib daddr type local meta l4proto . th dport vmap @ports
    }
    chain output {
        type nat hook output priority -101;
        fib daddr type local meta l4proto . th dport vmap @ports
    }
}"""


def without(tables: Iterable[tuple[str, str]], text: str = "") -> str:
    """``text`` after the removal of these (family, table), in one transaction."""
    lines = [f"add table {f} {t}\ndelete table {f} {t}" for f, t in tables]
    return "\n".join([*lines, text] if text else lines)
