"""The facade: books on the event loop, kernel work in the worker thread, in this order.

attach: address (books) -> interface (kernel) -> endpoint (books)
publish: host port (a held socket) -> DNAT element (kernel)
close: names -> ports -> interfaces (reaper) -> namespace -> addresses, once nothing answers
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from sampan.aio import Clock, Tasks, in_thread
from sampan.config import DaemonConfig
from sampan.errors import Conflict, InvalidArgument, Unsupported
from sampan.kernel import netlink
from sampan.kernel.linux import Linux
from sampan.network import books, etc
from sampan.network.books import SandboxBook, Segment
from sampan.network.contract import (
    AddressTaken,
    BadAddress,
    ContainerNet,
    EtcFiles,
    NoSuchNetwork,
    Sandbox,
)
from sampan.network.drivers.bridge import BridgeDriver, Options, give_default_route, segment_of
from sampan.network.drivers.driver import Driver
from sampan.network.drivers.null import NullDriver
from sampan.network.drivers.overlay import OverlayDriver
from sampan.network.firewall import Firewall
from sampan.network.firewall import Segment as Bridge
from sampan.network.gateway import Gateway
from sampan.network.ipam import parse_subnet
from sampan.network.names import Names
from sampan.network.overlay.dataplane import HostOverlay
from sampan.network.overlay.spaces import Place
from sampan.network.ports import parse_wishes
from sampan.network.publishing import Publisher
from sampan.network.reaper import Reaper
from sampan.network.sandbox import make
from sampan.network.subnets import Taken
from sampan.network.sweep import sweep
from sampan.network.worker import Worker
from sampan.store.records import EndpointSettings, Network, PortBinding, PublishedPort

log = logging.getLogger(__name__)


@asynccontextmanager
async def open_networks(
    config: DaemonConfig, clock: Clock, linux: Linux
) -> AsyncIterator[HostNetworks]:
    """The host's networks. Leaving does what ``stop`` says."""
    worker, tasks = Worker(linux), Tasks()
    await worker.open()
    networks = HostNetworks(config, clock, worker, tasks)
    try:
        yield networks
    finally:
        await networks.stop()
        await tasks.close()
        await networks.overlay.close()
        await worker.close()


