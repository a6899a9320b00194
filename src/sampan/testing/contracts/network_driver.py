"""What every network driver keeps to. Subclass it as ``TestX`` and give ``driver``, ``kernel`` and,
where they differ, ``wanted`` and ``endpoint``.

What a driver leaves to the network (``Joined.source``) the suite does as the network does it.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from msgspec.structs import replace

from sampan.kernel.linux import Linux
from sampan.network.contract import Sandbox
from sampan.network.drivers.contract import Attached, Joined, NetworkDriver
from sampan.network.drivers.veth import let_go, take_in
from sampan.network.worker import NetworkWorker
from sampan.store.records import EndpointSettings, IpamPool, Network

SUBNET, GATEWAY = "10.214.7.0/24", "10.214.7.1"


class NetworkDriverContract:
    @pytest.fixture
    async def worker(self) -> NetworkWorker:
        """Open, of the kernel that the driver works on."""
        raise NotImplementedError

    @pytest.fixture
    async def driver(self, worker: NetworkWorker) -> NetworkDriver:
        raise NotImplementedError

    @pytest.fixture
    def wanted(self) -> Network:
        """A network that the driver makes, with its pools."""
        return Network(
            id=secrets.token_hex(32),
            name="n",
            driver="x",
            created_at=1.0,
            pools=(IpamPool(subnet=SUBNET, gateway=GATEWAY),),
        )

    @pytest.fixture
    def linux(self, worker: NetworkWorker) -> Linux:
        return worker.linux

    @pytest.fixture
    async def network(self, driver: NetworkDriver, wanted: Network) -> AsyncIterator[Network]:
        driver.validate(wanted)
        made = await driver.create(wanted)
        yield made
        await driver.remove(made)

    @pytest.fixture
    async def sandbox(self, worker: NetworkWorker, tmp_path: Path) -> AsyncIterator[Sandbox]:
        made = Sandbox(secrets.token_hex(32), tmp_path / "sandbox")
        await worker.run(lambda: worker.linux.netns.create(made.path, lambda: None))
        yield made
        await worker.run(lambda: worker.linux.netns.delete(made.path))

    def endpoint(self, driver: NetworkDriver, network: Network, number: int) -> EndpointSettings:
        """As the network gives it to ``join``."""
        made = EndpointSettings(
            network_id=network.id,
            network_name=network.name,
            endpoint_id=secrets.token_hex(32),
            interface="" if driver.capabilities.addresses == "none" else "eth0",
        )
        if driver.capabilities.addresses != "ipam":
            return made
        address = f"10.214.7.{number}"
        leads_out = driver.capabilities.default_route and not network.internal
        return replace(
            made,
            ipv4=address,
            ipv4_prefix=24,
            gateway=GATEWAY if leads_out else "",
            mac="02:42:0a:d6:07:" + f"{number:02x}",
        )

    async def joined(
        self,
        worker: NetworkWorker,
        driver: NetworkDriver,
        network: Network,
        sandbox: Sandbox,
        number: int = 2,
    ) -> Joined:
        """Join, and do what the network does."""
        asked = self.endpoint(driver, network, number)
        default = driver.capabilities.default_route
        joined = await driver.join(network, asked, sandbox, default_route=default)
        if joined.source:
            try:
                await worker.run(
                    lambda: take_in(
                        worker,
                        joined.source,
                        sandbox.path,
                        joined.endpoint,
                        joined.routes,
                        default_route=default,
                    )
                )
            except BaseException:
                await driver.leave(network, joined.endpoint, sandbox, closing=False)
                raise
        return joined

    async def part(
        self,
        worker: NetworkWorker,
        driver: NetworkDriver,
        network: Network,
        sandbox: Sandbox,
        joined: Joined,
    ) -> None:
        await driver.leave(network, joined.endpoint, sandbox, closing=False)
        if joined.source:
            await worker.run(lambda: let_go(worker.linux, sandbox.path, joined.endpoint))

    async def inside(
        self, worker: NetworkWorker, sandbox: Sandbox
    ) -> dict[str, tuple[bool, set[str]]]:
        """Interface -> (whether it is up, its IPv4 addresses)."""

        def look() -> dict[str, tuple[bool, set[str]]]:
            with worker.linux.netlink() as link:
                found: dict[int, set[str]] = {}
                for index, address in link.addresses():
                    if address.version == 4:
                        found.setdefault(index, set()).add(str(address))
                return {
                    one.name: (one.up, found.get(one.index, set()))
                    for one in link.links()
                    if one.name != "lo" and one.kind
                }

        return await worker.run(lambda: worker.linux.netns.run_inside(sandbox.path, look))

    async def host(self, worker: NetworkWorker) -> set[str]:
        """Names of the host's interfaces."""

        def look() -> set[str]:
            return {link.name for link in worker.netlink.links()}

        return await worker.run(look)

    # -- tests

    def test_capabilities_are_always_the_same(self, driver: NetworkDriver) -> None:
        assert driver.capabilities == driver.capabilities
        if driver.capabilities.addresses == "none":
            assert not driver.capabilities.publishes

    async def test_a_network_is_made_made_true_and_removed_twice(
        self, worker: NetworkWorker, driver: NetworkDriver, wanted: Network
    ) -> None:
        before = await self.host(worker)
        made = await driver.create(wanted)
        assert (made.id, made.name, made.pools) == (wanted.id, wanted.name, wanted.pools)
        there = await self.host(worker)
        if made.bridge:
            assert made.bridge in there - before
        await driver.ensure(made)
        assert await self.host(worker) == there
        await driver.remove(made)
        await driver.remove(made)
        assert await self.host(worker) == before

    async def test_a_network_that_was_never_made_is_removed(
        self, driver: NetworkDriver, wanted: Network
    ) -> None:
        await driver.remove(wanted)

    async def test_a_network_is_true_again_after_a_reboot(
        self, worker: NetworkWorker, driver: NetworkDriver, network: Network
    ) -> None:
        there = await self.host(worker)
        await driver.remove(network)
        await driver.ensure(network)
        await driver.restore(network, [])
        assert await self.host(worker) == there

    async def test_a_sandbox_joins_and_leaves(
        self, worker: NetworkWorker, driver: NetworkDriver, network: Network, sandbox: Sandbox
    ) -> None:
        before = await self.host(worker)
        joined = await self.joined(worker, driver, network, sandbox)
        seen = await self.inside(worker, sandbox)
        endpoint = joined.endpoint
        if driver.capabilities.addresses == "none":
            assert seen == {}
        else:
            assert seen == {"eth0": (True, {f"{endpoint.ipv4}/{endpoint.ipv4_prefix}"})}
        await self.part(worker, driver, network, sandbox, joined)
        await self.part(worker, driver, network, sandbox, joined)
        assert await self.inside(worker, sandbox) == {}
        assert await self.host(worker) == before

    async def test_the_next_has_the_address_of_who_has_left(
        self, worker: NetworkWorker, driver: NetworkDriver, network: Network, sandbox: Sandbox
    ) -> None:
        for _ in range(3):
            joined = await self.joined(worker, driver, network, sandbox)
            await self.part(worker, driver, network, sandbox, joined)

    async def test_a_sandbox_that_has_gone_is_left(
        self, worker: NetworkWorker, driver: NetworkDriver, network: Network, sandbox: Sandbox
    ) -> None:
        before = await self.host(worker)
        joined = await self.joined(worker, driver, network, sandbox)
        await worker.run(lambda: worker.linux.netns.delete(sandbox.path))
        await driver.leave(network, joined.endpoint, sandbox, closing=True)
        assert await self.host(worker) == before

    async def test_a_join_that_fails_leaves_nothing(
        self, worker: NetworkWorker, driver: NetworkDriver, network: Network, sandbox: Sandbox
    ) -> None:
        before = await self.host(worker)
        nowhere = Sandbox(sandbox.container_id, sandbox.path.with_name("nowhere"))
        # Who makes nothing has nothing that could fail.
        makes = driver.capabilities.addresses != "none"
        with pytest.raises(FileNotFoundError) if makes else nullcontext():
            await self.joined(worker, driver, network, nowhere)
        assert await self.host(worker) == before

    async def test_endpoints_are_taken_back_and_leave(
        self, worker: NetworkWorker, driver: NetworkDriver, network: Network, sandbox: Sandbox
    ) -> None:
        before = await self.host(worker)
        joined = await self.joined(worker, driver, network, sandbox)
        await driver.ensure(network)
        await driver.restore(network, [Attached(sandbox, joined.endpoint)])
        await self.part(worker, driver, network, sandbox, joined)
        assert await self.host(worker) == before
