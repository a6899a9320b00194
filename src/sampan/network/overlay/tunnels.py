"""Bridges and tunnels: what a node's end of an overlay network is made of. Blocking, one thread.

    container ── veth ── bridge ── VXLAN device ── the hosts' network
                          │ ingress network only
                          └── the host's own address

Nothing is flooded and nothing learnt: a frame goes where an entry says, or nowhere. The bridge
answers ARP itself, from permanent neighbour entries.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from sampan.config import DaemonConfig
from sampan.errors import Unavailable
from sampan.kernel import netlink, tunnel
from sampan.kernel.linux import Linux
from sampan.kernel.netlink import Message, Rtnetlink
from sampan.kernel.tunnel import mac_of
from sampan.network.deferred_delete import live_group
from sampan.network.overlay.plan import NetworkPlan

OVERHEAD = 50
"""Bytes that VXLAN over IPv4 puts before a packet."""
LAST_RESORT_MTU = 1500
GIVES_WAY = 32000
"""Metric of the host's route to the ingress subnet: should the host have such a route of its own,
the host's is taken."""


@dataclass(frozen=True, slots=True)
class TunnelEnd:
    """What a node's end of one network must be."""

    network_id: str
    vni: int
    local: str
    port: int
    mtu: int
    address: str = ""
    """The host's own, on the ingress network."""
    prefix: int = 0


@dataclass
class _Known:
    """What the kernel has been told."""

    end: TunnelEnd
    index: int
    """Of the tunnel."""
    remote: dict[str, str] = field(default_factory=dict)
    neighbours: set[str] = field(default_factory=set)


def bridge_name(config: DaemonConfig, network_id: str) -> str:
    return config.instance.bridge(network_id)


def tunnel_name(config: DaemonConfig, network_id: str) -> str:
    suffix = config.instance.suffix
    return f"vx{suffix}{network_id[: 12 - len(suffix)]}"


