"""rtnetlink of ``FakeLinux``: reads the messages of ``kernel.netlink`` and ``kernel.tunnel``."""

from __future__ import annotations

import errno
import ipaddress
import itertools
import secrets
import socket
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager

from sampan.kernel import netlink as nl
from sampan.kernel import tunnel
from sampan.kernel.netlink import Message, Rtnetlink, attribute, attributes, nested
from sampan.testing.linux_state import FakeLink, FakeRoute, Space, refused

_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBi")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NDMSG = struct.Struct("=BxxxiHBB")
_ON_TOP = ("ipvlan", "macvlan", "vlan")
"""Kinds that are made on another link."""


class FakeNetlink(Rtnetlink):
    def __init__(
        self,
        space: Space,
        protocol: int,
        features: Collection[str],
        descriptors: Mapping[int, Space],
        gate: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self._space, self._protocol, self._features = space, protocol, features
        self._descriptors, self._gate = descriptors, gate
        self._work: dict[int, tuple[str, Callable[[int, bytes], None]]] = {
            nl.RTM_NEWLINK: ("new link", self._new_link),
            nl.RTM_SETLINK: ("set link", self._set_link),
            nl.RTM_DELLINK: ("delete link", self._delete_link),
            nl.RTM_NEWADDR: ("new address", self._new_address),
            nl.RTM_DELADDR: ("delete address", self._delete_address),
            nl.RTM_NEWROUTE: ("new route", self._new_route),
            nl.RTM_DELROUTE: ("delete route", self._delete_route),
            tunnel.RTM_NEWNEIGH: ("new neighbour", self._new_neighbour),
            tunnel.RTM_DELNEIGH: ("delete neighbour", self._delete_neighbour),
            tunnel.RTM_NEWRULE: ("new rule", self._new_rule),
        }

    def request(self, *messages: Message) -> list[OSError | None]:
        outcomes: list[OSError | None] = []
        for kind, flags, body in messages:
            what, work = self._work.get(kind, ("unknown message", self._unknown))
            try:
                with self._gate(what):
                    work(flags, body)
            except OSError as error:
                outcomes.append(error)
            else:
                outcomes.append(None)
        return outcomes

    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        if self._protocol != socket.NETLINK_ROUTE:
            return  # no packet travels, so no connection is tracked
        with self._gate("dump"):
            family = body[0]
            if kind == nl.RTM_GETLINK:
                found = [self._told(link) for link in self._space.links.values()]
            elif kind == nl.RTM_GETADDR:
                found = list(self._told_addresses())
            elif kind == nl.RTM_GETROUTE:
                found = list(self._told_routes(family))
            elif kind == tunnel.RTM_GETNEIGH:
                found = list(self._told_neighbours(family))
            else:
                raise refused(errno.EOPNOTSUPP)
        yield from found

    def close(self) -> None:
        return

    # -- links

    def _new_link(self, flags: int, body: bytes) -> None:
        values = attributes(body, _IFINFO.size)
        name = _text(values[nl.IFLA_IFNAME])
        space = self._space
        if space.index_of(name):
            if flags & nl.NLM_F_EXCL:
                raise refused(errno.EEXIST)
            return self._change(space.named(name), body, values)
        if not flags & nl.NLM_F_CREATE:
            raise refused(errno.ENODEV)
        info = attributes(values.get(nl.IFLA_LINKINFO, b""))
        kind = _text(info.get(nl.IFLA_INFO_KIND, b""))
        if kind not in self._features:
            raise refused(errno.EOPNOTSUPP)
        data = attributes(info.get(nl.IFLA_INFO_DATA, b""))
        link = FakeLink(0, name, kind, _given_mac(values))
        if kind in _ON_TOP:
            link.lower = self._lower(kind, _integer(values.get(nl.IFLA_LINK)))
        if kind == "vxlan":
            link.vni = _integer(data[tunnel.IFLA_VXLAN_ID])
            link.local = socket.inet_ntoa(data[tunnel.IFLA_VXLAN_LOCAL])
            link.port = struct.unpack("!H", data[tunnel.IFLA_VXLAN_PORT])[0]
            if any((v.vni, v.port) == (link.vni, link.port) for v in space.links.values() if v.vni):
                raise refused(errno.EEXIST)
        self._check_master(values)
        peer = self._peer_of(data, name) if kind == "veth" else None
        space.enter(link)
        if link.lower is not None:
            link.lower.uppers.append(link)
        if peer is not None:
            there, other = peer
            there.enter(other)
            link.peer, other.peer = (there, other.index), (space, link.index)
        self._change(link, body, values)
        return None

    def _peer_of(self, data: dict[int, bytes], name: str) -> tuple[Space, FakeLink]:
        inside = attributes(data.get(nl.VETH_INFO_PEER, b""), _IFINFO.size)
        there = self._space
        if nl.IFLA_NET_NS_FD in inside:
            there = self._descriptor(inside)
        if nl.IFLA_IFNAME not in inside:
            free = next(n for n in itertools.count() if not there.index_of(f"veth{n}"))
            return there, FakeLink(0, f"veth{free}", "veth", _given_mac(inside))
        called = _text(inside[nl.IFLA_IFNAME])
        if there.index_of(called) or (there is self._space and called == name):
            raise refused(errno.EEXIST)
        mtu = _integer(inside.get(nl.IFLA_MTU)) or 1500
        return there, FakeLink(0, called, "veth", _given_mac(inside), mtu)

    def _lower(self, kind: str, index: int) -> FakeLink:
        """The link that a new one is to be on top of."""
        if not index:
            raise refused(errno.EINVAL)
        lower = self._space.links.get(index)
        if lower is None:
            raise refused(errno.ENODEV)
        if kind != "vlan" and lower.master:
            raise refused(errno.EBUSY)
        return lower

    def _check_master(self, values: dict[int, bytes]) -> None:
        master = _integer(values.get(nl.IFLA_MASTER))
        if master and master not in self._space.links:
            raise refused(errno.EINVAL)
        if master and self._space.links[master].kind != "bridge":
            raise refused(errno.EOPNOTSUPP)

    def _set_link(self, flags: int, body: bytes) -> None:
        values = attributes(body, _IFINFO.size)
        self._change(self._found(body, values), body, values)

    def _change(self, link: FakeLink, body: bytes, values: dict[int, bytes]) -> None:
        self._check_master(values)
        if nl.IFLA_NET_NS_FD in values:
            link = self._move(link, values)
        elif nl.IFLA_IFNAME in values:
            link.name = _text(values[nl.IFLA_IFNAME])
        if nl.IFLA_ADDRESS in values:
            link.mac = values[nl.IFLA_ADDRESS].hex(":")
        link.mtu = _integer(values.get(nl.IFLA_MTU)) or link.mtu
        if nl.IFLA_GROUP in values:
            link.group = _integer(values[nl.IFLA_GROUP])
        if nl.IFLA_MASTER in values:
            link.master = _integer(values[nl.IFLA_MASTER])
        info = attributes(values.get(nl.IFLA_LINKINFO, b""))
        if nl.IFLA_INFO_SLAVE_DATA in info:
            if not link.master:
                raise refused(errno.EOPNOTSUPP)
            flags = attributes(info[nl.IFLA_INFO_SLAVE_DATA])
            link.flags |= {flag: bool(on[0]) for flag, on in flags.items()}
        _, _, _, state, mask = _IFINFO.unpack_from(body)
        if mask & nl.IFF_UP:
            link.up = bool(state & nl.IFF_UP)
            if not link.up:
                kept = [r for r in self._space.routes if r.interface != link.index]
                self._space.routes = kept

    def _move(self, link: FakeLink, values: dict[int, bytes]) -> FakeLink:
        there = self._descriptor(values)
        name = _text(values[nl.IFLA_IFNAME])
        if there.index_of(name):
            raise refused(errno.EEXIST)
        before = link.index
        self._space.forget(before)
        link.name, link.up, link.master, link.flags = name, False, 0, {}
        there.enter(link)
        if link.peer is not None:
            space, other = link.peer
            space.links[other].peer = (there, link.index)
        return link

    def _delete_link(self, flags: int, body: bytes) -> None:
        values = attributes(body, _IFINFO.size)
        if nl.IFLA_IFNAME in values or _IFINFO.unpack_from(body)[2]:
            found = [self._found(body, values)]
        else:
            group = _integer(values[nl.IFLA_GROUP])
            found = [link for link in self._space.links.values() if link.group == group]
        if not found:
            raise refused(errno.ENODEV)
        if any(not link.kind for link in found):
            raise refused(errno.EOPNOTSUPP)
        for link in found:
            self._space.drop_link(link.index)

    def _found(self, body: bytes, values: dict[int, bytes]) -> FakeLink:
        index = _IFINFO.unpack_from(body)[2]
        if index:
            if index not in self._space.links:
                raise refused(errno.ENODEV)
            return self._space.links[index]
        return self._space.named(_text(values[nl.IFLA_IFNAME]))

    def _descriptor(self, values: dict[int, bytes]) -> Space:
        there = self._descriptors.get(_integer(values[nl.IFLA_NET_NS_FD]))
        if there is None:
            raise refused(errno.EBADF)
        return there

    # -- addresses and routes

    def _new_address(self, flags: int, body: bytes) -> None:
        index, address = self._address(body)
        if index not in self._space.links:
            raise refused(errno.ENODEV)
        if address.version == 6 and self._without_ipv6(index):
            raise refused(errno.EACCES)
        if (index, address) in self._space.addresses:
            raise refused(errno.EEXIST)
        self._space.addresses.append((index, address))

    def _without_ipv6(self, index: int) -> bool:
        sysctls = self._space.sysctls
        default = sysctls.get("net/ipv6/conf/default/disable_ipv6", "0")
        name = self._space.links[index].name
        off = sysctls.get(f"net/ipv6/conf/{name}/disable_ipv6", default)
        return "ipv6" not in self._features or off == "1"

    def _delete_address(self, flags: int, body: bytes) -> None:
        index, address = self._address(body)
        if index not in self._space.links:
            raise refused(errno.ENODEV)
        if (index, address) not in self._space.addresses:
            raise refused(errno.EADDRNOTAVAIL)
        self._space.addresses.remove((index, address))

    def _address(
        self, body: bytes
    ) -> tuple[int, ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
        _, prefix, _, _, index = _IFADDR.unpack_from(body)
        packed = attributes(body, _IFADDR.size)[nl.IFA_LOCAL]
        return index, ipaddress.ip_interface(f"{ipaddress.ip_address(packed)}/{prefix}")

    def _new_route(self, flags: int, body: bytes) -> None:
        route, on_link = self._route(body)
        link = self._space.links.get(route.interface)
        if link is None:
            raise refused(errno.ENODEV)
        gateway = ipaddress.ip_address(route.gateway) if route.gateway else None
        if on_link and not any(a.version == 4 for _, a in self._space.addresses):
            raise refused(errno.EINVAL)
        if gateway and not on_link and not self._space.reaches(gateway, route.interface):
            raise refused(errno.ENETUNREACH)
        if not link.up:
            raise refused(errno.ENETDOWN)
        same = (route.table, route.destination)
        known = [r for r in self._space.routes if (r.table, r.destination) == same]
        if known and flags & nl.NLM_F_EXCL:
            raise refused(errno.EEXIST)
        for old in known:
            self._space.routes.remove(old)
        self._space.routes.append(route)

    def _delete_route(self, flags: int, body: bytes) -> None:
        route, _ = self._route(body)
        if route not in self._space.routes:
            raise refused(errno.ESRCH)
        self._space.routes.remove(route)

    def _route(self, body: bytes) -> tuple[FakeRoute, bool]:
        family, prefix, _, _, table, _, _, _, flags = _ROUTE.unpack_from(body)
        values = attributes(body, _ROUTE.size)
        size = 4 if family == socket.AF_INET else 16
        destination = (values.get(nl.RTA_DST, bytes(size)), prefix)
        gateway = values.get(nl.RTA_GATEWAY)
        route = FakeRoute(
            _integer(values.get(nl.RTA_TABLE)) or table,
            ipaddress.IPv4Network(destination) if size == 4 else ipaddress.IPv6Network(destination),
            _integer(values.get(nl.RTA_OIF)),
            str(ipaddress.ip_address(gateway)) if gateway else "",
        )
        return route, bool(flags & tunnel.RTNH_F_ONLINK)

    # -- neighbours, forwarding, rules

    def _new_neighbour(self, flags: int, body: bytes) -> None:
        family, index, flag, values = self._neighbour(body)
        if index not in self._space.links:
            raise refused(errno.ENODEV)
        mac = values[tunnel.NDA_LLADDR].hex(":")
        if family == socket.AF_INET:
            self._space.neighbours[index, socket.inet_ntoa(values[tunnel.NDA_DST])] = mac
            return
        if flag & tunnel.NTF_MASTER:
            if not self._space.links[index].master:
                raise refused(errno.EOPNOTSUPP)
            self._space.ports.add((index, mac))
        if flag & tunnel.NTF_SELF:
            self._space.forwarding[index, mac] = socket.inet_ntoa(values[tunnel.NDA_DST])

    def _delete_neighbour(self, flags: int, body: bytes) -> None:
        family, index, flag, values = self._neighbour(body)
        if index not in self._space.links:
            raise refused(errno.ENODEV)
        if family == socket.AF_INET:
            key = (index, socket.inet_ntoa(values[tunnel.NDA_DST]))
            if self._space.neighbours.pop(key, None) is None:
                raise refused(errno.ENOENT)
            return
        entry = (index, values[tunnel.NDA_LLADDR].hex(":"))
        missing = (flag & tunnel.NTF_MASTER and entry not in self._space.ports) or (
            flag & tunnel.NTF_SELF and entry not in self._space.forwarding
        )
        if flag & tunnel.NTF_MASTER:
            self._space.ports.discard(entry)
        if flag & tunnel.NTF_SELF:
            self._space.forwarding.pop(entry, None)
        if missing:
            raise refused(errno.ENOENT)

    def _neighbour(self, body: bytes) -> tuple[int, int, int, dict[int, bytes]]:
        family, index, _, flag, _ = _NDMSG.unpack_from(body)
        return family, index, flag, attributes(body, _NDMSG.size)

    def _new_rule(self, flags: int, body: bytes) -> None:
        values = attributes(body, _ROUTE.size)
        rule = (
            _integer(values[tunnel.FRA_FWMARK]),
            _integer(values[tunnel.FRA_TABLE]),
            _integer(values[tunnel.FRA_PRIORITY]),
        )
        if rule in self._space.rules:
            raise refused(errno.EEXIST)
        self._space.rules.append(rule)

    def _unknown(self, flags: int, body: bytes) -> None:
        raise refused(errno.EOPNOTSUPP)

    # -- answers

    def _told(self, link: FakeLink) -> bytes:
        info = attribute(nl.IFLA_INFO_KIND, link.kind.encode() + b"\0") if link.kind else b""
        if link.kind == "vxlan":
            info += nested(
                nl.IFLA_INFO_DATA,
                attribute(tunnel.IFLA_VXLAN_ID, _number(link.vni)),
                attribute(tunnel.IFLA_VXLAN_LOCAL, socket.inet_aton(link.local)),
                attribute(tunnel.IFLA_VXLAN_PORT, struct.pack("!H", link.port)),
            )
        body = _IFINFO.pack(0, 0, link.index, nl.IFF_UP if link.up else 0, 0)
        body += attribute(nl.IFLA_IFNAME, link.name.encode() + b"\0")
        body += attribute(nl.IFLA_MTU, _number(link.mtu))
        body += attribute(nl.IFLA_GROUP, _number(link.group))
        body += attribute(nl.IFLA_ADDRESS, bytes.fromhex(link.mac.replace(":", "")))
        body += attribute(nl.IFLA_MASTER, _number(link.master)) if link.master else b""
        return body + (nested(nl.IFLA_LINKINFO, info) if info else b"")

    def _told_addresses(self) -> Iterator[bytes]:
        for index, address in self._space.addresses:
            family = socket.AF_INET if address.version == 4 else socket.AF_INET6
            body = _IFADDR.pack(family, address.network.prefixlen, 0, 0, index)
            kind = nl.IFA_LOCAL if address.version == 4 else nl.IFA_ADDRESS
            yield body + attribute(kind, address.ip.packed)

    def _told_routes(self, family: int) -> Iterator[bytes]:
        for route in self._space.every_route():
            if (route.destination.version == 4) != (family == socket.AF_INET):
                continue
            prefix = route.destination.prefixlen
            body = _ROUTE.pack(family, prefix, 0, 0, 0, 0, 0, nl.RTN_UNICAST, 0)
            body += attribute(nl.RTA_TABLE, _number(route.table))
            body += attribute(nl.RTA_OIF, _number(route.interface))
            if prefix:
                body += attribute(nl.RTA_DST, route.destination.network_address.packed)
            if route.gateway:
                gateway = ipaddress.ip_address(route.gateway)
                body += attribute(nl.RTA_GATEWAY, gateway.packed)
            yield body

    def _told_neighbours(self, family: int) -> Iterator[bytes]:
        if family == tunnel.AF_BRIDGE:
            for (index, mac), host in self._space.forwarding.items():
                body = _NDMSG.pack(family, index, tunnel.NUD_NOARP, tunnel.NTF_SELF, 0)
                body += attribute(tunnel.NDA_LLADDR, bytes.fromhex(mac.replace(":", "")))
                yield body + attribute(tunnel.NDA_DST, socket.inet_aton(host))
            return
        for (index, address), mac in self._space.neighbours.items():
            body = _NDMSG.pack(family, index, tunnel.NUD_PERMANENT, 0, 0)
            body += attribute(tunnel.NDA_LLADDR, bytes.fromhex(mac.replace(":", "")))
            yield body + attribute(tunnel.NDA_DST, socket.inet_aton(address))


def _text(payload: bytes) -> str:
    return payload.rstrip(b"\0").decode()


def _number(value: int) -> bytes:
    return struct.pack("=I", value)


def _integer(payload: bytes | None) -> int:
    return int(struct.unpack_from("=I", payload)[0]) if payload else 0


def _given_mac(values: dict[int, bytes]) -> str:
    given = values.get(nl.IFLA_ADDRESS)
    # a random one of the locally administered
    return given.hex(":") if given else (b"\x02" + secrets.token_bytes(5)).hex(":")
