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
import contextlib
import errno
import hashlib
import ipaddress
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from sampan.config import DaemonConfig
from sampan.kernel import netlink
from sampan.kernel.linux import Linux
from sampan.network import books
from sampan.network.books import SandboxBook, Segment
from sampan.network.contract import AddressTaken, BadAddress
from sampan.network.drivers.driver import Driver
from sampan.network.worker import Worker
from sampan.store.records import EndpointSettings, IpamPool, Network

NAME = "docker_gwbridge"


class Gateway:
    def __init__(
        self,
        config: DaemonConfig,
        worker: Worker,
        driver: Driver,
        create: Callable[[Network], Awaitable[Network]],
    ) -> None:
        """Args:
        create: makes the network and enters it into the books.
        """
        self._config, self._worker, self._driver, self._create = config, worker, driver, create
        self.id = hashlib.sha256(f"{NAME} {config.instance.suffix}".encode()).hexdigest()
        self.segment: Segment | None = None
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

    def adopt(self, network: Network) -> Segment:
        self.segment = Segment.of(network)
        return self.segment

    async def enter(self, book: SandboxBook) -> None:
        """Give a container its way out, unless it has one; it is its default route, unless another
        network is. On failure nothing is left."""
        if book.way_out is not None:
            return
        async with self._making:
            if self.segment is None:
                self.adopt(await self._create(self._wanted()))
        segment = self.segment
        assert segment is not None
        owner, network = book.sandbox.container_id, segment.network
        wanted = EndpointSettings(network_id=self.id, network_name=NAME)
        made, _ = books.assign(segment, book, wanted)
        made = replace(made, endpoint_id=endpoint_id(owner))
        default = not book.default_route
        # In the books before anything is awaited: its interface's name is taken.
        book.way_out = made
        try:
            await self._worker.run(
                lambda: self._driver.join(book.sandbox.path, network, made, default_route=default)
            )
        except BaseException:
            book.way_out = None
            books.give_back(segment, owner, made, cool=False)
            raise
        if default:
            book.default_route = self.id

    async def retire(self, book: SandboxBook) -> None:
        """Another network is to give the default route."""
        way_out = book.way_out
        if way_out is None or book.default_route != self.id:
            return
        linux = self._worker.linux
        await self._worker.run(
            lambda: linux.netns.run_inside(
                book.sandbox.path, lambda: lose_default_route(linux, way_out)
            )
        )
        book.default_route = ""

    async def restore(self, book: SandboxBook) -> None:
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
            found = await self._worker.run(lambda: linux.netns.run_inside(book.sandbox.path, look))
        except FileNotFoundError:
            return
        if found is None:
            return
        address, interface, default = found
        pool = segment.pools[0]
        endpoint = EndpointSettings(
            network_id=self.id,
            network_name=NAME,
            endpoint_id=endpoint_id(book.sandbox.container_id),
            ipv4=address,
            ipv4_prefix=subnet.prefixlen,
            gateway=pool.pool.gateway,
            interface=interface,
        )
        with contextlib.suppress(AddressTaken, BadAddress):
            books.take_back(segment, book.sandbox.container_id, endpoint)
        book.way_out = endpoint
        if default:
            book.default_route = self.id

    def _wanted(self) -> Network:
        return Network(
            id=self.id,
            name=NAME,
            driver="bridge",
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