class Tunnels:
    """Everything here runs on the network's worker thread."""

    def __init__(self, config: DaemonConfig, linux: Linux) -> None:
        self._linux = linux
        self._config = config
        self._group = live_group(config.instance.suffix)
        self._known: dict[str, _Known] = {}

    def networks(self) -> set[str]:
        """Networks that have a tunnel."""
        return set(self._known)

    def mtu(self, network_id: str) -> int:
        """Of the containers' interfaces; 0 while the network has no tunnel."""
        known = self._known.get(network_id)
        return known.end.mtu if known else 0

    def host_address(self, network_id: str) -> str:
        """The host's own on it; empty: it has none."""
        known = self._known.get(network_id)
        return known.end.address if known else ""

    # -- making

    def ensure_bridge(self, link: Rtnetlink, network_id: str) -> int:
        """A bridge without an address. Returns its index."""
        name = bridge_name(self._config, network_id)
        index = self._linux.index_of(name)
        if not index:
            mac = "02:42:" + hashlib.sha256(network_id.encode()).digest()[:4].hex(":")
            link.do(netlink.add_bridge(name, mac=mac, group=self._group))
            index = self._linux.index_of(name)
            with contextlib.suppress(FileNotFoundError):
                # Nor any that it would give itself.
                self._linux.sysctl.write(f"net/ipv6/conf/{name}/disable_ipv6", "1")
        return index

    def ensure(self, link: Rtnetlink, end: TunnelEnd) -> None:
        """Bridge, tunnel, and on the ingress network the host's address. Idempotent.

        Raises:
            OSError
            Unavailable: another program of this host has a tunnel of the same id.
        """
        known = self._known.get(end.network_id)
        if (
            known is not None
            and known.end == end
            and self._linux.index_of(self._tunnel(end)) == known.index
        ):
            return
        bridge = self.ensure_bridge(link, end.network_id)
        index = self._ensure_tunnel(link, end, bridge)
        if end.address and (known is None or known.end != end):
            self._give_host_address(link, end, bridge)
            # A bridge that gets another MAC loses its neighbours: look at them after that.
            known = None
        if known is None or known.index != index:
            known = _Known(end, index)
            # What an earlier daemon has told the kernel.
            macs = tunnel.forwarding(link).get(index, {})
            known.remote = {_address(mac): host for mac, host in macs.items()}
            known.neighbours = tunnel.neighbours(link).get(bridge, set())
        known.end = end
        self._known[end.network_id] = known

    def _ensure_tunnel(self, link: Rtnetlink, end: TunnelEnd, bridge: int) -> int:
        name = self._tunnel(end)
        index = self._linux.index_of(name)
        if index:
            found = next((v for v in tunnel.vxlans(link) if v.index == index), None)
            if found and (found.vni, found.local, found.port, found.master) == (
                end.vni,
                end.local,
                end.port,
                bridge,
            ):
                if found.mtu != end.mtu:
                    link.do(netlink.set_link(name, mtu=end.mtu))
                return index
            link.request(netlink.delete_link(name))
        try:
            link.do(
                tunnel.add_vxlan(
                    name,
                    vni=end.vni,
                    local=end.local,
                    port=end.port,
                    mtu=end.mtu,
                    master=bridge,
                    group=self._group,
                )
            )
        except OSError as error:
            if error.errno == errno.EEXIST:
                raise Unavailable(
                    f"VXLAN {end.vni} on UDP port {end.port} is in use on this host: another "
                    "overlay program has it; remove that, or choose another port with "
                    "swarm init --data-path-port"
                ) from None
            raise
        try:
            link.do(tunnel.quiet_tunnel(name))
        except BaseException:
            # Not to be taken for a finished one by the next attempt: it would flood.
            link.request(netlink.delete_link(name))
            raise
        return self._linux.index_of(name)

    def _give_host_address(self, link: Rtnetlink, end: TunnelEnd, bridge: int) -> None:
        name = bridge_name(self._config, end.network_id)
        # The task's replies are sent to this MAC.
        mac = mac_of(end.address)
        if next(one.mac for one in link.links() if one.index == bridge) != mac:
            link.do(netlink.set_link(name, mac=mac))
        link.do(netlink.set_link(name, mtu=end.mtu, up=True))
        for index, address in link.addresses():
            if index == bridge and address.version == 4 and str(address.ip) != end.address:
                link.request(netlink.delete_address(index, str(address.ip), end.prefix))
        message = netlink.add_address(bridge, end.address, end.prefix, metric=GIVES_WAY)
        tunnel.send(link, [message], accept=(errno.EEXIST,))
        # For the host's own 127.0.0.1:PORT; the firewall's guard keeps everyone else from it.
        self._linux.sysctl.ensure(f"net/ipv4/conf/{name}/route_localnet", "1")

    # -- entries

    def add_entries(
        self, link: Rtnetlink, network_id: str, plan: NetworkPlan, here: frozenset[str]
    ) -> None:
        """Tell of everyone new. Raises OSError.

        Args:
            here: addresses of containers that are on this node, whatever the plan says.
        """
        known = self._known[network_id]
        bridge = self._linux.index_of(bridge_name(self._config, network_id))
        remote = {
            address: host
            for address, host in plan.wire.remote.items()
            if known.remote.get(address) != host and address not in here
        }
        messages = [
            tunnel.forward_to_host(known.index, mac_of(address), host)
            for address, host in remote.items()
        ]
        addresses = plan.members | plan.wire.remote.keys()
        fresh = addresses - known.neighbours - {known.end.address}
        messages += [tunnel.neighbour(bridge, address, mac_of(address)) for address in fresh]
        tunnel.send(link, messages)
        known.remote |= remote
        known.neighbours |= fresh

    def drop_entries(
        self, link: Rtnetlink, network_id: str, plan: NetworkPlan, here: frozenset[str]
    ) -> None:
        """Forget every former member; otherwise as ``add_entries``."""
        known = self._known[network_id]
        bridge = self._linux.index_of(bridge_name(self._config, network_id))
        remote = known.remote.keys() - plan.wire.remote.keys()
        away = known.neighbours - plan.members - here
        messages: list[Message] = [
            tunnel.forward_to_host(known.index, mac_of(address), "", delete=True)
            for address in remote
        ]
        messages += [tunnel.neighbour(bridge, address, delete=True) for address in away]
        tunnel.send(link, messages, accept=(errno.ENOENT, errno.ENODEV))
        for address in remote:
            del known.remote[address]
        known.neighbours -= away

    def welcome(self, link: Rtnetlink, network_id: str, address: str, port: str) -> None:
        """A container of this node, behind bridge port ``port``. Raises OSError."""
        bridge = self._linux.index_of(bridge_name(self._config, network_id))
        mac = mac_of(address)
        known = self._known.get(network_id)
        if known is not None and address in known.remote:
            # It ran elsewhere until now, by what we were told.
            tunnel.send(
                link,
                [tunnel.forward_to_host(known.index, mac, "", delete=True)],
                accept=(errno.ENOENT, errno.ENODEV),
            )
            del known.remote[address]
        link.do(
            tunnel.quiet_port(port),
            tunnel.forward_to_port(self._linux.index_of(port), mac),
            tunnel.neighbour(bridge, address, mac),
        )
        if known is not None:
            known.neighbours.add(address)

    # -- taking away

    def remove(self, link: Rtnetlink, network_id: str) -> None:
        """Tunnel and bridge. Idempotent."""
        self._known.pop(network_id, None)
        names = (tunnel_name(self._config, network_id), bridge_name(self._config, network_id))
        tunnel.send(link, [netlink.delete_link(name) for name in names], accept=(errno.ENODEV,))

    def names(self, network_ids: Mapping[str, object] | set[str]) -> set[str]:
        """The interfaces of these networks."""
        return {
            name
            for network_id in network_ids
            for name in (
                tunnel_name(self._config, network_id),
                bridge_name(self._config, network_id),
            )
        }

    def _tunnel(self, end: TunnelEnd) -> str:
        return tunnel_name(self._config, end.network_id)


def underlay_mtu(link: Rtnetlink, local: str) -> int:
    """MTU of the interface that has the address ``local``."""
    index = next((i for i, a in link.addresses() if str(a.ip) == local), 0)
    return next((one.mtu for one in link.links() if one.index == index), LAST_RESORT_MTU)


def _address(mac: str) -> str:
    return ".".join(str(byte) for byte in bytes.fromhex(mac.replace(":", ""))[2:])
