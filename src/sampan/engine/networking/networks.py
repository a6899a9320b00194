"""Networks as objects: made, removed, found; and who is on them."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Mapping

import msgspec

from sampan.aio import KeyedLocks
from sampan.engine.networking import modes
from sampan.engine.observe.emit_events import EventEmitter
from sampan.engine.parts import Parts
from sampan.errors import Conflict, Forbidden, InvalidArgument
from sampan.network.contract import DEFAULT_DRIVER, PREDEFINED
from sampan.store.records import Container, EndpointSettings, IpamPool, Network, Phase

log = logging.getLogger(__name__)

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\- ]*")


class NetworkIndex:
    def __init__(self, parts: Parts, emit: EventEmitter) -> None:
        self._parts, self._emit = parts, emit
        self._locks = KeyedLocks()
        """By name: of two creations at once, the second must see the first."""

    def get(self, ref: str) -> Network:
        return modes.find_network(self._parts.store, ref)

    def all(self) -> list[Network]:
        return list(self._parts.store.networks.values())

    def users(self, network: Network) -> Mapping[str, EndpointSettings]:
        """Running containers' ids -> their endpoints."""
        return {
            container.id: endpoint
            for container in self._parts.store.containers.values()
            if container.running
            for endpoint in container.networks.values()
            if endpoint.network_id == network.id
        }

    async def create(self, wanted: Network) -> Network:
        """Kernel first, row last: a crash in between leaves a bridge that no row knows, which
        goes at the next start.

        Raises:
            Conflict: the name is taken. Forbidden: it is a predefined one. And what the driver
                says.
        """
        name = wanted.name
        if not _NAME.fullmatch(name):
            raise InvalidArgument(f"invalid network name: {name!r}".replace("'", '"'))
        if name in PREDEFINED:
            raise Forbidden(f"operation is not permitted on predefined {name} network")
        async with self._locks.hold(name):
            if any(n.name == name for n in self._parts.store.networks.values()):
                raise Conflict(f"network with name {name} already exists")
            network = await self._make(
                msgspec.structs.replace(
                    wanted,
                    id=wanted.id or secrets.token_hex(32),
                    driver=wanted.driver or DEFAULT_DRIVER,
                    created_at=wanted.created_at or self._parts.clock.now(),
                )
            )
        self._emit.network("create", network)
        return network

    async def _make(self, wanted: Network) -> Network:
        network = await self._parts.networks.create(wanted)
        try:
            self._parts.store.transact(lambda tx: tx.networks.put(network))
        except BaseException:
            await self._parts.networks.remove(network)
            raise
        return network

    async def predefine(self) -> None:
        """Make ``bridge``, ``host`` and ``none`` if they are not there yet. Their ids stay."""
        have = {n.name: n for n in self._parts.store.networks.values()}
        config = self._parts.config
        if (bip := config.default_bridge_subnet) and (known := have.get("bridge")) is not None:
            wanted_pools = _pools_of(bip)
            if known.pools and known.pools[0].subnet != wanted_pools[0].subnet:
                log.warning(
                    "bip %s has no effect: the network bridge has been %s since this root was made",
                    bip, known.pools[0].subnet,
                )  # fmt: skip
        for name in PREDEFINED:
            if name in have:
                continue
            wanted = Network(
                id=secrets.token_hex(32),
                name=name,
                driver=PREDEFINED[name],
                created_at=self._parts.clock.now(),
                predefined=True,
            )
            if PREDEFINED[name] == DEFAULT_DRIVER:
                subnet = config.default_bridge_subnet
                wanted = msgspec.structs.replace(
                    wanted,
                    bridge=config.instance.default_bridge,
                    pools=_pools_of(subnet) if subnet else (),
                    options={
                        "com.docker.network.bridge.default_bridge": "true",
                        "com.docker.network.bridge.enable_icc": "true",
                        "com.docker.network.bridge.enable_ip_masquerade": "true",
                        "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
                        "com.docker.network.bridge.name": config.instance.default_bridge,
                        "com.docker.network.driver.mtu": "1500",
                    },
                )
            await self._make(wanted)

    async def remove(self, ref: str) -> None:
        """Raises NoSuchNetwork; Forbidden: predefined, or a container is on it."""
        network = self.get(ref)
        if network.predefined:
            raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
        if users := self._active(network):
            raise Forbidden(
                f"error while removing network: network {network.name} id {network.id} has active "
                f"endpoints ({', '.join(users)})"
            )
        # Row first, in the same turn as the look at its users: no container can join from here on.
        self._parts.store.transact(lambda tx: tx.networks.delete(network.id))
        try:
            await self._parts.networks.remove(network)
        except BaseException:
            self._parts.store.transact(lambda tx: tx.networks.put(network))
            raise
        self._emit.network("destroy", network)

    def _active(self, network: Network) -> list[str]:
        return [
            f'name:"{c.name}" id:"{c.id[:12]}"'
            for c in self._parts.store.containers.values()
            if _active(c) and any(e.network_id == network.id for e in c.networks.values())
        ]


def _active(container: Container) -> bool:
    return container.run is not None and container.run.phase in (Phase.STARTING, Phase.RUNNING)


def _pools_of(address: str) -> tuple[IpamPool, ...]:
    """``bip``: the bridge's own address with its prefix."""
    import ipaddress  # 6 ms, and only at a daemon's very first start

    interface = ipaddress.ip_interface(address)
    gateway = "" if interface.ip == interface.network.network_address else str(interface.ip)
    return (IpamPool(subnet=str(interface.network), gateway=gateway),)
