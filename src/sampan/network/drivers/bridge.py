"""``bridge``: a Linux bridge on the host, a veth pair for each endpoint, the host as the gateway.

Docker's driver options are understood; what they mean is in ``Options``.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from sampan.config import DaemonConfig
from sampan.errors import InvalidArgument
from sampan.kernel import netlink
from sampan.kernel.linux import Linux
from sampan.network.contract import BadAddress, SubnetOverlap
from sampan.network.firewall import Firewall, Segment
from sampan.network.ipam import complete, overlapping, parse_subnet
from sampan.network.reaper import live_group
from sampan.network.subnets import BUILT_IN_POOLS, Taken, choose, choose_ula, refuse_overlap
from sampan.network.worker import Worker
from sampan.store.records import EndpointSettings, IpamPool, Network

_PREFIX = "com.docker.network."
_ATTEMPTS = 16
INTERFACE_NAME_LIMIT = 15


@dataclass(frozen=True, slots=True)
class Options:
    """A bridge network's driver options, parsed."""

    name: str = ""
    """``bridge.name``: the host interface; one that exists already is used and left in place."""
    mtu: int = 0
    """``driver.mtu``; 0 is the kernel's 1500."""
    icc: bool = True
    """``bridge.enable_icc``: containers of this network reach one another."""
    masquerade: bool = True
    """``bridge.enable_ip_masquerade``."""
    host_binding: str = ""
    """``bridge.host_binding_ipv4``: where ports are published that name no address."""

    @classmethod
    def of(cls, network: Network) -> Options:
        """Raises InvalidArgument."""
        said = network.options
        name = said.get(_PREFIX + "bridge.name", "")
        if len(name.encode()) > INTERFACE_NAME_LIMIT or "/" in name:
            raise InvalidArgument(f"invalid bridge name {name}: 15 characters at most, no slash")
        mtu = said.get(_PREFIX + "driver.mtu", "") or "0"
        if not mtu.isdecimal() or not (mtu == "0" or 68 <= int(mtu) <= 65535):
            raise InvalidArgument(f"invalid MTU {mtu}: a number from 68 to 65535")
        return cls(
            name=name,
            mtu=int(mtu),
            icc=_flag(said, "bridge.enable_icc"),
            masquerade=_flag(said, "bridge.enable_ip_masquerade"),
            host_binding=said.get(_PREFIX + "bridge.host_binding_ipv4", ""),
        )


def _flag(said: dict[str, str], name: str) -> bool:
    value = said.get(_PREFIX + name, "true").lower()
    if value not in ("true", "false", "1", "0"):
        raise InvalidArgument(f"invalid value {value} of {_PREFIX}{name}: true or false")
    return value in ("true", "1")


def segment_of(network: Network) -> Segment:
    options = Options.of(network)
    return Segment(network.bridge, network.internal, options.masquerade, options.icc)