class HostNetworks:
    """Fulfils ``Networks`` on this host."""

    def __init__(self, config: DaemonConfig, clock: Clock, worker: Worker, tasks: Tasks) -> None:
        self._config, self._worker = config, worker
        self._linux = worker.linux
        self._firewall: Firewall | None = None
        if config.iptables:
            self._firewall = Firewall(worker.nft, config.instance.table)
        bridge = BridgeDriver(config, worker, self._firewall)
        self._drivers: dict[str, Driver] = {
            "bridge": bridge,
            "host": NullDriver(),
            "none": NullDriver(),
            "null": NullDriver(),
        }
        self._segments: dict[str, Segment] = {}
        self._books: dict[str, SandboxBook] = {}
        self._reaper = Reaper(worker.linux, config.instance.suffix, tasks)
        self._publisher = Publisher(worker, self._firewall, tasks)
        self._names = Names(config, clock, worker, tasks)
        self._creating = asyncio.Lock()
        self.overlay = HostOverlay(
            config,
            worker,
            self._firewall,
            self._names,
            clock,
            tasks,
            self._overlay_places,
            self._close_gateway,
        )
        self._drivers["overlay"] = OverlayDriver(config, worker, self._firewall, self.overlay)
        self._gateway = Gateway(config, worker, bridge, self.create)

    # -- segments

    async def create(self, wanted: Network) -> Network:
        driver = self._driver(wanted.driver)
        # One at a time: the next one must see this one's subnet.
        async with self._creating:
            known = [
                Taken(parse_subnet(pool.subnet), f"network {segment.network.name}")
                for segment in self._segments.values()
                if segment.network.id != wanted.id
                for pool in segment.network.pools
            ]
            async with AsyncExitStack() as undo:
                made = wanted

                async def unmake() -> None:
                    if made.bridge:
                        await self._worker.run(lambda: driver.remove(made))

                undo.push_async_callback(unmake)
                made = await self._worker.run(lambda: driver.create(wanted, known))
                self._segments[made.id] = Segment.of(made)
                undo.pop_all()
                return made

    async def remove(self, network: Network) -> None:
        await self._reaper.settled()
        driver = self._driver(network.driver)
        await self._worker.run(lambda: driver.remove(network))
        self._segments.pop(network.id, None)

    # -- sandboxes

    async def open_sandbox(self, container: ContainerNet) -> Sandbox:
        path = self._path(container.container_id)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._worker.run, lambda: self._linux.netns.delete(path))
            await self._worker.run(lambda: make(self._linux, path, container.sysctls))
            sandbox = Sandbox(container.container_id, path)
            self._books[container.container_id] = SandboxBook(container, sandbox)
            undo.pop_all()
            return sandbox

    async def close_sandbox(self, container_id: str) -> None:
        await self.unpublish(container_id)
        self._names.close(container_id)
        book = self._books.pop(container_id, None)
        if book is not None:
            for network_id, endpoint in book.endpoints.items():
                self._bury(network_id, container_id, endpoint)
            if book.way_out is not None:
                self._bury(self._gateway.id, container_id, book.way_out)
            if self._place(book).endpoints:
                self.overlay.closed(container_id)
        path = self._path(container_id)
        await self._worker.run(lambda: self._linux.netns.delete(path))

    async def attach(
        self, sandbox: Sandbox, network: Network, wanted: EndpointSettings, *, default_route: bool
    ) -> EndpointSettings:
        segment = self._segment(network)
        book = self._book(sandbox)
        if network.id in book.endpoints:
            raise Conflict(
                f"endpoint with name {book.container.name} already exists in network {network.name}"
            )
        driver = self._driver(network.driver)
        made, wait = books.assign(segment, book, wanted)
        owner = sandbox.container_id
        veth = self._config.instance.veth(made.endpoint_id)
        # Taken at once, before anything is awaited: a second attach must see the name as taken.
        book.endpoints[network.id] = made
        async with AsyncExitStack() as undo:
            undo.callback(books.give_back, segment, owner, made, cool=False)
            undo.callback(book.endpoints.pop, network.id, None)
            if wait:
                await self._reaper.settled()
            if driver.has_addresses:
                undo.push_async_callback(self._worker.run, lambda: self._delete_link(veth))
                if default_route and network.driver != "overlay":
                    await self._gateway.retire(book)
                await self._worker.run(
                    lambda: driver.join(sandbox.path, network, made, default_route=default_route)
                )
            if network.driver == "overlay":
                await self._join_cluster(book, network)
            elif default_route:
                book.default_route = network.id
            undo.pop_all()
        return made

    async def _join_cluster(self, book: SandboxBook, network: Network) -> None:
        """A way out, and what the cluster says, before the process runs."""
        if not network.internal:
            await self._gateway.enter(book)
        await self.overlay.joined(self._place(book))

    async def detach(self, sandbox: Sandbox, network: Network, endpoint: EndpointSettings) -> None:
        container_id = sandbox.container_id
        self._names.leave(container_id, network.id)
        book = self._books.get(container_id)
        if book is None:
            return
        held = book.endpoints.pop(network.id, None)
        book.names.pop(network.id, None)
        if held is None:
            return
        self._bury(network.id, container_id, held)
        if network.driver == "overlay":
            await self._leave_cluster(book)
        await self._reaper.settled()
        if book.default_route in (network.id, ""):
            book.default_route = ""
            others = dict(book.endpoints)
            if book.way_out is not None:
                others[self._gateway.id] = book.way_out
            for other_id, other in others.items():
                if other.gateway or other.ipv6_gateway:
                    book.default_route = other_id
                    await self._worker.run(
                        lambda other=other: self._linux.netns.run_inside(  # type: ignore[misc]
                            sandbox.path, lambda: give_default_route(self._linux, other)
                        )
                    )
                    break

    async def _leave_cluster(self, book: SandboxBook) -> None:
        place = self._place(book)
        if book.way_out is not None and not any(
            not self._segments[network_id].network.internal for network_id in place.endpoints
        ):
            self._bury(self._gateway.id, book.sandbox.container_id, book.way_out)
            book.way_out = None
            if book.default_route == self._gateway.id:
                book.default_route = ""
        await self.overlay.joined(place)

    # -- ports

    async def publish(
        self,
        sandbox: Sandbox,
        endpoint: EndpointSettings,
        network: Network,
        wanted: dict[str, tuple[PortBinding, ...]],
    ) -> tuple[PublishedPort, ...]:
        if network.driver == "overlay":
            # From the host a container of the cluster is reached by its way out.
            way_out, segment = self._book(sandbox).way_out, self._gateway.segment
            if way_out is None or segment is None:
                return ()
            endpoint, network = way_out, segment.network
        if network.driver != "bridge" or network.internal:
            return ()
        default_ip = Options.of(network).host_binding
        if default_ip == "0.0.0.0":
            default_ip = ""  # what Docker's default bridge says; it means every address
        wishes = parse_wishes(wanted, default_ip, ipv6=_has_ipv6())
        veth = self._config.instance.veth(endpoint.endpoint_id)
        return await self._publisher.publish(sandbox.container_id, endpoint, wishes, veth)

    async def unpublish(self, container_id: str) -> None:
        await self._publisher.unpublish(container_id)

    # -- names

    def etc_files(
        self, container: ContainerNet, endpoints: Sequence[EndpointSettings], *, host_network: bool
    ) -> EtcFiles:
        segments = [self._segments.get(e.network_id) for e in endpoints]
        embedded = not host_network and any(
            segment is not None and books.is_user_defined(segment.network) for segment in segments
        )
        gateways = [e.gateway for e in endpoints if e.gateway] or self._default_gateway()
        if host_network:
            gateways = ["127.0.0.1"]
        return etc.etc_files(
            container,
            endpoints,
            etc.host_resolver(),
            embedded=embedded,
            host_network=host_network,
            links=self._legacy_links(endpoints),
            host_gateway=gateways[:1],
        )

    async def name(
        self, sandbox: Sandbox, network: Network, endpoint: EndpointSettings, names: Sequence[str]
    ) -> None:
        book = self._book(sandbox)
        book.names[network.id] = tuple(names)
        if books.is_user_defined(network) and network.driver != "host":
            await self._names.serve(sandbox, book.container)
            self._names.join(sandbox.container_id, endpoint, names)

    async def rename(self, container_id: str, old: str, new: str) -> None:
        book = self._books.get(container_id)
        if book is None:
            return
        for network_id, names in book.names.items():
            changed = tuple(new if name == old else name for name in names)
            book.names[network_id] = changed
            segment = self._segments.get(network_id)
            if segment is not None and books.is_user_defined(segment.network):
                self._names.join(container_id, book.endpoints[network_id], changed)

    # -- life of the daemon

    async def start(self, networks: Sequence[Network]) -> None:
        self._config.paths.netns.mkdir(parents=True, exist_ok=True, mode=0o711)
        gateway = await self._worker.run(self._gateway.find)
        for network in networks:
            self._segments[network.id] = Segment.of(network)
        if gateway is not None:
            self._segments[gateway.id] = self._gateway.adopt(gateway)
            networks = [*networks, gateway]
        clustered = await self.overlay.load()
        await self._worker.run(lambda: self._make_true(networks, clustered))

    def _make_true(self, networks: Sequence[Network], clustered: Sequence[Bridge]) -> None:
        if self._config.ip_forward:
            self._linux.sysctl.ensure("net.ipv4.ip_forward", "1")
            with contextlib.suppress(FileNotFoundError):
                self._linux.sysctl.ensure("net.ipv6.conf.all.forwarding", "1")
        bridges = [network for network in networks if network.bridge]
        if self._firewall is not None:
            self._firewall.install([*map(self._bridge_of, bridges), *clustered])
            self._firewall.let_through()
        for network in networks:
            self._driver(network.driver).ensure(network)

    async def restore(
        self,
        live: Sequence[
            tuple[ContainerNet, Sequence[EndpointSettings], Sequence[PublishedPort], Sequence[str]]
        ],
    ) -> None:
        ports = []
        for container, endpoints, published, names in live:
            sandbox = Sandbox(container.container_id, self._path(container.container_id))
            book = SandboxBook(container, sandbox)
            self._books[container.container_id] = book
            for endpoint in endpoints:
                segment = self._segments.get(endpoint.network_id)
                if segment is None or not endpoint.endpoint_id:
                    continue
                try:
                    books.take_back(segment, container.container_id, endpoint)
                except (AddressTaken, BadAddress) as error:
                    # It runs on with the address that it has; refusing to start helps nobody.
                    log.error("container %.12s: %s", container.container_id, error)
                book.endpoints[endpoint.network_id] = endpoint
                if not book.default_route and (endpoint.gateway or endpoint.ipv6_gateway):
                    book.default_route = endpoint.network_id
                called = tuple(dict.fromkeys((*names, *endpoint.aliases)))
                book.names[endpoint.network_id] = called
                if books.is_user_defined(segment.network):
                    self._names.expect(sandbox, container)
                    self._names.join(container.container_id, endpoint, called)
            if self._place(book).endpoints:
                await self._gateway.restore(book)
            ways = (*book.endpoints.values(), *filter(None, (book.way_out,)))
            ports.append((container.container_id, ways, published))
        await self._publisher.restore(ports)
        if not await self.overlay.restore():
            await self._close_gateway()
        await self._names.settle(set(self._books))
        interfaces = {
            self._config.instance.veth(endpoint.endpoint_id)
            for book in self._books.values()
            for endpoint in (*book.endpoints.values(), *filter(None, (book.way_out,)))
        }
        bridges = {s.network.bridge for s in self._segments.values() if s.network.bridge}
        keep = interfaces | bridges | self.overlay.interfaces()
        await in_thread(
            sweep, self._linux, self._config, keep=keep, sandboxes=frozenset(self._books)
        )

    async def stop(self) -> None:
        await self._reaper.settled()
        await self._names.stop()
        self._publisher.close()

    # -- inside

    def _path(self, container_id: str) -> Path:
        return self._config.paths.netns / container_id

    def _driver(self, name: str) -> Driver:
        driver = self._drivers.get(name)
        if driver is None:
            raise Unsupported(
                f"could not find plugin {name} in v1 plugin registry: plugin not found; "
                "available network drivers: bridge, host, none, overlay"
            )
        return driver

    def _place(self, book: SandboxBook) -> Place:
        """What the overlay must know of a container."""
        endpoints = {
            network_id: endpoint
            for network_id, endpoint in book.endpoints.items()
            if (segment := self._segments.get(network_id)) is not None
            and segment.network.driver == "overlay"
        }
        return Place(book.sandbox.container_id, book.sandbox.path, endpoints)

    def _overlay_places(self) -> list[Place]:
        every = [self._place(book) for book in self._books.values()]
        return [place for place in every if place.endpoints]

    async def _close_gateway(self) -> None:
        """The host has left its cluster."""
        network = self._gateway.segment.network if self._gateway.segment else None
        if network is not None and not any(book.way_out for book in self._books.values()):
            self._gateway.segment = None
            await self.remove(network)

    def _bridge_of(self, network: Network) -> Bridge:
        if network.driver == "overlay":
            return self.overlay.segment(network.id, ingress=network.ingress)
        return segment_of(network)

    def _segment(self, network: Network) -> Segment:
        segment = self._segments.get(network.id)
        if segment is None:
            raise NoSuchNetwork(network.name)
        return segment

    def _book(self, sandbox: Sandbox) -> SandboxBook:
        book = self._books.get(sandbox.container_id)
        if book is None:
            raise InvalidArgument(f"container {sandbox.container_id[:12]} has no sandbox")
        return book

    def _bury(self, network_id: str, container_id: str, endpoint: EndpointSettings) -> None:
        """Take an endpoint apart; its addresses are free when nothing answers for them."""
        segment = self._segments.get(network_id)
        if segment is None or not endpoint.interface:
            return
        books.give_back(segment, container_id, endpoint, cool=True)
        self._reaper.bury(
            self._config.instance.veth(endpoint.endpoint_id),
            lambda: books.cooled(segment, endpoint),
        )

    def _delete_link(self, name: str) -> None:
        (outcome,) = self._worker.netlink.request(netlink.delete_link(name))
        if outcome is not None and outcome.errno != errno.ENODEV:
            raise outcome

    def _default_gateway(self) -> list[str]:
        return [
            pool.gateway
            for segment in self._segments.values()
            if segment.network.predefined
            for pool in segment.network.pools
        ]

    def _legacy_links(
        self, endpoints: Sequence[EndpointSettings]
    ) -> list[tuple[str, Sequence[str]]]:
        """``--link`` on the default bridge is lines in the hosts file, as ever."""
        found: list[tuple[str, Sequence[str]]] = []
        for endpoint in endpoints:
            segment = self._segments.get(endpoint.network_id)
            if segment is None or books.is_user_defined(segment.network):
                continue
            for link in endpoint.links:
                name, _, alias = link.partition(":")
                for book in self._books.values():
                    other = book.endpoints.get(endpoint.network_id)
                    if other and name in (book.container.name, book.container.container_id):
                        short = book.container.container_id[:12]
                        called = dict.fromkeys((alias or name, short, book.container.name))
                        found.append((other.ipv4, tuple(called)))
        return found


def _has_ipv6() -> bool:
    return Path("/proc/net/if_inet6").exists()
