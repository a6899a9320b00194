"""``NetworkDriver``: networks whose segments and interfaces a plugin makes.

The plugin makes an interface in the host's namespace and tells its name; moving it into the
container, naming it and giving it addresses and routes is the network's, as for every driver that
answers with ``Joined.source``.

Never called, because nothing asks for what they tell: ``EndpointOperInfo``, ``DiscoverNew`` and
``DiscoverDelete`` (for networks of global scope only), ``AllocateNetwork`` and ``FreeNetwork`` (for
Swarm's allocator).
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sampan.aio import in_thread, shielded
from sampan.errors import Unsupported
from sampan.network.contract import Sandbox
from sampan.network.drivers.contract import Attached, Joined, NetworkCapabilities, StaticRoute
from sampan.plugins.client import PluginClient
from sampan.plugins.errors import BadAnswer, PluginFailed, PluginRefused
from sampan.plugins.wire import Answer
from sampan.store.records import EndpointSettings, IpamPool, Network

log = logging.getLogger(__name__)

UNDO_S = 10.0
"""How long taking back may take when joining has failed in its middle."""
CONNECTED = 1
"""``RouteType`` of a route without next hop."""
DEFAULT_ROUTES = ("0.0.0.0/0", "::/0")
_PREFIX = re.compile(r"[a-zA-Z][a-zA-Z0-9_.-]*")
GENERIC = "com.docker.network.generic"
ENABLE_IPV4 = "com.docker.network.enable_ipv4"
ENABLE_IPV6 = "com.docker.network.enable_ipv6"
INTERNAL = "com.docker.network.internal"
MAC = "com.docker.network.endpoint.macaddress"


class GlobalScope(Unsupported):
    """A plugin whose networks belong to a cluster."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f'plugin "{name}": its networks have the scope "global": only a cluster makes such '
            "networks, and it makes them with its own driver, overlay"
        )
        self.name = name


class _Capabilities(Answer, frozen=True, rename="pascal", kw_only=True):
    scope: str = ""
    connectivity_scope: str = ""


class _IpamData(msgspec.Struct, rename="pascal"):
    address_space: str
    pool: str
    gateway: str
    aux_addresses: Mapping[str, str]


class _CreateNetwork(msgspec.Struct, rename="pascal"):
    network_id: str = msgspec.field(name="NetworkID")
    options: Mapping[str, Any]
    ipv4_data: Sequence[_IpamData] = msgspec.field(name="IPv4Data")
    ipv6_data: Sequence[_IpamData] = msgspec.field(name="IPv6Data")


class _DeleteNetwork(msgspec.Struct, rename="pascal"):
    network_id: str = msgspec.field(name="NetworkID")


class _Interface(msgspec.Struct, rename="pascal", kw_only=True):
    address: str = ""
    address_ipv6: str = msgspec.field(default="", name="AddressIPv6")
    mac_address: str = ""


class _Endpoint(msgspec.Struct, rename="pascal"):
    network_id: str = msgspec.field(name="NetworkID")
    endpoint_id: str = msgspec.field(name="EndpointID")


class _CreateEndpoint(_Endpoint, rename="pascal"):
    interface: _Interface
    options: Mapping[str, Any]


class _EndpointMade(Answer, frozen=True, rename="pascal", kw_only=True):
    interface: _Interface | None = None


class _Join(_Endpoint, rename="pascal"):
    sandbox_key: str
    options: Mapping[str, Any]


class _InterfaceName(msgspec.Struct, rename="pascal", kw_only=True):
    src_name: str = ""
    dst_prefix: str = ""


class _Route(msgspec.Struct, rename="pascal", kw_only=True):
    destination: str = ""
    route_type: int = 0
    next_hop: str = ""


class _Joined(Answer, frozen=True, rename="pascal", kw_only=True):
    interface_name: _InterfaceName | None = None
    gateway: str = ""
    gateway_ipv6: str = msgspec.field(default="", name="GatewayIPv6")
    static_routes: tuple[_Route, ...] = ()
    disable_gateway_service: bool = False


