"""Links, addresses and routes: what containers need of rtnetlink, several messages a send.

The messages are packed here and not by pyroute2, which does all this and much more: importing it
costs 80 ms of the daemon's start, each call through it 0.1 to 0.2 ms more, and a container's start
is a handful of calls (docs/design/network.md has the table). What is needed is one header and
nested type-length-value attributes.

A ``Netlink`` speaks to the network namespace that its creating thread was in. It is not for two
threads at once.

    message   := nlmsghdr(length, type, flags, sequence, port) + family header + attributes
    attribute := length (2) + type (2) + payload, padded to 4
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 1, 4, 0x200, 0x400
NLM_F_DUMP = 0x300
NLA_F_NESTED = 1 << 15
NLA_TYPE_MASK = 0x3FFF
IFF_UP = 1
IFA_F_NODAD = 2

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_LINKINFO, IFLA_GROUP, IFLA_NET_NS_FD = 18, 27, 28
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
VETH_INFO_PEER = 1
IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED = 4, 33
IFLA_BR_FORWARD_DELAY, IFLA_BR_STP_STATE = 1, 5
IFA_ADDRESS, IFA_LOCAL, IFA_RT_PRIORITY = 1, 2, 9
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_TABLE = 1, 4, 5, 15
RT_TABLE_MAIN, RT_TABLE_LOCAL = 254, 255
RTPROT_BOOT, RTN_UNICAST = 3, 1
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 0, 253

_HEADER = struct.Struct("=IHHII")
_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBi")
_RTMSG = struct.Struct("=BBBBBBBBI")
_RECEIVE = 1 << 20

Message = tuple[int, int, bytes]
"""Type, flags beyond REQUEST and ACK, body."""


@dataclass(frozen=True, slots=True)
class Link:
    index: int
    name: str
    kind: str
    master: int
    group: int
    up: bool
    mac: str
    mtu: int = 0


@dataclass(frozen=True, slots=True)
class Route:
    destination: ipaddress.IPv4Network | ipaddress.IPv6Network
    interface: int
    gateway: str


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded."""
    length = 4 + len(payload)
    return struct.pack("=HH", length, kind) + payload + b"\0" * (-length % 4)


def nested(kind: int, *inside: bytes) -> bytes:
    return attribute(kind | NLA_F_NESTED, b"".join(inside))


def attributes(body: bytes, offset: int = 0) -> dict[int, bytes]:
    """Type -> payload. A type that comes twice (never among those used here) keeps its last."""
    found: dict[int, bytes] = {}
    while offset + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, offset)
        if length < 4:
            break
        found[kind & NLA_TYPE_MASK] = body[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def _number(value: int) -> bytes:
    return struct.pack("=I", value)


def _name(value: str) -> bytes:
    return attribute(IFLA_IFNAME, value.encode() + b"\0")


def _mac(value: str) -> bytes:
    return attribute(IFLA_ADDRESS, bytes.fromhex(value.replace(":", "")))


def _info(*, up: bool | None = None, index: int = 0) -> bytes:
    return _IFINFO.pack(0, 0, index, IFF_UP if up else 0, 0 if up is None else IFF_UP)


# ---------------------------------------------------------------- messages


def add_bridge(name: str, *, mac: str, mtu: int = 0, group: int = 0) -> Message:
    """A bridge that forwards at once (no spanning tree) and is up."""
    data = nested(
        IFLA_INFO_DATA,
        attribute(IFLA_BR_FORWARD_DELAY, _number(0)),
        attribute(IFLA_BR_STP_STATE, _number(0)),
    )
    body = _info(up=True) + _name(name) + _mac(mac) + attribute(IFLA_GROUP, _number(group))
    body += attribute(IFLA_MTU, _number(mtu)) if mtu else b""
    body += nested(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"bridge"), data)
    return RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body


