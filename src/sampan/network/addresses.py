"""Subnets of networks and addresses of endpoints, asked of the IPAM driver that a network names."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Literal

from msgspec.structs import replace

from sampan.drivers import Registry
from sampan.network import sandbox_state
from sampan.network.contract import BadAddress
from sampan.network.drivers.contract import IpamDriver, Lease, Pool, PoolRequest
from sampan.network.ipam import Subnet, parse_address, parse_subnet
from sampan.network.sandbox_state import NetworkState
from sampan.network.subnets import Taken
from sampan.store.records import EndpointSettings, IpamPool, Network


class Addresses:
    def __init__(self, drivers: Registry[IpamDriver]) -> None:
        self._drivers = drivers

    # -- subnets

    async def request_pools(
        self, wanted: Network, taken: Sequence[Taken], attempt: int
    ) -> tuple[IpamPool, ...]:
        """The subnets of a new network: those the user named, and one for each IP version that he
        wants and named none of. On failure nothing is taken.

        Raises:
            SubnetOverlap, NoAddressLeft, BadAddress; UnknownIpamDriver.
        """
        ipam = await self._drivers.find(wanted.ipam_driver)
        found: list[IpamPool] = []
        async with AsyncExitStack() as undo:
            for asked in _asked(wanted):
                uses = [
                    *taken,
                    *(Taken(parse_subnet(p.subnet), "another pool of this network") for p in found),
                ]
                request = PoolRequest(
                    network_id=wanted.id,
                    version=asked[0],
                    subnet=asked[1].subnet,
                    ip_range=asked[1].ip_range,
                    gateway=asked[1].gateway,
                    aux_addresses=asked[1].aux_addresses,
                    options=wanted.ipam_options,
                    taken=uses,
                    attempt=attempt,
                )
                pool = await ipam.request_pool(request)
                undo.push_async_callback(ipam.release_pool, pool)
                found.append(pool.record)
            undo.pop_all()
        return tuple(found)

    async def restore_pools(self, network: Network) -> None:
        """They are in use, no matter who chose them."""
        if network.pools:
            ipam = await self._drivers.find(network.ipam_driver)
            for pool in _pools(network):
                await ipam.restore_pool(pool)

    async def release_pools(self, network: Network) -> None:
        """Idempotent."""
        if network.pools:
            ipam = await self._drivers.find(network.ipam_driver)
            for pool in _pools(network):
                await ipam.release_pool(pool)

    # -- addresses

    async def assign(
        self, segment: NetworkState, endpoint: EndpointSettings, owner: str
    ) -> tuple[EndpointSettings, bool]:
        """``endpoint`` with addresses, gateways and MAC; whether to wait until others have left.
        On failure nothing is taken.

        Raises:
            AddressTaken, NoAddressLeft, BadAddress, InvalidArgument
        """
        network, capabilities = segment.network, segment.capabilities
        if capabilities.addresses == "none":
            return endpoint, False
        if capabilities.addresses == "driver" or not network.pools:
            from_address = capabilities.mac_from_address
            mac = sandbox_state.mac_of(endpoint.mac_wanted, None, from_address=from_address)
            return replace(endpoint, mac=mac), False
        ipam = await self._drivers.find(network.ipam_driver)
        got: dict[int, tuple[Pool, Lease]] = {}
        async with AsyncExitStack() as undo:
            for version, text in ((4, endpoint.ipv4_wanted), (6, endpoint.ipv6_wanted)):
                pool = _pool_for(network, version, text)
                if pool is None:
                    continue
                lease = await ipam.request_address(
                    pool, owner, wanted=text, mac=endpoint.mac_wanted
                )
                undo.push_async_callback(ipam.release_address, pool, owner, lease.address)
                got[version] = (pool, lease)
            made = _filled(segment, endpoint, got)
            undo.pop_all()
        return made, any(lease.quarantined for _, lease in got.values())

    async def restore(self, segment: NetworkState, endpoint: EndpointSettings, owner: str) -> None:
        """After a restart of the daemon. Raises AddressTaken, BadAddress."""
        for pool, address in _held(segment, endpoint):
            ipam = await self._drivers.find(segment.network.ipam_driver)
            await ipam.restore_address(pool, owner, address)

    def quarantine(self, segment: NetworkState, endpoint: EndpointSettings, owner: str) -> None:
        """The endpoint is leaving; ``release`` comes when it has left."""
        name = segment.network.ipam_driver
        for pool, address in _held(segment, endpoint):
            if name in self._drivers:  # else it gives nothing to anybody before it is found
                self._drivers.get(name).quarantine_address(pool, owner, address)

    async def release(self, segment: NetworkState, endpoint: EndpointSettings, owner: str) -> None:
        """Nothing answers for the endpoint's addresses. Idempotent."""
        for pool, address in _held(segment, endpoint):
            ipam = await self._drivers.find(segment.network.ipam_driver)
            await ipam.release_address(pool, owner, address)


