"""VXLAN devices, forwarding entries, neighbours, rules and routes: rtnetlink for overlay networks.

bridge port    local container or the tunnel; floods nothing, learns nothing
fdb entry      MAC -> port of the bridge, and on the tunnel: MAC -> host
neighbour      IPv4 address -> MAC, permanent; the bridge answers ARP from these
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sampan.kernel import netlink
from sampan.kernel.netlink import (
    IFLA_GROUP,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    Rtnetlink,
    attribute,
    attributes,
    nested,
)

RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE = 32
NLM_F_REPLACE = 0x100
IFLA_VXLAN_ID, IFLA_VXLAN_LOCAL, IFLA_VXLAN_TTL, IFLA_VXLAN_LEARNING = 1, 4, 5, 7
IFLA_VXLAN_PORT, IFLA_VXLAN_UDP_CSUM = 15, 18
IFLA_BRPORT_LEARNING, IFLA_BRPORT_UNICAST_FLOOD, IFLA_BRPORT_PROXYARP = 8, 9, 10
IFLA_BRPORT_MCAST_FLOOD, IFLA_BRPORT_BCAST_FLOOD, IFLA_BRPORT_NEIGH_SUPPRESS = 27, 30, 32
NDA_DST, NDA_LLADDR = 1, 2
NUD_REACHABLE, NUD_NOARP, NUD_PERMANENT = 2, 0x40, 0x80
NTF_SELF, NTF_MASTER = 2, 4
FRA_PRIORITY, FRA_FWMARK, FRA_TABLE, FRA_FWMASK = 6, 10, 15, 16
FR_ACT_TO_TBL = 1
RTNH_F_ONLINK = 4
AF_BRIDGE = 7
TTL = 64

_NDMSG = struct.Struct("=BxxxiHBB")
_IFINFO = struct.Struct("=BxHiII")
_RULE = struct.Struct("=BBBBBBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_BATCH = 100
"""Messages a send: their acknowledgements must fit into the socket's receive buffer."""


@dataclass(frozen=True, slots=True)
class Vxlan:
    """A tunnel's end, as the kernel has it."""

    name: str
    index: int
    vni: int
    local: str
    port: int
    mtu: int
    master: int


def mac_of(address: str) -> str:
    """The MAC address that goes with an IPv4 address: 02:42 and its four bytes."""
    return "02:42:" + socket.inet_aton(address).hex(":")


def add_vxlan(
    name: str, *, vni: int, local: str, port: int, mtu: int, master: int, group: int
) -> Message:
    """A tunnel's end that learns nothing, up, on bridge ``master``."""
    data = nested(
        IFLA_INFO_DATA,
        attribute(IFLA_VXLAN_ID, struct.pack("=I", vni)),
        attribute(IFLA_VXLAN_LOCAL, socket.inet_aton(local)),
        attribute(IFLA_VXLAN_TTL, bytes([TTL])),
        attribute(IFLA_VXLAN_LEARNING, b"\0"),
        attribute(IFLA_VXLAN_PORT, struct.pack("!H", port)),
        # The inner packets have checksums of their own.
        attribute(IFLA_VXLAN_UDP_CSUM, b"\0"),
    )
    body = _IFINFO.pack(0, 0, 0, netlink.IFF_UP, netlink.IFF_UP)
    body += attribute(IFLA_IFNAME, name.encode() + b"\0")
    body += attribute(IFLA_MTU, struct.pack("=I", mtu))
    body += attribute(IFLA_GROUP, struct.pack("=I", group))
    body += attribute(IFLA_MASTER, struct.pack("=I", master))
    body += nested(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"vxlan"), data)
    return netlink.RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body


def quiet_tunnel(name: str) -> Message:
    """The bridge's port to the tunnel: only what has a forwarding entry goes out."""
    return netlink.port_flags(
        name,
        {
            IFLA_BRPORT_LEARNING: False,
            IFLA_BRPORT_UNICAST_FLOOD: False,
            IFLA_BRPORT_MCAST_FLOOD: False,
            IFLA_BRPORT_BCAST_FLOOD: False,
            IFLA_BRPORT_NEIGH_SUPPRESS: True,
        },
    )


def quiet_port(name: str) -> Message:
    """A container's port: the bridge answers its ARP requests; nobody can take another's MAC
    by sending from it, as nothing is learnt."""
    return netlink.port_flags(
        name,
        {
            IFLA_BRPORT_LEARNING: False,
            IFLA_BRPORT_UNICAST_FLOOD: False,
            IFLA_BRPORT_PROXYARP: True,
        },
    )


def _mac(mac: str) -> bytes:
    return attribute(NDA_LLADDR, bytes.fromhex(mac.replace(":", "")))


def forward_to_host(tunnel: int, mac: str, host: str, *, delete: bool = False) -> Message:
    """``mac`` lives behind the tunnel (interface index), at ``host``: for bridge and tunnel."""
    state = NUD_NOARP | NUD_REACHABLE
    body = _NDMSG.pack(AF_BRIDGE, tunnel, state, NTF_SELF | NTF_MASTER, 0) + _mac(mac)
    if delete:
        return RTM_DELNEIGH, 0, body
    body += attribute(NDA_DST, socket.inet_aton(host))
    return RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body


