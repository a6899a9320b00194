"""The way out for containers whose networks have none on this host: ``docker_gwbridge``.

An overlay network ends at the hosts; what its containers have to say to the world goes by a second
interface, on a bridge network of this host that nobody is told of: made when the first container
needs it, translated like every bridge network, its containers kept from one another. Ports that a
container publishes on its own host come in by it.

Nothing of it is written down. After a restart the bridge tells its subnet and the namespaces tell
their addresses.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import ipaddress
import logging
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from sampan.config import DaemonConfig
from sampan.kernel import netlink
from sampan.kernel.linux import Linux
from sampan.network.addresses import Addresses
from sampan.network.contract import DEFAULT_DRIVER, AddressTaken, BadAddress
from sampan.network.sandbox_state import NetworkState, SandboxState
from sampan.network.worker import NetworkWorker
from sampan.store.records import EndpointSettings, IpamPool, Network

log = logging.getLogger(__name__)

NAME = "docker_gwbridge"


class EgressNetwork:
    def __init__(
        self,
        config: DaemonConfig,
        worker: NetworkWorker,
        addresses: Addresses,
        create: Callable[[Network], Awaitable[NetworkState]],
    ) -> None:
        """Args:
        create: makes the network and enters it among the host's.
        """
        self._config, self._worker = config, worker
        self._addresses, self._create = addresses, create
        self.id = hashlib.sha256(f"{NAME} {config.instance.suffix}".encode()).hexdigest()
        self.segment: NetworkState | None = None
        self._making = asyncio.Lock()

    def find(self) -> Network | None:
        """The network, if an earlier daemon has made it. On the worker."""
        name = self._config.instance.bridge(self.id)
        index = self._worker.linux.index_of(name)
        if not index:
            return None
        for at, address in self._worker.netlink.addresses():
            if at == index and address.version == 4:
                pool = IpamPool(subnet=str(address.network), gateway=str(address.ip))
                return replace(self._wanted(), bridge=name, pools=(pool,))
        return None

    async def enter(self, state: SandboxState) -> None:
        """Give a container its way out, unless it has one; it is its default route, unless another
        network is. On failure nothing is left."""
        if state.egress is not None:
            return
        async with self._making:
            if self.segment is None:
                self.segment = await self._create(self._wanted())
        segment = self.segment
        owner = state.sandbox.container_id
        endpoint = EndpointSettings(
            network_id=self.id,
            network_name=NAME,
            endpoint_id=endpoint_id(owner),
            interface=state.free_interface(""),
        )
        default = not state.default_route
        # Written down before anything is awaited: its interface's name is taken.
        state.egress = endpoint
        made = endpoint
        try:
            made, _ = await self._addresses.assign(segment, endpoint, owner)
            assert segment.driver is not None
            joined = await segment.driver.join(
                segment.network, made, state.sandbox, default_route=default
            )
        except BaseException:
            state.egress = None
            await self._addresses.release(segment, made, owner)
            raise
        state.egress = joined.endpoint
        if default:
            state.default_route = self.id

    async def retire(self, state: SandboxState) -> None:
        """Another network is to give the default route."""
        egress = state.egress
        if egress is None or state.default_route != self.id:
            return
        linux = self._worker.linux
        await self._worker.run(
            lambda: linux.netns.run_inside(
                state.sandbox.path, lambda: lose_default_route(linux, egress)
            )
        )
        state.default_route = ""

    async def restore(self, state: SandboxState) -> None:
        """Take back what the namespace tells."""
        segment = self.segment
        if segment is None:
            return
        subnet = ipaddress.ip_network(segment.network.pools[0].subnet)
        linux = self._worker.linux

        def look() -> tuple[str, str, bool] | None:
            with linux.netlink() as inside:
                names = {link.index: link.name for link in inside.links()}
                outward = {r.interface for r in inside.routes() if not r.destination.prefixlen}
                for index, address in inside.addresses():
                    if address.ip in subnet:
                        return str(address.ip), names[index], index in outward
            return None

        try:
            found = await self._worker.run(lambda: linux.netns.run_inside(state.sandbox.path, look))
        except FileNotFoundError:
            return
        if found is None:
            return
        address, interface, default = found
        owner = state.sandbox.container_id
        endpoint = EndpointSettings(
            network_id=self.id,
            network_name=NAME,
            endpoint_id=endpoint_id(owner),
            ipv4=address,
            ipv4_prefix=subnet.prefixlen,
            gateway=segment.network.pools[0].gateway,
            interface=interface,
        )
        try:
            await self._addresses.restore(segment, endpoint, owner)
        except (AddressTaken, BadAddress) as error:
            # It runs on with the address that it has; refusing to start helps nobody.
            log.error("container %.12s, way out: %s", owner, error)
        state.egress = endpoint
        # Also of a driver that says so only when a container joins.
        state.inward = state.inward or {e.network_id for e in state.endpoints.values()}
        if default:
            state.default_route = self.id

    def _wanted(self) -> Network:
        return Network(
            id=self.id,
            name=NAME,
            driver=DEFAULT_DRIVER,
            created_at=0.0,
            options={"com.docker.network.bridge.enable_icc": "false"},
        )


def endpoint_id(container_id: str) -> str:
    """Of a container's endpoint on the gateway's network: its interface can be named without
    anything written down."""
    return hashlib.sha256(f"{NAME} {container_id}".encode()).hexdigest()


def lose_default_route(linux: Linux, endpoint: EndpointSettings) -> None:
    """In the sandbox: another network gives the way out now."""
    with linux.netlink() as inside:
        gone = netlink.default_route(
            endpoint.gateway, linux.index_of(endpoint.interface), delete=True
        )
        (outcome,) = inside.request(gone)
        if outcome is not None and outcome.errno != errno.ESRCH:
            raise outcome
