"""``default``: this host's own address management, in memory. What is given is in the store's
records; after a restart they are told again (``restore_pool``, ``restore_address``)."""

from __future__ import annotations

from sampan.config import DaemonConfig
from sampan.errors import InvalidArgument
from sampan.network.contract import BadAddress
from sampan.network.drivers.contract import Lease, Pool, PoolRequest
from sampan.network.ipam import Subnetwork, complete, parse_address, parse_subnet
from sampan.network.subnets import BUILT_IN_POOLS, choose, choose_ula, refuse_overlap
from sampan.store.records import IpamPool


class HostIpam:
    """Fulfils ``IpamDriver``. Nothing here waits."""

    def __init__(self, config: DaemonConfig) -> None:
        self._config = config
        self._subnets: dict[tuple[str, str], Subnetwork] = {}
        """(network, CIDR) -> who has which of its addresses."""

    async def request_pool(self, request: PoolRequest) -> Pool:
        if request.options:
            raise InvalidArgument(
                f"the IPAM driver default has no option {', '.join(sorted(request.options))}: "
                "leave it out, or name the --ipam-driver that it is for"
            )
        record = IpamPool(
            subnet=request.subnet,
            gateway=request.gateway,
            ip_range=request.ip_range,
            aux_addresses=request.aux_addresses,
        )
        if record.subnet:
            record = complete(record)
            refuse_overlap(parse_subnet(record.subnet), request.taken)
        elif record.gateway or record.ip_range or record.aux_addresses:
            raise BadAddress("a gateway, ip-range or aux-address needs a --subnet")
        elif request.version == 6:
            ula = choose_ula(request.network_id, self._config.default_address_pools)
            record = complete(IpamPool(subnet=str(ula)))
        else:
            pools = self._config.default_address_pools or BUILT_IN_POOLS
            free = choose(pools, request.taken, attempt=request.attempt)
            record = complete(IpamPool(subnet=str(free)))
        pool = Pool(request.network_id, record)
        await self.restore_pool(pool)
        return pool

    async def release_pool(self, pool: Pool) -> None:
        self._subnets.pop(_key(pool), None)

    async def restore_pool(self, pool: Pool) -> None:
        self._subnets.setdefault(_key(pool), Subnetwork(pool.record))

    async def request_address(
        self, pool: Pool, owner: str, *, wanted: str = "", mac: str = ""
    ) -> Lease:
        subnet = self._subnets[_key(pool)]
        given = subnet.take(wanted, owner) if wanted else subnet.allocate(owner)
        return Lease(address=str(given), quarantined=subnet.is_quarantined(given))

    async def restore_address(self, pool: Pool, owner: str, address: str) -> None:
        self._subnets[_key(pool)].take(address, owner)

    def quarantine_address(self, pool: Pool, owner: str, address: str) -> None:
        if (subnet := self._subnets.get(_key(pool))) is not None:
            subnet.release(address, owner, quarantine=True)

    async def release_address(self, pool: Pool, owner: str, address: str) -> None:
        subnet = self._subnets.get(_key(pool))
        if subnet is None:
            return
        number = int(parse_address(address))
        if subnet.used.get(number) == owner and subnet.quarantined.get(number) != owner:
            subnet.release(address, owner)
        else:
            # Of one who has left. That it is in use again, by the same owner too, is another lease.
            subnet.leave_quarantine([address])


def _key(pool: Pool) -> tuple[str, str]:
    return pool.network_id, pool.record.subnet
