"""Every driver keeps to the contract, on the kernel in memory and, as root, on the real one."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from sampan.aio import SystemClock, Tasks
from sampan.config import DaemonConfig, Paths
from sampan.engine.drivers import Drivers
from sampan.errors import Forbidden
from sampan.kernel import netlink
from sampan.kernel.linux import HOST, Linux
from sampan.network.builtin import BuiltinDrivers
from sampan.network.dns_control import DnsControl
from sampan.network.drivers.contract import NetworkDriver
from sampan.network.worker import NetworkWorker
from sampan.store.records import Network
from sampan.testing.contracts.network_driver import NetworkDriverContract
from sampan.testing.linux import FakeLinux
from sampan.testing.toy_network import ToyNetworkDriver


async def nobody_left() -> None:
    return


@pytest.fixture(params=["fake", "host"])
async def worker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[NetworkWorker]:
    kernel: Linux = FakeLinux().linux
    if request.param == "host":
        if os.geteuid() != 0:
            pytest.skip("needs root")
        kernel = HOST
    made = NetworkWorker(kernel)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def drivers(worker: NetworkWorker, tmp_path: Path) -> AsyncIterator[Drivers]:
    """The built-in ones."""
    paths = Paths(tmp_path / "root", tmp_path / "state")
    for directory in (paths.root, paths.state, paths.state / "overlay"):
        directory.mkdir()
    config, clock, tasks = DaemonConfig(paths=paths), SystemClock(), Tasks()
    names = DnsControl(config, clock, worker, tasks)
    builtin = BuiltinDrivers(config, worker, names, clock, tasks, nobody_left)
    found = Drivers()
    builtin.register(found.network, found.ipam)
    await worker.run(lambda: builtin.install([], []))
    yield found
    await tasks.close()
    await builtin.overlay.close()
    firewall = builtin.firewall
    assert firewall is not None
    table = firewall.table
    await worker.run(lambda: worker.nft.run(f"delete table inet {table}"))


class _Contract(NetworkDriverContract):
    @pytest.fixture
    async def worker(self, worker: NetworkWorker) -> NetworkWorker:
        return worker


class TestBridge(_Contract):
    @pytest.fixture
    async def driver(self, drivers: Drivers) -> NetworkDriver:
        return drivers.network.get("bridge")


class TestOverlay(_Contract):
    @pytest.fixture
    async def driver(self, drivers: Drivers) -> NetworkDriver:
        return drivers.network.get("overlay")


class _Predefined(_Contract):
    @pytest.fixture
    def wanted(self) -> Network:
        return Network(id="0" * 64, name="x", driver="x", created_at=1.0, predefined=True)


class TestHost(_Predefined):
    @pytest.fixture
    async def driver(self, drivers: Drivers) -> NetworkDriver:
        return drivers.network.get("host")


class TestNull(_Predefined):
    @pytest.fixture
    async def driver(self, drivers: Drivers) -> NetworkDriver:
        return drivers.network.get("none")


class TestToy(_Contract):
    @pytest.fixture
    async def driver(self, worker: NetworkWorker) -> NetworkDriver:
        def look() -> int:
            (outcome,) = worker.netlink.request(netlink.add_link("x", "macvlan"))
            return 0 if outcome is None else outcome.errno or 0

        if await worker.run(look) == errno.EOPNOTSUPP:
            pytest.skip("this kernel has no macvlan")
        return ToyNetworkDriver(worker.linux)


def test_the_drivers_that_come_with_sampan(drivers: Drivers) -> None:
    assert drivers.network.names() == ("bridge", "host", "null", "overlay")
    assert drivers.ipam.names() == ("default",)


async def test_host_and_null_have_one_network_each(drivers: Drivers) -> None:
    mine = Network(id="1" * 64, name="mine", driver="host", created_at=1.0)
    for name in ("host", "null"):
        with pytest.raises(Forbidden, match=f'only one instance of "{name}"'):
            await drivers.network.get(name).create(replace(mine, driver=name))
