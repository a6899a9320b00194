"""``IpamDriver``: subnets and addresses that a plugin gives out."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import msgspec

from sampan.aio import shielded
from sampan.network.contract import AddressTaken, BadAddress, NoAddressLeft
from sampan.network.drivers.contract import Lease, Pool, PoolRequest
from sampan.network.ipam import parse_subnet
from sampan.plugins.client import PluginClient
from sampan.plugins.errors import BadAnswer, PluginFailed, PluginRefused
from sampan.plugins.wire import Answer
from sampan.store.records import IpamPool

log = logging.getLogger(__name__)

GATEWAY = "com.docker.network.gateway"
"""In a pool's data: its gateway; as the type of a request: the address is for the gateway."""
ADDRESS_TYPE = "RequestAddressType"
UNDO_S = 10.0
"""How long giving back may take when a request has failed in its middle."""
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MAC = "com.docker.network.endpoint.macaddress"


class _Capabilities(Answer, frozen=True, rename="pascal", kw_only=True):
    requires_mac_address: bool = msgspec.field(default=False, name="RequiresMACAddress")
    requires_request_replay: bool = False


class _Spaces(Answer, frozen=True, rename="pascal", kw_only=True):
    local_default_address_space: str = ""


class _RequestPool(msgspec.Struct, rename="pascal"):
    address_space: str
    pool: str
    sub_pool: str
    options: Mapping[str, str]
    v6: bool


class _PoolGiven(Answer, frozen=True, rename="pascal", kw_only=True):
    pool_id: str = msgspec.field(default="", name="PoolID")
    pool: str = ""
    data: dict[str, str] = {}


class _ReleasePool(msgspec.Struct, rename="pascal"):
    pool_id: str = msgspec.field(name="PoolID")


class _RequestAddress(msgspec.Struct, rename="pascal"):
    pool_id: str = msgspec.field(name="PoolID")
    address: str
    options: Mapping[str, str]


class _AddressGiven(Answer, frozen=True, rename="pascal", kw_only=True):
    address: str = ""


class _ReleaseAddress(msgspec.Struct, rename="pascal"):
    pool_id: str = msgspec.field(name="PoolID")
    address: str


@dataclass(frozen=True, slots=True)
class _Knowledge:
    """What the plugin said of itself."""

    space: str
    needs_mac: bool
    replay: bool
    """It has forgotten everything after the daemon's restart, and is asked for the same again."""