def add_veth(
    name: str,
    *,
    peer: str,
    peer_mac: str,
    peer_netns: int | None = None,
    mtu: int = 0,
    master: int = 0,
    group: int = 0,
) -> Message:
    """A pair: ``name`` here (on bridge ``master``), ``peer`` in the namespace of the descriptor
    ``peer_netns`` (None: here, too). One message, so there never is half a pair. The peer is down:
    veth refuses (ENOTCONN) to bring one end up before the other exists."""
    size = attribute(IFLA_MTU, _number(mtu)) if mtu else b""
    inside = _info() + _name(peer) + _mac(peer_mac) + size
    if peer_netns is not None:
        inside += attribute(IFLA_NET_NS_FD, _number(peer_netns))
    body = _info(up=True) + _name(name) + size + attribute(IFLA_GROUP, _number(group))
    body += attribute(IFLA_MASTER, _number(master)) if master else b""
    body += nested(
        IFLA_LINKINFO,
        attribute(IFLA_INFO_KIND, b"veth"),
        nested(IFLA_INFO_DATA, attribute(VETH_INFO_PEER | NLA_F_NESTED, inside)),
    )
    return RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body


def add_link(
    name: str, kind: str, *, lower: int = 0, data: bytes = b"", mac: str = "", group: int = 0
) -> Message:
    """Any kind of link (``dummy``, ``macvlan``, ``ipvlan``, ``wireguard`` ...), down.

    Args:
        lower: index of the link that it is on top of; 0: none.
        data: the kind's own attributes.
    """
    info = attribute(IFLA_INFO_KIND, kind.encode())
    info += nested(IFLA_INFO_DATA, data) if data else b""
    body = _info() + _name(name) + attribute(IFLA_GROUP, _number(group))
    body += attribute(IFLA_LINK, _number(lower)) if lower else b""
    body += _mac(mac) if mac else b""
    return RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body + nested(IFLA_LINKINFO, info)


def move_link(index: int, *, netns: int, name: str) -> Message:
    """Give the link ``index`` to the namespace of the descriptor ``netns``, where it is called
    ``name``. It is down there, without addresses."""
    body = _info(index=index) + _name(name) + attribute(IFLA_NET_NS_FD, _number(netns))
    return RTM_SETLINK, 0, body


def port_flags(name: str, flags: dict[int, bool]) -> Message:
    """Set IFLA_BRPORT_... flags of a bridge port."""
    inside = [attribute(flag, bytes([on])) for flag, on in flags.items()]
    slave = nested(IFLA_INFO_SLAVE_DATA, *inside)
    body = _info() + _name(name)
    body += nested(IFLA_LINKINFO, attribute(IFLA_INFO_SLAVE_KIND, b"bridge"), slave)
    return RTM_NEWLINK, 0, body


def isolate_port(name: str) -> Message:
    """A bridge port that cannot speak with other isolated ports."""
    return port_flags(name, {IFLA_BRPORT_ISOLATED: True})


def hairpin_port(name: str) -> Message:
    """A bridge port that gets back what it sends to itself."""
    return port_flags(name, {IFLA_BRPORT_MODE: True})


def set_link(
    name: str,
    *,
    up: bool | None = None,
    group: int | None = None,
    master: int | None = None,
    mac: str = "",
    mtu: int = 0,
) -> Message:
    """Change an existing link; None, "" and MTU 0 leave as it is; master 0 takes it off its
    bridge."""
    body = _info(up=up) + _name(name)
    body += attribute(IFLA_GROUP, _number(group)) if group is not None else b""
    body += attribute(IFLA_MASTER, _number(master)) if master is not None else b""
    body += (_mac(mac) if mac else b"") + (attribute(IFLA_MTU, _number(mtu)) if mtu else b"")
    return RTM_SETLINK, 0, body


def delete_link(name: str) -> Message:
    return RTM_DELLINK, 0, _info() + _name(name)


