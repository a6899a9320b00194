"""The facade: what is where on the event loop, kernel work in the drivers, in this order.

attach: address (IPAM) -> interface (driver) -> way out, if the network has none -> endpoint
publish: host port (a held socket) -> DNAT element (kernel)
close: names -> ports -> endpoints (driver, in the background) -> namespace -> addresses, once
       nothing answers for them

Which driver does it is the registry's affair; what must be known of one is in its capabilities.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from secrets import token_hex

from msgspec.structs import replace

from sampan.aio import Clock, KeyedLocks, Tasks, in_thread
from sampan.config import DaemonConfig
from sampan.drivers import Registry
from sampan.errors import Conflict, InvalidArgument, SampanError
from sampan.kernel.linux import Linux
from sampan.network.addresses import Addresses
from sampan.network.builtin import BuiltinDrivers
from sampan.network.contract import (
    ContainerNet,
    EtcFiles,
    NoSuchNetwork,
    NotPublished,
    Sandbox,
    SubnetOverlap,
    Survivor,
)
from sampan.network.dns_control import DnsControl
from sampan.network.drivers.contract import IpamDriver, Joined, NetworkDriver
from sampan.network.drivers.veth import give_default_route, let_go, take_in
from sampan.network.egress import EgressNetwork
from sampan.network.hostnet import subnets_in_use
from sampan.network.ipam import parse_subnet
from sampan.network.leaving import Leaving
from sampan.network.naming import Naming
from sampan.network.ports import default_address, parse_requests
from sampan.network.publishing import Publisher
from sampan.network.restoring import interfaces, revive, take_back
from sampan.network.sandbox import make
from sampan.network.sandbox_state import OPTION_INTERFACE, NetworkState, SandboxState
from sampan.network.subnets import Taken
from sampan.network.sweep import sweep
from sampan.network.worker import NetworkWorker
from sampan.store.records import EndpointSettings, IpamPool, Network, PortBinding, PublishedPort

log = logging.getLogger(__name__)

_ATTEMPTS = 16


@asynccontextmanager
async def open_networks(
    config: DaemonConfig,
    clock: Clock,
    linux: Linux,
    drivers: Registry[NetworkDriver],
    ipam: Registry[IpamDriver],
) -> AsyncIterator[HostNetworks]:
    """The host's networks. Leaving does what ``stop`` says.

    Args:
        drivers, ipam: the built-in drivers are entered in them; others may be, before and after.
    """
    worker, tasks = NetworkWorker(linux), Tasks()
    await worker.open()
    networks = HostNetworks(config, clock, worker, tasks, drivers, ipam)
    try:
        yield networks
    finally:
        await networks.stop()
        await tasks.close()
        await networks.overlay.close()
        await worker.close()


class HostNetworks:
    """Fulfils ``Networks`` on this host."""

    def __init__(
        self,
        config: DaemonConfig,
        clock: Clock,
        worker: NetworkWorker,
        tasks: Tasks,
        drivers: Registry[NetworkDriver],
        ipam: Registry[IpamDriver],
    ) -> None:
        self._config, self._worker, self._tasks = config, worker, tasks
        self._linux = worker.linux
        self._drivers, self._ipam = drivers, ipam
        self._segments: dict[str, NetworkState] = {}
        self._sandboxes: dict[str, SandboxState] = {}
        self._choosing: dict[str, tuple[IpamPool, ...]] = {}
        """Subnets of networks that are being made, by network."""
        self._finding = KeyedLocks()
        self._names = DnsControl(config, clock, worker, tasks)
        self._naming = Naming(self._names, self._segments, self._sandboxes)
        self._addresses = Addresses(ipam)
        self._builtin = BuiltinDrivers(
            config, worker, self._names, clock, tasks, self._close_egress
        )
        self._builtin.register(drivers, ipam)
        self.overlay = self._builtin.overlay
        self._publisher = Publisher(worker, self._builtin.firewall, tasks, clock)
        self._egress = EgressNetwork(config, worker, self._addresses, self._create)
        self._leaving = Leaving(self._addresses, tasks)

    # -- segments

    async def create(self, wanted: Network) -> Network:
        return (await self._create(wanted)).network

    async def _create(self, wanted: Network) -> NetworkState:
        driver = await self._drivers.find(wanted.driver)
        driver.validate(wanted)
        if driver.capabilities.addresses == "ipam" and driver.capabilities.scope == "local":
            made = await self._create_with_subnets(driver, wanted)
        else:
            made = await driver.create(wanted)
            await self._addresses.restore_pools(made)
        self._segments[made.id] = NetworkState(made, driver)
        return self._segments[made.id]

    async def _create_with_subnets(self, driver: NetworkDriver, wanted: Network) -> Network:
        """Raises: SubnetOverlap, NoAddressLeft, BadAddress; and what the driver says."""
        chosen_by_user = any(pool.subnet for pool in wanted.pools)
        for attempt in range(_ATTEMPTS):
            uses = await self._worker.run(
                lambda: subnets_in_use(self._worker.netlink, but=wanted.bridge)
            )
            # In one turn with the choice: of two at once, the second sees the first's.
            uses = self._subnets(but=wanted.id) + uses
            pools = await self._addresses.request_pools(wanted, uses, attempt)
            self._choosing[wanted.id] = pools
            try:
                return await driver.create(replace(wanted, pools=pools))
            except SubnetOverlap:
                await self._addresses.release_pools(replace(wanted, pools=pools))
                if chosen_by_user:
                    raise
            except BaseException:
                await self._addresses.release_pools(replace(wanted, pools=pools))
                raise
            finally:
                del self._choosing[wanted.id]
        raise SubnetOverlap("other daemons keep taking the subnets chosen here: try again")

    def _subnets(self, *, but: str) -> list[Taken]:
        """What this daemon's networks use."""
        every = {s.network.id: (s.network.name, s.network.pools) for s in self._segments.values()}
        every |= {id: ("that is being made", pools) for id, pools in self._choosing.items()}
        return [
            Taken(parse_subnet(pool.subnet), f"network {name}")
            for network_id, (name, pools) in every.items()
            if network_id != but
            for pool in pools
        ]

    async def remove(self, network: Network) -> None:
        await self._leaving.settled(network.id)
        segment = self._segments.get(network.id)
        if segment is not None and segment.driver is not None:
            driver = segment.driver
        else:
            driver = await self._drivers.find(network.driver)
        await driver.remove(network)
        if self._segments.pop(network.id, None) is not None:
            await self._addresses.release_pools(network)

    async def _driver_of(self, segment: NetworkState) -> NetworkDriver:
        """The driver of a network, which is true again with it: a plugin may have started after
        the daemon. Suspends only for one that is not known yet.

        Raises:
            SampanError: there is none, or it cannot make the network true.
        """
        driver = segment.driver
        if driver is None:
            async with self._finding.hold(segment.network.id):
                driver = segment.driver or await self._drivers.find(segment.network.driver)
                if segment.driver is None:
                    await self._ensure(segment.network, driver)
                    segment.driver = driver
                    await revive(segment, self._sandboxes.values(), self._addresses)
        return driver

    async def _ensure(self, network: Network, driver: NetworkDriver) -> None:
        """Make a network of before the daemon's start true again."""
        await self._addresses.restore_pools(network)
        await driver.ensure(network)

    async def _find_again(self, segment: NetworkState) -> None:
        try:
            await self._driver_of(segment)
        except (OSError, SampanError) as error:
            log.warning(
                "network %s goes on as it is, and the next container on it tries again: %s",
                segment.network.name,
                error,
            )

    # -- sandboxes

    async def open_sandbox(self, container: ContainerNet) -> Sandbox:
        path = self._path(container.container_id)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._worker.run, lambda: self._linux.netns.delete(path))
            await self._worker.run(lambda: make(self._linux, path, container.sysctls))
            sandbox = Sandbox(container.container_id, path)
            self._sandboxes[container.container_id] = SandboxState(container, sandbox)
            undo.pop_all()
            return sandbox

    async def close_sandbox(self, container_id: str) -> None:
        await self.unpublish(container_id)
        self._names.close(container_id)
        state = self._sandboxes.pop(container_id, None)
        if state is not None:
            for network_id, endpoint in state.endpoints.items():
                self._leave(state.sandbox, network_id, endpoint, closing=True)
            if state.egress is not None:
                self._leave(state.sandbox, self._egress.id, state.egress, closing=True)
        path = self._path(container_id)
        await self._worker.run(lambda: self._linux.netns.delete(path))

    async def attach(
        self, sandbox: Sandbox, network: Network, wanted: EndpointSettings, *, default_route: bool
    ) -> EndpointSettings:
        segment = self._segment(network)
        state = self._state_of(sandbox)
        if network.id in state.endpoints:
            raise Conflict(
                f"endpoint with name {state.container.name} already exists "
                f"in network {network.name}"
            )
        chosen = wanted.driver_opts.get(OPTION_INTERFACE, "")
        endpoint = replace(
            wanted,
            network_id=network.id,
            network_name=network.name,
            endpoint_id=token_hex(32),
            interface=state.free_interface(chosen) if segment.has_interfaces else "",
        )
        # Taken at once, before anything is awaited: a second attach must see the name as taken.
        state.endpoints[network.id] = endpoint
        async with AsyncExitStack() as undo:
            undo.callback(state.endpoints.pop, network.id, None)
            driver = await self._driver_of(segment)
            made, wait = await self._addresses.assign(segment, endpoint, sandbox.container_id)
            undo.push_async_callback(self._addresses.release, segment, made, sandbox.container_id)
            state.endpoints[network.id] = made
            if wait:
                await self._leaving.settled(network.id)
            default_route = default_route and segment.capabilities.default_route
            if default_route:
                await self._egress.retire(state)
            joined = await driver.join(network, made, sandbox, default_route=default_route)
            made = joined.endpoint

            async def part() -> None:
                await driver.leave(network, made, sandbox, closing=False)

            undo.push_async_callback(part)
            state.endpoints[network.id] = made
            await self._set_up(joined, sandbox, default_route=default_route)
            if segment.needs_egress(joined):
                undo.callback(state.inward.discard, network.id)
                state.inward.add(network.id)
                await self._egress.enter(state)
            if default_route:
                state.default_route = network.id
            undo.pop_all()
        return made

    async def _set_up(self, joined: Joined, sandbox: Sandbox, *, default_route: bool) -> None:
        """Move an interface of the driver's into the sandbox, if it has left that to us."""
        endpoint, source = joined.endpoint, joined.source
        if source:
            await self._worker.run(
                lambda: take_in(
                    self._worker,
                    source,
                    sandbox.path,
                    endpoint,
                    joined.routes,
                    default_route=default_route,
                ),
                lambda: let_go(self._linux, sandbox.path, endpoint),
            )

    async def detach(self, sandbox: Sandbox, network: Network, endpoint: EndpointSettings) -> None:
        container_id = sandbox.container_id
        self._names.leave(container_id, network.id)
        state = self._sandboxes.get(container_id)
        if state is None:
            return
        held = state.endpoints.pop(network.id, None)
        state.names.pop(network.id, None)
        if held is None:
            return
        self._leave(sandbox, network.id, held, closing=False)
        state.inward.discard(network.id)
        if state.egress is not None and not state.inward:
            egress, state.egress = state.egress, None
            self._leave(sandbox, self._egress.id, egress, closing=False)
            if state.default_route == self._egress.id:
                state.default_route = ""
        await self._leaving.done(container_id)
        if state.default_route in (network.id, ""):
            await self._route_otherwise(state)

    async def _route_otherwise(self, state: SandboxState) -> None:
        """The default route's network has gone: another's gateway is the next."""
        state.default_route = ""
        others = dict(state.endpoints)
        if state.egress is not None:
            others[self._egress.id] = state.egress
        for network_id, other in others.items():
            if other.gateway or other.ipv6_gateway:
                state.default_route = network_id
                await self._worker.run(
                    lambda other=other: self._linux.netns.run_inside(  # type: ignore[misc]
                        state.sandbox.path, lambda: give_default_route(self._linux, other)
                    )
                )
                return

    def _leave(
        self, sandbox: Sandbox, network_id: str, endpoint: EndpointSettings, *, closing: bool
    ) -> None:
        """Take an endpoint away behind the caller's back."""
        segment = self._segments.get(network_id)
        if segment is None or segment.driver is None:
            return

        def tidy() -> None:
            let_go(self._linux, sandbox.path, endpoint)

        async def after() -> None:
            if not closing and endpoint.interface:
                await self._worker.run(tidy)

        self._leaving.begin(segment, sandbox, endpoint, closing=closing, after=after)

    # -- ports

    async def publish(
        self,
        sandbox: Sandbox,
        endpoint: EndpointSettings,
        network: Network,
        wanted: dict[str, tuple[PortBinding, ...]],
    ) -> tuple[PublishedPort, ...]:
        segment: NetworkState | None = self._segment(network)
        capabilities = self._segment(network).capabilities
        if not capabilities.publishes:
            # From the host its container is reached by its way out.
            egress, segment = self._state_of(sandbox).egress, self._egress.segment
            endpoint = egress or endpoint
            if egress is None:
                if wanted and not network.internal and capabilities.addresses != "none":
                    raise NotPublished(network)
                return ()
        if segment is None or segment.network.internal:
            return ()
        requests = parse_requests(wanted, default_address(segment.network), ipv6=_has_ipv6())
        veth = self._config.instance.veth(endpoint.endpoint_id)
        return await self._publisher.publish(sandbox.container_id, endpoint, requests, veth)

    async def unpublish(self, container_id: str) -> None:
        await self._publisher.unpublish(container_id)

    # -- names

    def etc_files(
        self, container: ContainerNet, endpoints: Sequence[EndpointSettings], *, host_network: bool
    ) -> EtcFiles:
        return self._naming.etc_files(container, endpoints, host_network=host_network)

    async def name(
        self, sandbox: Sandbox, network: Network, endpoint: EndpointSettings, names: Sequence[str]
    ) -> None:
        await self._naming.name(self._state_of(sandbox), self._segment(network), endpoint, names)

    async def rename(self, container_id: str, old: str, new: str) -> None:
        self._naming.rename(container_id, old, new)

    # -- life of the daemon

    async def start(self, networks: Sequence[Network]) -> None:
        self._config.paths.netns.mkdir(parents=True, exist_ok=True, mode=0o711)
        gateway = await self._worker.run(self._egress.find)
        for network in [*networks, *filter(None, (gateway,))]:
            self._segments[network.id] = NetworkState(network, self._known_driver(network))
        if gateway is not None:
            self._egress.segment = self._segments[gateway.id]
        cluster_bridges = await self.overlay.load()
        segments = list(self._segments.values())
        await self._worker.run(lambda: self._builtin.install(segments, cluster_bridges))
        for segment in segments:
            if segment.driver is not None:
                await self._ensure(segment.network, segment.driver)

    def _known_driver(self, network: Network) -> NetworkDriver | None:
        """None: somebody else's, who may not have started yet; nobody waits for that here."""
        if network.driver in self._drivers and network.ipam_driver in self._ipam:
            return self._drivers.get(network.driver)
        return None

    async def restore(self, live: Sequence[Survivor]) -> None:
        ports = []
        for survivor in live:
            container_id = survivor.container.container_id
            sandbox = Sandbox(container_id, self._path(container_id))
            state = take_back(survivor, sandbox, self._segments, self._names)
            self._sandboxes[container_id] = state
            if state.inward or not state.default_route:
                await self._egress.restore(state)
            ports.append((container_id, state.ways(), survivor.ports))
        for segment in self._segments.values():
            if segment.driver is not None:
                await revive(segment, self._sandboxes.values(), self._addresses)
            else:
                self._tasks.spawn(self._find_again(segment), name="network/find")
        await self._publisher.restore(ports)
        if not await self.overlay.restore():
            await self._close_egress()
        await self._names.settle(set(self._sandboxes))
        keep = interfaces(self._config, self._segments.values(), self._sandboxes.values())
        keep |= self.overlay.interfaces()
        alive = frozenset(self._sandboxes)
        await in_thread(sweep, self._linux, self._config, keep=keep, sandboxes=alive)

    async def stop(self) -> None:
        await self._leaving.stop()
        await self._names.stop()
        await self._publisher.close()

    # -- inside

    def _path(self, container_id: str) -> Path:
        return self._config.paths.netns / container_id

    async def _close_egress(self) -> None:
        """The host has left its cluster."""
        network = self._egress.segment.network if self._egress.segment else None
        if network is not None and not any(state.egress for state in self._sandboxes.values()):
            self._egress.segment = None
            await self.remove(network)

    def _segment(self, network: Network) -> NetworkState:
        segment = self._segments.get(network.id)
        if segment is None:
            raise NoSuchNetwork(network.name)
        return segment

    def _state_of(self, sandbox: Sandbox) -> SandboxState:
        state = self._sandboxes.get(sandbox.container_id)
        if state is None:
            raise InvalidArgument(f"container {sandbox.container_id[:12]} has no sandbox")
        return state


def _has_ipv6() -> bool:
    return Path("/proc/net/if_inet6").exists()