def forward_to_port(port: int, mac: str) -> Message:
    """``mac`` is behind this port of the bridge. Goes with the port."""
    body = _NDMSG.pack(AF_BRIDGE, port, NUD_NOARP | NUD_REACHABLE, NTF_MASTER, 0) + _mac(mac)
    return RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body


def neighbour(index: int, address: str, mac: str = "", *, delete: bool = False) -> Message:
    """``address`` (IPv4) has ``mac``, for ever."""
    body = _NDMSG.pack(socket.AF_INET, index, NUD_PERMANENT, 0, 0)
    body += attribute(NDA_DST, socket.inet_aton(address))
    if delete:
        return RTM_DELNEIGH, 0, body
    return RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body + _mac(mac)


def mark_rule(mark: int, table: int, priority: int) -> Message:
    """Packets with (all bits of) ``mark`` are routed by ``table``."""
    body = _RULE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, FR_ACT_TO_TBL, 0)
    for kind, value in (
        (FRA_PRIORITY, priority),
        (FRA_FWMARK, mark),
        (FRA_FWMASK, mark),
        (FRA_TABLE, table),
    ):
        body += attribute(kind, struct.pack("=I", value))
    return RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, body


def table_route(table: int, gateway: str, index: int) -> Message:
    """The default route of ``table``, through ``gateway`` which is taken to be on that link."""
    body = _ROUTE.pack(
        socket.AF_INET, 0, 0, 0, 0, netlink.RTPROT_BOOT, 0, netlink.RTN_UNICAST, RTNH_F_ONLINK
    )
    body += attribute(netlink.RTA_TABLE, struct.pack("=I", table))
    body += attribute(netlink.RTA_GATEWAY, socket.inet_aton(gateway))
    body += attribute(netlink.RTA_OIF, struct.pack("=I", index))
    return netlink.RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body


def send(link: Rtnetlink, messages: Sequence[Message], *, accept: Iterable[int] = ()) -> None:
    """Send any number of messages; all are tried.

    Args:
        accept: error numbers that mean: it is so already.

    Raises:
        OSError: the first failure that was not expected.
    """
    failed: OSError | None = None
    fine = frozenset(accept)
    for start in range(0, len(messages), _BATCH):
        for outcome in link.request(*messages[start : start + _BATCH]):
            if outcome is not None and outcome.errno not in fine and failed is None:
                failed = outcome
    if failed is not None:
        raise failed


def vxlans(link: Rtnetlink) -> list[Vxlan]:
    """Every tunnel end of the namespace."""
    found = []
    for body in link.dump(netlink.RTM_GETLINK, _IFINFO.pack(0, 0, 0, 0, 0)):
        _, _, index, _, _ = _IFINFO.unpack_from(body)
        values = attributes(body, _IFINFO.size)
        info = attributes(values.get(IFLA_LINKINFO, b""))
        if info.get(IFLA_INFO_KIND, b"").rstrip(b"\0") != b"vxlan":
            continue
        data = attributes(info.get(IFLA_INFO_DATA, b""))
        local = data.get(IFLA_VXLAN_LOCAL)
        found.append(
            Vxlan(
                values[IFLA_IFNAME].rstrip(b"\0").decode(),
                index,
                struct.unpack("=I", data[IFLA_VXLAN_ID])[0],
                socket.inet_ntoa(local) if local else "",
                struct.unpack("!H", data[IFLA_VXLAN_PORT])[0],
                struct.unpack("=I", values[IFLA_MTU])[0],
                struct.unpack("=I", values.get(IFLA_MASTER, b"\0\0\0\0"))[0],
            )
        )
    return found


def forwarding(link: Rtnetlink) -> dict[int, dict[str, str]]:
    """Tunnel's index -> MAC -> host, of all tunnels."""
    found: dict[int, dict[str, str]] = {}
    for body in link.dump(RTM_GETNEIGH, _IFINFO.pack(AF_BRIDGE, 0, 0, 0, 0)):
        _, index, _, flags, _ = _NDMSG.unpack_from(body)
        values = attributes(body, _NDMSG.size)
        host = values.get(NDA_DST)
        if flags & NTF_SELF and host and len(host) == 4:
            found.setdefault(index, {})[values[NDA_LLADDR].hex(":")] = socket.inet_ntoa(host)
    return found


def neighbours(link: Rtnetlink) -> dict[int, set[str]]:
    """Interface index -> IPv4 addresses with a permanent neighbour entry."""
    found: dict[int, set[str]] = {}
    for body in link.dump(RTM_GETNEIGH, _NDMSG.pack(socket.AF_INET, 0, 0, 0, 0)):
        _, index, state, _, _ = _NDMSG.unpack_from(body)
        address = attributes(body, _NDMSG.size).get(NDA_DST)
        if state & NUD_PERMANENT and address:
            found.setdefault(index, set()).add(str(ipaddress.IPv4Address(address)))
    return found