def delete_group(group: int) -> Message:
    """Every link of a group at once: 20 links in the 17 ms that one takes."""
    return RTM_DELLINK, 0, _info() + attribute(IFLA_GROUP, _number(group))


def add_address(index: int, address: str, prefix: int, *, metric: int = 0) -> Message:
    """Args:
    metric: of the route to the subnet that comes with it; higher gives way to others.
    """
    ip = ipaddress.ip_address(address)
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    # IPv6: nobody else has this address, as the caller keeps account of them. A second of
    # duplicate detection would only make the first connections fail.
    flags = IFA_F_NODAD if ip.version == 6 else 0
    body = _IFADDR.pack(family, prefix, flags, 0, index)
    body += attribute(IFA_LOCAL, ip.packed) + attribute(IFA_ADDRESS, ip.packed)
    body += attribute(IFA_RT_PRIORITY, _number(metric)) if metric else b""
    return RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body


def delete_address(index: int, address: str, prefix: int) -> Message:
    ip = ipaddress.ip_address(address)
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    body = _IFADDR.pack(family, prefix, 0, 0, index) + attribute(IFA_LOCAL, ip.packed)
    return RTM_DELADDR, 0, body


def default_route(gateway: str, index: int, *, delete: bool = False) -> Message:
    ip = ipaddress.ip_address(gateway)
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    scope = RTN_UNICAST if not delete else 0
    body = _RTMSG.pack(family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, 0, scope, 0)
    body += attribute(RTA_GATEWAY, ip.packed) + attribute(RTA_OIF, _number(index))
    return (RTM_DELROUTE, 0, body) if delete else (RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body)


def static_route(destination: str, index: int, next_hop: str = "") -> Message:
    """A route to ``destination`` (CIDR), by the neighbour ``next_hop`` or, without one, on the
    link."""
    network = ipaddress.ip_network(destination)
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    scope = RT_SCOPE_UNIVERSE if next_hop or network.version == 6 else RT_SCOPE_LINK
    head = (family, network.prefixlen, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, scope, RTN_UNICAST, 0)
    body = _RTMSG.pack(*head) + attribute(RTA_DST, network.network_address.packed)
    body += attribute(RTA_GATEWAY, ipaddress.ip_address(next_hop).packed) if next_hop else b""
    return RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body + attribute(RTA_OIF, _number(index))


# ---------------------------------------------------------------- the socket


