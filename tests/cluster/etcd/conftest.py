"""Real members of etcd on loopback, each with its own directory."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pytest

from sampan.aio import SystemClock
from sampan.cluster.etcd.client import EtcdClient
from sampan.cluster.etcd.membership import Members
from sampan.cluster.etcd.process import EtcdProcess
from sampan.cluster.etcd.settings import EtcdSettings, PeerFiles
from sampan.cluster.etcd.store import EtcdStore
from sampan.cluster.schema import SCHEMA, Schema

T = TypeVar("T")


def free_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@dataclass
class Host:
    """A manager: the process, a client of it, and a store on that."""

    process: EtcdProcess
    client: EtcdClient
    store: EtcdStore
    member_id: int = 0

    @property
    def settings(self) -> EtcdSettings:
        return self.process.settings


class Fleet:
    """Managers of one cluster, numbered from 0."""

    def __init__(self, directory: Path, undo: AsyncExitStack) -> None:
        self.directory, self._undo = directory, undo
        self.hosts: list[Host] = []

    async def first(self) -> Host:
        return await self.run(
            EtcdSettings(directory=self.directory / "m0", name="m0", peer_url=free_url())
        )

    async def join(self, url: str = "", files: PeerFiles | None = None) -> Host:
        name, url = f"m{len(self.hosts)}", url or free_url()
        members = Members(self.hosts[0].client, SystemClock())
        async with members.joining(name, url) as admission:
            process = EtcdProcess(
                EtcdSettings(
                    directory=self.directory / name,
                    name=name,
                    peer_url=url,
                    peer_files=files,
                    initial=admission.initial,
                    state="existing",
                ),
                SystemClock(),
            )
            self._undo.push_async_callback(process.stop)
            await process.start()
        # only now: a learner answers nobody but its leader
        return await self._attach(process, admission.member_id)

    async def run(self, settings: EtcdSettings) -> Host:
        """A member on whatever its directory has."""
        process = EtcdProcess(settings, SystemClock())
        self._undo.push_async_callback(process.stop)
        await process.start()
        return await self._attach(process)

    async def _attach(self, process: EtcdProcess, member_id: int = 0) -> Host:
        client = EtcdClient(process.settings.socket)
        self._undo.push_async_callback(client.close)
        store = EtcdStore(client, SystemClock())
        self._undo.push_async_callback(store.close)
        await store.open()
        member_id = member_id or (await client.status()).header.member_id
        host = Host(process, client, store, member_id)
        self.hosts.append(host)
        return host

    async def halt(self, host: Host) -> None:
        """Its process ends with SIGKILL and is not started again."""
        host.process.removed.set()  # tells the supervision to let it lie
        host.process.kill()
        await host.process.stop()

    async def leader(self) -> Host:
        status = await self.hosts[0].client.status()
        return next(host for host in self.hosts if host.member_id == status.leader)

    def again(self, host: Host, **changes: object) -> EtcdSettings:
        return replace(host.settings, **changes)


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as undo:
        yield Fleet(tmp_path, undo)


@pytest.fixture
async def alone(fleet: Fleet) -> Host:
    return await fleet.first()


@pytest.fixture
async def three(fleet: Fleet) -> Fleet:
    await fleet.first()
    await fleet.join()
    await fleet.join()
    return fleet


class RealStores:
    """Several managers' stores on one member: they meet in etcd all the same."""

    def __init__(self, host: Host, undo: AsyncExitStack) -> None:
        self._host, self._undo = host, undo

    async def store(self, schema: Schema = SCHEMA) -> EtcdStore:
        client = EtcdClient(self._host.settings.socket)
        self._undo.push_async_callback(client.close)
        return await self._undo.enter_async_context(EtcdStore(client, SystemClock(), schema))

    async def finish(self, work: Coroutine[object, object, T], *, within_s: float = 10.0) -> T:
        return await asyncio.wait_for(work, within_s)


@pytest.fixture
async def real_stores(alone: Host) -> AsyncIterator[RealStores]:
    async with AsyncExitStack() as undo:
        yield RealStores(alone, undo)


@pytest.fixture
def urls() -> Callable[[], str]:
    return free_url
