"""``bridge``: a Linux bridge on the host, a veth pair for each endpoint, the host as the gateway.

Docker's driver options are understood; what they mean is in ``Options``.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from sampan.errors import InvalidArgument
from sampan.kernel import netlink
from sampan.network.contract import Sandbox, SubnetOverlap
from sampan.network.drivers.bridged import BridgedDriver
from sampan.network.drivers.contract import Attached, Joined, NetworkCapabilities
from sampan.network.drivers.veth import configure
from sampan.network.firewall import BridgeSegment
from sampan.network.hostnet import subnets_in_use
from sampan.network.ipam import overlapping, parse_subnet
from sampan.network.subnets import Taken
from sampan.store.records import EndpointSettings, Network

_PREFIX = "com.docker.network."
_OPTIONS = (
    "bridge.name",
    "bridge.enable_icc",
    "bridge.enable_ip_masquerade",
    "bridge.host_binding_ipv4",
    "driver.mtu",
)
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


def segment_of(network: Network) -> BridgeSegment:
    options = Options.of(network)
    return BridgeSegment(network.bridge, network.internal, options.masquerade, options.icc)


class BridgeDriver(BridgedDriver):
    capabilities = NetworkCapabilities(
        publishes=True, options=frozenset(_PREFIX + name for name in _OPTIONS)
    )

    # -- the segment

    def validate(self, network: Network) -> None:
        Options.of(network)

    async def create(self, network: Network) -> Network:
        options = Options.of(network)
        instance = self._config.instance
        default = instance.default_bridge if network.predefined else instance.bridge(network.id)
        made = replace(network, bridge=options.name or default)

        def make() -> None:
            self._ensure(made)
            try:
                # Another daemon may have chosen the same subnet since we looked. Whoever sees the
                # other withdraws; the later of two always sees the earlier.
                clash = self._clash(made)
                if clash is not None:
                    raise SubnetOverlap(
                        f"Pool overlaps with other one on this address space: {clash.subnet} is "
                        f"{clash.by}; choose another --subnet"
                    )
            except BaseException:
                self._remove(made)
                raise

        await self._worker.run(make, lambda: self._remove(made))
        return made

    def _ensure(self, network: Network) -> None:
        """Link, addresses, sysctls, firewall; each only if it is missing."""
        options = Options.of(network)
        linux, host = self._worker.linux, self._worker.netlink
        before = linux.index_of(network.bridge)
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
            index = linux.index_of(network.bridge)
            for pool in network.pools:
                prefix = parse_subnet(pool.subnet).prefixlen
                # EEXIST: it has the address already.
                (outcome,) = host.request(netlink.add_address(index, pool.gateway, prefix))
                if outcome is not None and outcome.errno != errno.EEXIST:
                    raise outcome
            # For the host's own 127.0.0.1:PORT; the table's guard keeps containers from it.
            linux.sysctl.ensure(
                f"net/ipv4/conf/{network.bridge}/route_localnet", "1" if self._firewall else "0"
            )
            if self._firewall is not None:
                self._firewall.add_segment(segment_of(network))
                # Looked at again with each network: dockerd may have come after us.
                self._firewall.let_through()
        except BaseException:
            if not before:
                self._remove(network)
            raise

    def _remove(self, network: Network) -> None:
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

    def _clash(self, network: Network) -> Taken | None:
        subnets = [parse_subnet(pool.subnet) for pool in network.pools]
        for other in subnets_in_use(self._worker.netlink, but=network.bridge):
            if any(overlapping(subnet, other.subnet) for subnet in subnets):
                return other
        return None

    # -- endpoints

    async def join(
        self,
        network: Network,
        endpoint: EndpointSettings,
        sandbox: Sandbox,
        *,
        default_route: bool,
    ) -> Joined:
        options = Options.of(network)
        linux = self._worker.linux

        def finish(veth: str) -> None:
            if not options.icc:
                self._worker.netlink.do(netlink.isolate_port(veth))
            linux.netns.run_inside(
                sandbox.path, lambda: configure(linux, endpoint, default_route=default_route)
            )

        await self._connect(network, endpoint, sandbox, mtu=options.mtu, finish=finish)
        return Joined(endpoint=endpoint)

    async def leave(
        self, network: Network, endpoint: EndpointSettings, sandbox: Sandbox, *, closing: bool
    ) -> None:
        await self._deferred.delete(self._config.instance.veth(endpoint.endpoint_id))

    async def restore(self, network: Network, attached: Sequence[Attached]) -> None:
        return


def _bridge_mac(name: str) -> str:
    return "02:42:" + hashlib.sha256(name.encode()).digest()[:4].hex(":")