class Rtnetlink(ABC):
    """An open netlink socket, of the network namespace that its thread was in when it was opened.
    A context manager; not for two threads at once."""

    @abstractmethod
    def request(self, *messages: Message) -> list[OSError | None]:
        """Send all in one go; the kernel works through them in order and does not stop at a
        failure. Returns one outcome a message."""

    @abstractmethod
    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """The bodies of all answers. Read it to its end before the next request.

        Raises:
            OSError: the kernel does not know what is asked for.
        """

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def do(self, *messages: Message) -> None:
        """Send all; raise the first failure.

        Raises:
            OSError: EEXIST, ENODEV, EBUSY ... of the first message that failed; what came after
                it was tried all the same.
        """
        for outcome in self.request(*messages):
            if outcome is not None:
                raise outcome

    def links(self) -> list[Link]:
        found = []
        for body in self.dump(RTM_GETLINK, _info()):
            _, _, index, flags, _ = _IFINFO.unpack_from(body)
            values = attributes(body, _IFINFO.size)
            info = attributes(values.get(IFLA_LINKINFO, b""))
            found.append(
                Link(
                    index,
                    values[IFLA_IFNAME].rstrip(b"\0").decode(),
                    info.get(IFLA_INFO_KIND, b"").rstrip(b"\0").decode(),
                    _integer(values.get(IFLA_MASTER)),
                    _integer(values.get(IFLA_GROUP)),
                    bool(flags & IFF_UP),
                    values.get(IFLA_ADDRESS, b"").hex(":"),
                    _integer(values.get(IFLA_MTU)),
                )
            )
        return found

    def routes(self) -> list[Route]:
        """Unicast routes of both families outside the local table, default routes included."""
        found = []
        for family in (socket.AF_INET, socket.AF_INET6):
            size = 4 if family == socket.AF_INET else 16
            request = _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
            for body in self.dump(RTM_GETROUTE, request):
                _, prefix, _, _, table, _, _, kind, _ = _RTMSG.unpack_from(body)
                values = attributes(body, _RTMSG.size)
                table = _integer(values.get(RTA_TABLE)) or table
                if table == RT_TABLE_LOCAL or kind != RTN_UNICAST:
                    continue
                network = (values.get(RTA_DST, bytes(size)), prefix)
                gateway = values.get(RTA_GATEWAY)
                found.append(
                    Route(
                        ipaddress.IPv4Network(network)
                        if size == 4
                        else ipaddress.IPv6Network(network),
                        _integer(values.get(RTA_OIF)),
                        str(ipaddress.ip_address(gateway)) if gateway else "",
                    )
                )
        return found

    def addresses(self) -> list[tuple[int, ipaddress.IPv4Interface | ipaddress.IPv6Interface]]:
        """(interface index, address with its prefix) of both families."""
        found = []
        for body in self.dump(RTM_GETADDR, _IFADDR.pack(0, 0, 0, 0, 0)):
            _, prefix, _, _, index = _IFADDR.unpack_from(body)
            values = attributes(body, _IFADDR.size)
            packed = values.get(IFA_LOCAL) or values[IFA_ADDRESS]
            ip = ipaddress.ip_address(packed)
            found.append((index, ipaddress.ip_interface(f"{ip}/{prefix}")))
        return found


class Netlink(Rtnetlink):
    """An open netlink socket (rtnetlink, unless told) in the thread's current network namespace."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
        )
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def request(self, *messages: Message) -> list[OSError | None]:
        first = self._sequence + 1
        packet = bytearray()
        for kind, flags, body in messages:
            self._sequence += 1
            packet += _HEADER.pack(
                _HEADER.size + len(body), kind, NLM_F_REQUEST | NLM_F_ACK | flags, self._sequence, 0
            )
            packet += body + b"\0" * (-len(body) % 4)
        self._socket.send(packet)
        outcomes: list[OSError | None] = [None] * len(messages)
        waiting = len(messages)
        while waiting:
            for kind, sequence, body in self._receive():
                if kind == NLMSG_ERROR and first <= sequence <= self._sequence:
                    number = -struct.unpack_from("=i", body)[0]
                    if number:
                        outcomes[sequence - first] = OSError(number, os.strerror(number))
                    waiting -= 1
        return outcomes

    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        self._sequence += 1
        sequence = self._sequence
        flags = NLM_F_REQUEST | NLM_F_DUMP
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body)
        while True:
            for answer, number, payload in self._receive():
                if number != sequence:
                    continue
                if answer == NLMSG_DONE:
                    return
                if answer == NLMSG_ERROR:
                    code = -struct.unpack_from("=i", payload)[0]
                    raise OSError(code, f"netlink dump: {os.strerror(code)}")
                yield payload

    def _receive(self) -> Sequence[tuple[int, int, bytes]]:
        packet = self._socket.recv(_RECEIVE)
        found = []
        offset = 0
        while offset + _HEADER.size <= len(packet):
            length, kind, _, sequence, _ = _HEADER.unpack_from(packet, offset)
            found.append((kind, sequence, packet[offset + _HEADER.size : offset + length]))
            offset += (length + 3) & ~3
        return found


def _integer(payload: bytes | None) -> int:
    return int(struct.unpack_from("=I", payload)[0]) if payload else 0


def index_of(name: str) -> int:
    """Index of a link in the thread's namespace, 0 if there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        # Python raises it without a number, for the one failure there is.
        return 0