class BridgeDriver:
    has_addresses = True

    def __init__(self, config: DaemonConfig, worker: Worker, firewall: Firewall | None) -> None:
        self._config, self._worker, self._firewall = config, worker, firewall
        self._group = live_group(config.instance.suffix)

    # -- the segment

    def create(self, wanted: Network, known: Sequence[Taken]) -> Network:
        options = Options.of(wanted)
        instance = self._config.instance
        if wanted.predefined:
            name = options.name or instance.default_bridge
        else:
            name = options.name or instance.bridge(wanted.id)
        for attempt in range(_ATTEMPTS):
            taken = [*known, *self._host_uses(but=name)]
            made = replace(wanted, bridge=name, pools=self._plan(wanted, taken, attempt))
            self.ensure(made)
            # Another daemon may have chosen the same subnet since we looked. Whoever sees the
            # other withdraws; the later of two always sees the earlier.
            clash = self._clash(made)
            if clash is None:
                return made
            self.remove(made)
            if any(pool.subnet for pool in wanted.pools):
                raise SubnetOverlap(
                    f"Pool overlaps with other one on this address space: {clash.subnet} is "
                    f"{clash.by}; choose another --subnet"
                )
        raise SubnetOverlap("other daemons keep taking the subnets chosen here: try again")

    def _plan(self, wanted: Network, taken: Sequence[Taken], attempt: int) -> tuple[IpamPool, ...]:
        pools: list[IpamPool] = []
        for pool in wanted.pools:
            if pool.subnet:
                done = complete(pool)
                subnet = parse_subnet(done.subnet)
                refuse_overlap(
                    subnet,
                    [
                        *taken,
                        *(
                            Taken(parse_subnet(p.subnet), "another pool of this network")
                            for p in pools
                        ),
                    ],
                )
                pools.append(done)
            elif pool.gateway or pool.ip_range or pool.aux_addresses:
                raise BadAddress("a gateway, ip-range or aux-address needs a --subnet")
        versions = {parse_subnet(pool.subnet).version for pool in pools}
        if wanted.enable_ipv4 and 4 not in versions:
            pools.insert(0, self._default_pool(wanted, taken, attempt))
        if wanted.enable_ipv6 and 6 not in versions:
            ula = choose_ula(wanted.id, self._config.default_address_pools)
            pools.append(complete(IpamPool(subnet=str(ula))))
        return tuple(pools)

    def _default_pool(self, wanted: Network, taken: Sequence[Taken], attempt: int) -> IpamPool:
        bip = self._config.default_bridge_subnet
        if wanted.predefined and bip:
            pool = complete(IpamPool(subnet=bip, gateway=bip.partition("/")[0]))
            refuse_overlap(parse_subnet(bip), taken)
            return pool
        pools = self._config.default_address_pools or BUILT_IN_POOLS
        return complete(IpamPool(subnet=str(choose(pools, taken, attempt=attempt))))

    def ensure(self, network: Network) -> None:
        """Link, addresses, sysctls, firewall; each only if it is missing."""
        options = Options.of(network)
        host = self._worker.netlink
        before = self._worker.linux.index_of(network.bridge)
        try:
            if not before:
                host.do(
                    netlink.add_bridge(
                        network.bridge,
                        mac=_bridge_mac(network.bridge),
                        mtu=options.mtu,
                        group=self._group,
                    )
                )
            else:
                host.do(netlink.set_link(network.bridge, up=True))
            index = self._worker.linux.index_of(network.bridge)
            for pool in network.pools:
                prefix = parse_subnet(pool.subnet).prefixlen
                # EEXIST: it has the address already.
                (outcome,) = host.request(netlink.add_address(index, pool.gateway, prefix))
                if outcome is not None and outcome.errno != errno.EEXIST:
                    raise outcome
            # For the host's own 127.0.0.1:PORT; the table's guard keeps containers from it.
            self._worker.linux.sysctl.ensure(
                f"net/ipv4/conf/{network.bridge}/route_localnet", "1" if self._firewall else "0"
            )
            if self._firewall is not None:
                self._firewall.add_segment(segment_of(network))
                # Looked at again with each network: dockerd may have come after us.
                self._firewall.let_through()
        except BaseException:
            if not before:
                self.remove(network)
            raise

    def remove(self, network: Network) -> None:
        if self._firewall is not None:
            self._firewall.remove_segment(segment_of(network))
        if Options.of(network).name and not network.predefined and not self._ours(network.bridge):
            return
        (outcome,) = self._worker.netlink.request(netlink.delete_link(network.bridge))
        if outcome is not None and outcome.errno != errno.ENODEV:
            raise outcome

    def _ours(self, bridge: str) -> bool:
        """Whether we made it."""
        return any(
            link.name == bridge and link.group == self._group
            for link in self._worker.netlink.links()
        )

    def _host_uses(self, *, but: str) -> list[Taken]:
        host = self._worker.netlink
        names = {link.index: link.name for link in host.links()}
        found = []
        for route in host.routes():
            name = names.get(route.interface, "?")
            if route.destination.prefixlen and name != but:
                way = f" via {route.gateway}" if route.gateway else ""
                found.append(
                    Taken(
                        route.destination, f"the host's route {route.destination}{way} dev {name}"
                    )
                )
        for index, address in host.addresses():
            name = names.get(index, "?")
            if name != but:
                found.append(Taken(address.network, f"the network of the host's {name}"))
        return found

    def _clash(self, network: Network) -> Taken | None:
        subnets = [parse_subnet(pool.subnet) for pool in network.pools]
        for other in self._host_uses(but=network.bridge):
            if any(overlapping(subnet, other.subnet) for subnet in subnets):
                return other
        return None

    # -- endpoints

    def join(
        self, sandbox: Path, network: Network, endpoint: EndpointSettings, *, default_route: bool
    ) -> None:
        options = Options.of(network)
        veth = self._config.instance.veth(endpoint.endpoint_id)
        linux, host = self._worker.linux, self._worker.netlink
        add_port(
            self._worker,
            veth,
            sandbox,
            endpoint,
            bridge=network.bridge,
            mtu=options.mtu,
            group=self._group,
        )
        try:
            if not options.icc:
                host.do(netlink.isolate_port(veth))
            linux.netns.run_inside(
                sandbox, lambda: configure(linux, endpoint, default_route=default_route)
            )
        except BaseException:
            host.request(netlink.delete_link(veth))
            raise


def add_port(
    worker: Worker,
    veth: str,
    sandbox: Path,
    endpoint: EndpointSettings,
    *,
    bridge: str,
    mtu: int,
    group: int,
) -> None:
    """A pair of interfaces: ``veth`` on the bridge, ``endpoint.interface`` in the sandbox."""
    with worker.linux.netns.opened(sandbox) as target:
        worker.netlink.do(
            netlink.add_veth(
                veth,
                peer=endpoint.interface,
                peer_mac=endpoint.mac,
                peer_netns=target,
                mtu=mtu,
                group=group,
                master=worker.linux.index_of(bridge),
            )
        )


def configure(linux: Linux, endpoint: EndpointSettings, *, default_route: bool) -> None:
    """In the sandbox: one send for everything."""
    index = linux.index_of(endpoint.interface)
    if endpoint.ipv6:
        linux.sysctl.write(f"net/ipv6/conf/{endpoint.interface}/disable_ipv6", "0")
    messages = [netlink.set_link(endpoint.interface, up=True)]
    if endpoint.ipv4:
        messages.append(netlink.add_address(index, endpoint.ipv4, endpoint.ipv4_prefix))
    if endpoint.ipv6:
        messages.append(netlink.add_address(index, endpoint.ipv6, endpoint.ipv6_prefix))
    if default_route:
        gateways = (endpoint.gateway, endpoint.ipv6_gateway)
        messages += [netlink.default_route(g, index) for g in gateways if g]
    with linux.netlink() as inside:
        inside.do(*messages)


def give_default_route(linux: Linux, endpoint: EndpointSettings) -> None:
    """In the sandbox: make a second network's gateway the way out, when the first has gone."""
    index = linux.index_of(endpoint.interface)
    with linux.netlink() as inside:
        for gateway in (endpoint.gateway, endpoint.ipv6_gateway):
            if gateway:
                (outcome,) = inside.request(netlink.default_route(gateway, index))
                if outcome is not None and outcome.errno != errno.EEXIST:
                    raise outcome


def _bridge_mac(name: str) -> str:
    return "02:42:" + hashlib.sha256(name.encode()).digest()[:4].hex(":")