class PluginNetworkDriver:
    """See ``sampan.network.drivers.contract.NetworkDriver``."""

    def __init__(self, client: PluginClient, made: Path) -> None:
        self._client = client
        self._made = made
        """A file for each network that was made since the host's start."""

    @property
    def capabilities(self) -> NetworkCapabilities:
        return NetworkCapabilities()

    @classmethod
    async def open(cls, client: PluginClient, made: Path) -> PluginNetworkDriver:
        """Ask the plugin what it can do.

        Args:
            made: a directory that does not survive a reboot; the driver's own.

        Raises:
            GlobalScope: its networks are those of a cluster.
            PluginFailed: it does not answer, or with a scope that there is not.
        """
        method = "NetworkDriver.GetCapabilities"
        said = await client.call(method, None, _Capabilities)
        if said.scope == "global":
            raise GlobalScope(client.name)
        if said.scope != "local":
            problem = f"invalid capability: expecting 'local' or 'global', got {said.scope!r}"
            raise BadAnswer(client.name, method, problem)
        return cls(client, made)

    def validate(self, network: Network) -> None:
        """Nothing: only the plugin knows its options, and is asked when the network is made."""

    async def create(self, network: Network) -> Network:
        options: dict[str, Any] = {GENERIC: network.options, ENABLE_IPV4: network.enable_ipv4}
        if network.enable_ipv6:
            options[ENABLE_IPV6] = True
        if network.internal:
            options[INTERNAL] = True
        pools = [(":" in pool.subnet, _data(pool)) for pool in network.pools]
        request = _CreateNetwork(
            network.id,
            options,
            [data for six, data in pools if not six],
            [data for six, data in pools if six],
        )
        await self._client.call("NetworkDriver.CreateNetwork", request, Answer)
        await in_thread(_touch, self._made / network.id)
        return network

    async def ensure(self, network: Network) -> None:
        """A plugin outlives the daemon: only after a reboot it is told again, unless it refuses
        because it remembers. One that was told twice might forget the endpoints that live on."""
        if await in_thread((self._made / network.id).exists):
            return
        try:
            await self.create(network)
        except PluginRefused as error:
            log.info("network %s: taken as there: %s", network.name, error)

    async def remove(self, network: Network) -> None:
        try:
            await self._client.call(
                "NetworkDriver.DeleteNetwork", _DeleteNetwork(network.id), Answer
            )
        except PluginRefused as error:
            # As Docker: the network goes, and what the plugin could not do is in the log.
            log.warning("network %s is removed all the same: %s", network.name, error)
        await in_thread((self._made / network.id).unlink, missing_ok=True)

    async def join(
        self,
        network: Network,
        endpoint: EndpointSettings,
        sandbox: Sandbox,
        *,
        default_route: bool,
    ) -> Joined:
        which = (network.id, endpoint.endpoint_id)
        options: dict[str, Any] = {GENERIC: endpoint.driver_opts}
        if endpoint.mac_wanted:
            options[MAC] = endpoint.mac_wanted
        wanted = _Interface(
            address=_cidr(endpoint.ipv4, endpoint.ipv4_prefix),
            address_ipv6=_cidr(endpoint.ipv6, endpoint.ipv6_prefix),
            mac_address=endpoint.mac_wanted,
        )
        try:
            made = await self._client.call(
                "NetworkDriver.CreateEndpoint",
                _CreateEndpoint(*which, wanted, options),
                _EndpointMade,
            )
            changed = self._changed(endpoint, wanted, made.interface or _Interface())
            joined = await self._client.call(
                "NetworkDriver.Join", _Join(*which, str(sandbox.path), options), _Joined
            )
            return self._joined(changed, joined)
        except BaseException:
            await self._take_back(network, endpoint, sandbox)
            raise

    async def leave(
        self, network: Network, endpoint: EndpointSettings, sandbox: Sandbox, *, closing: bool
    ) -> None:
        which = _Endpoint(network.id, endpoint.endpoint_id)
        for method in ("NetworkDriver.Leave", "NetworkDriver.DeleteEndpoint"):
            try:
                await self._client.call(method, which, Answer)
            except PluginRefused as error:
                # As Docker; and most plugins refuse to take away what is not there.
                log.info("endpoint of network %s: taken as gone: %s", network.name, error)

    async def restore(self, network: Network, attached: Sequence[Attached]) -> None:
        """Nothing: the plugin knows them."""

    async def _take_back(
        self, network: Network, endpoint: EndpointSettings, sandbox: Sandbox
    ) -> None:
        try:
            await shielded(self.leave(network, endpoint, sandbox, closing=False), deadline_s=UNDO_S)
        except (PluginFailed, TimeoutError) as error:
            # what failed before is what the caller is told
            log.warning("endpoint of network %s is not taken back: %s", network.name, error)

    # -- answers

    def _changed(
        self, endpoint: EndpointSettings, wanted: _Interface, made: _Interface
    ) -> EndpointSettings:
        """The endpoint with what the plugin chose of it: what it was not told it may choose."""
        method = "NetworkDriver.CreateEndpoint"
        for asked, given, what in (
            (wanted.mac_address, made.mac_address, "MAC address"),
            (wanted.address, made.address, "address"),
            (wanted.address_ipv6, made.address_ipv6, "IPv6 address"),
        ):
            if asked and given:
                problem = f"driver modified interface {what}: {given} instead of {asked}"
                raise BadAnswer(self._client.name, method, problem)
        if made.mac_address:
            endpoint = msgspec.structs.replace(endpoint, mac=made.mac_address.lower())
        if made.address:
            address = self._interface(made.address, method)
            endpoint = msgspec.structs.replace(
                endpoint, ipv4=str(address.ip), ipv4_prefix=address.network.prefixlen
            )
        if made.address_ipv6:
            address = self._interface(made.address_ipv6, method)
            endpoint = msgspec.structs.replace(
                endpoint, ipv6=str(address.ip), ipv6_prefix=address.network.prefixlen
            )
        return endpoint

    def _joined(self, endpoint: EndpointSettings, said: _Joined) -> Joined:
        routes = tuple(self._route(route) for route in said.static_routes)
        leads_out = bool(said.gateway or said.gateway_ipv6) or any(
            route.destination in DEFAULT_ROUTES for route in routes
        )
        name = said.interface_name or _InterfaceName()
        return Joined(
            endpoint=msgspec.structs.replace(
                endpoint,
                gateway=self._gateway(said.gateway, 4),
                ipv6_gateway=self._gateway(said.gateway_ipv6, 6),
                interface=self._named(endpoint.interface, name.dst_prefix),
            ),
            source=name.src_name,
            routes=routes,
            needs_egress=not (leads_out or said.disable_gateway_service),
        )

    def _named(self, interface: str, prefix: str) -> str:
        """``eth1`` with the plugin's prefix for it. The number is unique in a container."""
        if not prefix:
            return interface
        number = interface[len(interface.rstrip("0123456789")) :]
        if not _PREFIX.fullmatch(prefix) or len(prefix + number) > 15:
            problem = f"DstPrefix {prefix!r} is not the beginning of an interface's name"
            raise BadAnswer(self._client.name, "NetworkDriver.Join", problem)
        return f"{prefix}{number}"

    def _gateway(self, text: str, version: int) -> str:
        if not text:
            return ""
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            address = None
        if address is None or address.version != version:
            problem = f"unable to parse Gateway {text!r}: it is not an IPv{version} address"
            raise BadAnswer(self._client.name, "NetworkDriver.Join", problem)
        return str(address)

    def _route(self, route: _Route) -> StaticRoute:
        method = "NetworkDriver.Join"
        destination = self._interface(route.destination, method).network
        if route.route_type == CONNECTED:
            return StaticRoute(str(destination))
        return StaticRoute(str(destination), self._gateway(route.next_hop, destination.version))

    def _interface(
        self, text: str, method: str
    ) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
        try:
            return ipaddress.ip_interface(text)
        except ValueError as error:
            raise BadAnswer(
                self._client.name, method, f"{text!r} is not ADDRESS/PREFIX: {error}"
            ) from error


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch()


def _data(pool: IpamPool) -> _IpamData:
    prefix = pool.subnet.partition("/")[2]
    return _IpamData(
        "LocalDefault",
        pool.subnet,
        f"{pool.gateway}/{prefix}" if pool.gateway else "",
        {name: f"{address}/{prefix}" for name, address in pool.aux_addresses.items()},
    )


def _cidr(address: str, prefix: int) -> str:
    return f"{address}/{prefix}" if address else ""