def _asked(wanted: Network) -> list[tuple[Literal[4, 6], IpamPool]]:
    """(IP version, what the user said) of every subnet that the network needs."""
    found: list[tuple[Literal[4, 6], IpamPool]] = []
    for pool in wanted.pools:
        text = pool.subnet or pool.ip_range
        six = bool(text) and parse_subnet(text).version == 6
        found.append((6 if six else 4, pool))
    versions = {version for version, _ in found}
    if wanted.enable_ipv4 and 4 not in versions:
        found.insert(0, (4, IpamPool(subnet="")))
    if wanted.enable_ipv6 and 6 not in versions:
        found.append((6, IpamPool(subnet="")))
    return found


def _pools(network: Network) -> list[Pool]:
    return [Pool(network.id, record) for record in network.pools]


def _subnet(record: IpamPool) -> Subnet:
    return parse_subnet(record.subnet)


def _pool_for(network: Network, version: int, wanted: str) -> Pool | None:
    """The pool that has the wanted address, or the first of the version.

    Raises:
        BadAddress: no pool has it.
    """
    of_version = [p for p in _pools(network) if _subnet(p.record).version == version]
    if not wanted:
        return next(iter(of_version), None)
    address = parse_address(wanted)
    found = next((p for p in of_version if address in _subnet(p.record)), None)
    if found is None:
        raise BadAddress(
            f"invalid address {wanted}: it does not belong to any of the subnets of "
            f"network {network.name}"
        )
    return found


def _held(segment: NetworkState, endpoint: EndpointSettings) -> list[tuple[Pool, str]]:
    """The addresses that the IPAM driver has given to an endpoint."""
    if segment.capabilities.addresses != "ipam":
        return []
    return [
        (pool, text)
        for text in (endpoint.ipv4, endpoint.ipv6)
        if text
        for pool in _pools(segment.network)
        if parse_address(text) in _subnet(pool.record)
    ]


def _filled(
    segment: NetworkState, endpoint: EndpointSettings, got: dict[int, tuple[Pool, Lease]]
) -> EndpointSettings:
    """Raises InvalidArgument."""
    capabilities = segment.capabilities
    # Nobody answers for the gateway of a network that leads nowhere: the way out is another's.
    leads_out = capabilities.default_route and not segment.network.internal
    first = parse_address(got[4][1].address) if 4 in got else None
    mac = sandbox_state.mac_of(
        endpoint.mac_wanted, first, from_address=capabilities.mac_from_address
    )
    made = replace(endpoint, mac=mac)
    if 4 in got:
        pool, lease = got[4]
        made = replace(
            made,
            ipv4=lease.address,
            ipv4_prefix=_subnet(pool.record).prefixlen,
            gateway=pool.record.gateway if leads_out else "",
        )
    if 6 in got:
        pool, lease = got[6]
        made = replace(
            made,
            ipv6=lease.address,
            ipv6_prefix=_subnet(pool.record).prefixlen,
            ipv6_gateway=pool.record.gateway if leads_out else "",
        )
    return made
