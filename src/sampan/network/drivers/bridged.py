"""What the drivers have in common whose networks are bridges of this host."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from sampan.config import DaemonConfig
from sampan.network.contract import Sandbox
from sampan.network.deferred_delete import DeferredLinkDelete, live_group
from sampan.network.drivers.veth import connect_port
from sampan.network.firewall import Firewall
from sampan.network.worker import NetworkWorker
from sampan.store.records import EndpointSettings, Network


class BridgedDriver(ABC):
    """Base of them: everything on the worker, ports by pairs of interfaces."""

    def __init__(
        self,
        config: DaemonConfig,
        worker: NetworkWorker,
        firewall: Firewall | None,
        deferred: DeferredLinkDelete,
    ) -> None:
        self._config, self._worker, self._firewall = config, worker, firewall
        self._deferred = deferred
        self._group = live_group(config.instance.suffix)

    @abstractmethod
    def _ensure(self, network: Network) -> None:
        """Make what is missing of the network. On the worker."""

    @abstractmethod
    def _remove(self, network: Network) -> None:
        """Undo ``_ensure``, also one that came half way. On the worker."""

    async def ensure(self, network: Network) -> None:
        await self._worker.run(lambda: self._ensure(network))

    async def remove(self, network: Network) -> None:
        if network.bridge:
            await self._worker.run(lambda: self._remove(network))

    async def _connect(
        self,
        network: Network,
        endpoint: EndpointSettings,
        sandbox: Sandbox,
        *,
        mtu: int,
        finish: Callable[[str], None],
    ) -> None:
        """A port for the endpoint; ``finish`` is given the name of its interface on the host."""
        veth = self._config.instance.veth(endpoint.endpoint_id)
        await connect_port(
            self._worker,
            veth,
            sandbox.path,
            endpoint,
            bridge=network.bridge,
            mtu=mtu,
            group=self._group,
            finish=lambda: finish(veth),
        )
