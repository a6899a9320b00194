"""Network places for ``RUN`` steps: opened once, used by one step after the other.

A step's processes are all dead when the next one starts, so nothing of one is left for another to
see; opening a namespace, a veth pair and an address for every step would cost more than most steps
do. Steps that run at once have a place each.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sampan.aio import Tasks, in_thread, shielded
from sampan.config import DaemonConfig
from sampan.network.contract import ContainerNet, Networks, NoSuchNetwork
from sampan.store.contract import Store
from sampan.store.records import EndpointSettings, Network


@dataclass(frozen=True, slots=True)
class BuildSandbox:
    id: str
    mode: str
    netns: Path | Literal["host"]
    hostname: str
    etc_dir: Path
    etc_texts: dict[str, str]

    @property
    def etc_files(self) -> dict[str, Path]:
        return {f"/etc/{name}": self.etc_dir / name for name in self.etc_texts}

    def refresh(self) -> None:
        """Write the files anew: an earlier step may have edited them. Blocking."""
        self.etc_dir.mkdir(parents=True, exist_ok=True)
        for name, text in self.etc_texts.items():
            (self.etc_dir / name).write_text(text)


class Sandboxes:
    """Of one build; ``close`` gives everything back."""

    def __init__(
        self,
        config: DaemonConfig,
        store: Store,
        networks: Networks,
        *,
        mode: str,
        extra_hosts: tuple[str, ...],
    ) -> None:
        self._config, self._store, self._networks = config, store, networks
        self._mode = "default" if mode in ("", "bridge") else mode
        self._extra_hosts = extra_hosts
        self._free: defaultdict[str, list[BuildSandbox]] = defaultdict(list)
        self._opened = contextlib.AsyncExitStack()
        self._warming: asyncio.Task[BuildSandbox] | None = None
        self._warmed = False
        self._tasks = Tasks()

    def warm(self) -> None:
        """A ``RUN`` is coming: begin to open its place now. Once a build."""
        if not self._warmed:
            self._warmed = True
            self._warming = self._tasks.spawn(self._open(self._mode), name="build/sandbox")

    @contextlib.asynccontextmanager
    async def borrow(self, network: str) -> AsyncIterator[BuildSandbox]:
        """A place for one step; ``network`` is ``RUN --network``'s value."""
        mode = self._mode if network == "default" else network
        place: BuildSandbox
        if self._free[mode]:
            place = self._free[mode].pop()
        elif mode == self._mode and (warming := self._warming) is not None:
            self._warming = None
            place = await warming
        else:
            place = await self._open(mode)
        try:
            await in_thread(place.refresh)
            yield place
        finally:
            self._free[mode].append(place)

    async def close(self) -> None:
        await self._tasks.close()
        self._free.clear()
        await self._opened.aclose()

    async def _forget(self, place_id: str) -> None:
        await in_thread(shutil.rmtree, self._etc_dir(place_id), ignore_errors=True)
        await self._networks.close_sandbox(place_id)

    def _etc_dir(self, place_id: str) -> Path:
        # Under tmp, which every start of the daemon empties.
        return self._config.paths.tmp / f"build-{place_id[:24]}"

    async def _open(self, mode: str) -> BuildSandbox:
        place_id = secrets.token_hex(32)
        hostname = place_id[:12]
        wanted = ContainerNet(
            container_id=place_id,
            name=f"build-{hostname}",
            hostname=hostname,
            dns=self._config.dns,
            dns_search=self._config.dns_search,
            dns_options=self._config.dns_options,
            extra_hosts=self._extra_hosts,
        )
        netns: Path | Literal["host"]
        endpoints: list[EndpointSettings] = []
        # From here on close() knows it; a cancelled opening must not leave a namespace.
        self._opened.push_async_callback(self._forget, place_id)
        if mode == "host":
            netns = "host"
        elif mode.startswith("container:"):
            netns = self._config.paths.netns / self._container(mode.removeprefix("container:"))
        else:
            network = None if mode == "none" else self._network(mode)
            sandbox = await shielded(self._networks.open_sandbox(wanted))
            netns = sandbox.path
            if network is not None:
                endpoint = await shielded(
                    self._networks.attach(
                        sandbox,
                        network,
                        EndpointSettings(network_id=network.id, network_name=network.name),
                        default_route=True,
                    )
                )
                if not network.predefined:
                    await self._networks.name(sandbox, network, endpoint, [hostname])
                endpoints.append(endpoint)
        texts = self._networks.etc_files(wanted, endpoints, host_network=mode == "host")
        return BuildSandbox(
            place_id,
            mode,
            netns,
            hostname,
            self._etc_dir(place_id),
            {
                "hosts": texts.hosts,
                "hostname": texts.hostname,
                "resolv.conf": texts.resolv_conf,
            },
        )

    def _network(self, mode: str) -> Network:
        name = "bridge" if mode == "default" else mode
        for network in self._store.networks.values():
            if name in (network.name, network.id):
                return network
        raise NoSuchNetwork(name)

    def _container(self, ref: str) -> str:
        for container in self._store.containers.values():
            if ref == container.name or container.id.startswith(ref):
                return container.id
        raise NoSuchNetwork(f"container:{ref}")