class PluginIpamDriver:
    """See ``sampan.network.drivers.contract.IpamDriver``."""

    def __init__(self, client: PluginClient, knowledge: _Knowledge) -> None:
        self._client = client
        self._knowledge = knowledge
        self._owners: dict[tuple[str, str], str] = {}
        """(pool id, address) -> owner: the protocol has none, and without it a second release would
        free an address that is another container's meanwhile."""

    @classmethod
    async def open(cls, client: PluginClient) -> PluginIpamDriver:
        """Ask the plugin what it needs, and the name of its address space for this host.

        Raises:
            PluginFailed: it does not answer.
        """
        try:
            can = await client.call("IpamDriver.GetCapabilities", None, _Capabilities)
        except PluginRefused as error:
            log.debug("%s: taken as without capabilities", error)
            can = _Capabilities()
        spaces = await client.call("IpamDriver.GetDefaultAddressSpaces", None, _Spaces)
        return cls(
            client,
            _Knowledge(
                spaces.local_default_address_space,
                can.requires_mac_address,
                can.requires_request_replay,
            ),
        )

    async def request_pool(self, request: PoolRequest) -> Pool:
        for text in filter(None, (request.subnet, request.ip_range)):
            parse_subnet(text)
        async with AsyncExitStack() as undo:
            given = await self._pool(
                request.subnet, request.ip_range, request.options, v6=request.version == 6
            )
            undo.push_async_callback(self._undo, self._release_pool, given.pool_id)
            subnet = self._network(given.pool, "RequestPool")
            gateway = request.gateway or given.data.get(GATEWAY, "").partition("/")[0]
            if gateway and not _inside(gateway, subnet):
                raise BadAddress(f"the gateway {gateway} is not in the subnet {subnet}")
            if request.gateway or not gateway:  # else it came with the pool
                gateway = await self._address(
                    given.pool_id, gateway, {ADDRESS_TYPE: GATEWAY}, network=subnet
                )
                undo.push_async_callback(self._undo, self._release_address, given.pool_id, gateway)
            for address in request.aux_addresses.values():
                await self._address(given.pool_id, address, {}, network=subnet)
                undo.push_async_callback(self._undo, self._release_address, given.pool_id, address)
            undo.pop_all()
        record = IpamPool(
            subnet=str(subnet),
            gateway=gateway,
            ip_range=request.ip_range,
            aux_addresses=request.aux_addresses,
            id=given.pool_id,
        )
        return Pool(request.network_id, record)

    async def release_pool(self, pool: Pool) -> None:
        record = pool.record
        for address in (record.gateway, *record.aux_addresses.values()):
            if address:
                await _forgiving(self._release_address(record.id, address))
        await _forgiving(self._release_pool(record.id))

    async def restore_pool(self, pool: Pool) -> None:
        if not self._knowledge.replay:
            return
        record = pool.record
        v6 = ":" in record.subnet
        given = await self._pool(record.subnet, record.ip_range, {}, v6=v6)
        network = self._network(given.pool, "RequestPool")
        if record.gateway:
            options = {ADDRESS_TYPE: GATEWAY}
            await self._address(given.pool_id, record.gateway, options, network=network)
        for address in record.aux_addresses.values():
            await self._address(given.pool_id, address, {}, network=network)

    async def request_address(
        self, pool: Pool, owner: str, *, wanted: str = "", mac: str = ""
    ) -> Lease:
        options = {MAC: mac} if mac and self._knowledge.needs_mac else {}
        network = self._network(pool.record.subnet, "RequestAddress")
        if wanted and not _inside(wanted, network):
            raise BadAddress(f"the address {wanted} is not in the subnet {network}")
        self._check_owner(pool, owner, wanted)
        try:
            address = await self._address(pool.record.id, wanted, options, network=network)
        except PluginRefused as error:
            # The protocol has one way to refuse: this is nearly always why.
            raise (AddressTaken if wanted else NoAddressLeft)(str(error)) from error
        self._check_owner(pool, owner, address)
        self._owners[pool.record.id, address] = owner
        return Lease(address=address)

    async def restore_address(self, pool: Pool, owner: str, address: str) -> None:
        self._check_owner(pool, owner, address)
        if self._knowledge.replay and (pool.record.id, address) not in self._owners:
            await self.request_address(pool, owner, wanted=address)
        self._owners[pool.record.id, address] = owner

    def _check_owner(self, pool: Pool, owner: str, address: str) -> None:
        """Raises AddressTaken. A plugin may have forgotten what it gave before it was restarted."""
        if self._owners.get((pool.record.id, address), owner) != owner:
            raise AddressTaken(f'plugin "{self._client.name}": the address {address} is in use')

    def quarantine_address(self, pool: Pool, owner: str, address: str) -> None:
        """Nothing: the plugin hears of it when the address is released."""

    async def release_address(self, pool: Pool, owner: str, address: str) -> None:
        if self._owners.get((pool.record.id, address)) == owner:
            await _forgiving(self._release_address(pool.record.id, address))
            del self._owners[pool.record.id, address]

    # -- the calls

    async def _pool(
        self, subnet: str, ip_range: str, options: Mapping[str, str], *, v6: bool
    ) -> _PoolGiven:
        request = _RequestPool(self._knowledge.space, subnet, ip_range, options, v6)
        given = await self._client.call("IpamDriver.RequestPool", request, _PoolGiven)
        if not given.pool_id:
            raise BadAnswer(self._client.name, "IpamDriver.RequestPool", "it gives no PoolID")
        return given

    async def _address(
        self, pool_id: str, address: str, options: Mapping[str, str], *, network: _Network
    ) -> str:
        method = "IpamDriver.RequestAddress"
        request = _RequestAddress(pool_id, address, options)
        answer = await self._client.call(method, request, _AddressGiven)
        given = answer.address.partition("/")[0]
        if not _inside(given, network):
            problem = f"the address {answer.address!r} is not in the pool {network}"
            raise BadAnswer(self._client.name, method, problem)
        return given

    async def _release_pool(self, pool_id: str) -> None:
        await self._client.call("IpamDriver.ReleasePool", _ReleasePool(pool_id), Answer)

    async def _release_address(self, pool_id: str, address: str) -> None:
        request = _ReleaseAddress(pool_id, address)
        await self._client.call("IpamDriver.ReleaseAddress", request, Answer)

    async def _undo(
        self, release: Callable[..., Coroutine[object, object, None]], *words: str
    ) -> None:
        """Also when the caller was cancelled: what was given to nobody is given back."""
        try:
            await shielded(_forgiving(release(*words)), deadline_s=UNDO_S)
        except (PluginFailed, TimeoutError) as error:
            # what failed before is what the caller is told
            log.warning('plugin "%s": %s is not given back: %s', self._client.name, words, error)

    def _network(self, subnet: str, method: str) -> _Network:
        try:
            return ipaddress.ip_network(subnet)
        except ValueError as error:
            raise BadAnswer(
                self._client.name, f"IpamDriver.{method}", f"{subnet!r} is not a subnet: {error}"
            ) from error


async def _forgiving(release: Coroutine[object, object, None]) -> None:
    """Most plugins refuse to release what is free already, which the contract asks for."""
    try:
        await release
    except PluginRefused as error:
        log.info("%s: taken as released", error)


def _inside(address: str, network: _Network) -> bool:
    try:
        return ipaddress.ip_address(address) in network
    except ValueError:
        return False
