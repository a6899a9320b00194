"""Networks without a kernel: the addresses of the real one, nothing behind them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from sampan.drivers import Registry
from sampan.network.contract import (
    DEFAULT_IPAM,
    ContainerNet,
    EtcFiles,
    NoSubnetLeft,
    PortTaken,
    Sandbox,
    SubnetOverlap,
    Survivor,
)
from sampan.network.drivers.bridge import BridgeDriver
from sampan.network.drivers.contract import (
    NetworkCapabilities,
    NetworkDriver,
    UnknownIpamDriver,
    UnknownNetworkDriver,
)
from sampan.network.drivers.null import NullDriver
from sampan.network.drivers.overlay import OverlayDriver
from sampan.network.ipam import Subnetwork, complete, overlapping, parse_subnet
from sampan.store.records import EndpointSettings, IpamPool, Network, PortBinding, PublishedPort

FIRST_FREE_PORT = 32768
KINDS: dict[str, tuple[NetworkCapabilities, tuple[str, ...]]] = {
    "bridge": (BridgeDriver.capabilities, ()),
    "host": (NullDriver(names=False).capabilities, ()),
    "null": (NullDriver(names=True).capabilities, ("none",)),
    "overlay": (OverlayDriver.capabilities, ()),
}
"""Driver -> what it can, and what else it is called."""


class FakeNetworkDriver(NullDriver):
    """Says what it can, and does nothing."""

    def __init__(self, capabilities: NetworkCapabilities) -> None:
        self.capabilities = capabilities


def network_drivers() -> Registry[NetworkDriver]:
    """As the built-in ones are called."""
    drivers: Registry[NetworkDriver] = Registry("network driver", UnknownNetworkDriver)
    register_network_drivers(drivers)
    return drivers


def register_network_drivers(drivers: Registry[NetworkDriver]) -> None:
    for name, (capabilities, aliases) in KINDS.items():
        drivers.register(name, FakeNetworkDriver(capabilities), *aliases)


class FakeNetworks:
    """Fulfils ``Networks`` in memory. ``sandboxes``, ``ports`` and ``names`` are there to look at.

    Set ``fail_next`` to an exception and the next ``attach`` or ``publish`` raises it.
    """

    def __init__(self, state: Path = Path("/nonexistent")) -> None:
        self._state = state
        self.drivers = network_drivers()
        self.networks: dict[str, Network] = {}
        self.sandboxes: dict[str, Sandbox] = {}
        self.endpoints: dict[tuple[str, str], EndpointSettings] = {}
        self.ports: dict[str, tuple[PublishedPort, ...]] = {}
        self.names: dict[tuple[str, str], tuple[str, ...]] = {}
        self.fail_next: Exception | None = None
        self._subnetworks: dict[str, Subnetwork] = {}

    async def create(self, wanted: Network) -> Network:
        if wanted.ipam_driver != DEFAULT_IPAM:
            raise UnknownIpamDriver(wanted.ipam_driver)
        if self.drivers.get(wanted.driver).capabilities.addresses == "none":
            self.networks[wanted.id] = wanted
            return wanted
        taken = [parse_subnet(p.subnet) for n in self.networks.values() for p in n.pools]
        pool = next((p for p in wanted.pools if p.subnet and ":" not in p.subnet), None)
        if pool is None:
            free = (f"172.{number}.0.0/16" for number in range(17, 32))
            found = next((s for s in free if not _meets(s, taken)), None)
            if found is None:
                raise NoSubnetLeft("all predefined address pools have been fully subnetted")
            pool = IpamPool(subnet=found)
        pool = complete(pool)
        if _meets(pool.subnet, taken):
            raise SubnetOverlap(
                f"Pool overlaps with other one on this address space: {pool.subnet}"
            )
        made = replace(wanted, pools=(pool,), bridge=f"br-{wanted.id[:12]}")
        self.networks[made.id] = made
        self._subnetworks[made.id] = Subnetwork(pool)
        return made

    async def remove(self, network: Network) -> None:
        self.networks.pop(network.id, None)
        self._subnetworks.pop(network.id, None)

    async def open_sandbox(self, container: ContainerNet) -> Sandbox:
        sandbox = Sandbox(container.container_id, self._state / "netns" / container.container_id)
        self.sandboxes[container.container_id] = sandbox
        return sandbox

    async def close_sandbox(self, container_id: str) -> None:
        await self.unpublish(container_id)
        self.sandboxes.pop(container_id, None)
        for owner, network_id in list(self.endpoints):
            if owner == container_id:
                self._leave(owner, network_id)

    async def attach(
        self, sandbox: Sandbox, network: Network, wanted: EndpointSettings, *, default_route: bool
    ) -> EndpointSettings:
        self._maybe_fail()
        key = (sandbox.container_id, network.id)
        made = replace(wanted, network_id=network.id, endpoint_id=secrets.token_hex(32))
        if (subnetwork := self._subnetworks.get(network.id)) is not None:
            owner = sandbox.container_id
            if wanted.ipv4_wanted:
                address = subnetwork.take(wanted.ipv4_wanted, owner)
            else:
                address = subnetwork.allocate(owner)
            on = sum(1 for c, _ in self.endpoints if c == sandbox.container_id)
            made = replace(
                made,
                ipv4=str(address),
                ipv4_prefix=subnetwork.subnet.prefixlen,
                gateway="" if network.internal else subnetwork.pool.gateway,
                mac=wanted.mac_wanted or "02:42:" + address.packed.hex(":"),
                interface=f"eth{on}",
            )
        self.endpoints[key] = made
        return made

    async def detach(self, sandbox: Sandbox, network: Network, endpoint: EndpointSettings) -> None:
        self._leave(sandbox.container_id, network.id)

    async def publish(
        self,
        sandbox: Sandbox,
        endpoint: EndpointSettings,
        network: Network,
        wanted: dict[str, tuple[PortBinding, ...]],
    ) -> tuple[PublishedPort, ...]:
        self._maybe_fail()
        taken: set[tuple[str, int]] = {
            (p.protocol, p.host_port) for ports in self.ports.values() for p in ports
        }
        made: list[PublishedPort] = []
        for spec, bindings in wanted.items():
            number, _, protocol = spec.partition("/")
            for binding in bindings or (PortBinding(),):
                host_port = int(binding.host_port.partition("-")[0] or 0)
                if not host_port:
                    host_port = FIRST_FREE_PORT
                    while (protocol, host_port) in taken:
                        host_port += 1
                address = binding.host_ip or "0.0.0.0"
                if (protocol, host_port) in taken:
                    raise PortTaken(
                        f"Bind for {address}:{host_port} failed: port is already allocated"
                    )
                taken.add((protocol, host_port))
                made.append(
                    PublishedPort(
                        container_port=int(number),
                        protocol=protocol,  # type: ignore[arg-type]
                        host_ip=address,
                        host_port=host_port,
                    )
                )
        self.ports[sandbox.container_id] = self.ports.get(sandbox.container_id, ()) + tuple(made)
        return tuple(made)

    async def unpublish(self, container_id: str) -> None:
        self.ports.pop(container_id, None)

    def etc_files(
        self, container: ContainerNet, endpoints: Sequence[EndpointSettings], *, host_network: bool
    ) -> EtcFiles:
        lines = ["127.0.0.1\tlocalhost"]
        lines += [f"{e.ipv4}\t{container.hostname}" for e in endpoints if e.ipv4]
        servers = container.dns or ("127.0.0.11",)
        return EtcFiles(
            hosts="\n".join(lines) + "\n",
            hostname=container.hostname + "\n",
            resolv_conf="".join(f"nameserver {server}\n" for server in servers),
        )

    async def name(
        self, sandbox: Sandbox, network: Network, endpoint: EndpointSettings, names: Sequence[str]
    ) -> None:
        self.names[sandbox.container_id, network.id] = tuple(names)

    async def rename(self, container_id: str, old: str, new: str) -> None:
        for key, names in self.names.items():
            if key[0] == container_id:
                self.names[key] = tuple(new if name == old else name for name in names)

    async def start(self, networks: Sequence[Network]) -> None:
        for network in networks:
            self.networks[network.id] = network
            if network.pools:
                self._subnetworks.setdefault(network.id, Subnetwork(network.pools[0]))

    async def restore(self, live: Sequence[Survivor]) -> None:
        for survivor in live:
            container, names = survivor.container, survivor.names
            await self.open_sandbox(container)
            self.ports[container.container_id] = survivor.ports
            for endpoint in survivor.endpoints:
                key = (container.container_id, endpoint.network_id)
                self.endpoints[key] = endpoint
                self.names[key] = tuple(names)
                if endpoint.ipv4 and endpoint.network_id in self._subnetworks:
                    self._subnetworks[endpoint.network_id].take(
                        endpoint.ipv4, container.container_id
                    )
        alive = {survivor.container.container_id for survivor in live}
        for container_id in set(self.sandboxes) - alive:
            await self.close_sandbox(container_id)

    async def stop(self) -> None:
        return

    def _maybe_fail(self) -> None:
        if (error := self.fail_next) is not None:
            self.fail_next = None
            raise error

    def _leave(self, container_id: str, network_id: str) -> None:
        endpoint = self.endpoints.pop((container_id, network_id), None)
        self.names.pop((container_id, network_id), None)
        if endpoint is not None and endpoint.ipv4 and network_id in self._subnetworks:
            self._subnetworks[network_id].release(endpoint.ipv4, container_id)


def _meets(subnet: str, taken: Sequence[object]) -> bool:
    return any(overlapping(parse_subnet(subnet), other) for other in taken)  # type: ignore[arg-type]
