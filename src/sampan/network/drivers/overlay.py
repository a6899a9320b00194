"""``overlay``: one segment over many hosts. The cluster gives id, subnet and VXLAN id.

What reaches other hosts is made when the node's view of the cluster says so (``network.overlay``);
here is what a container's attachment needs on this host, whichever of the two comes first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from msgspec.structs import replace

from sampan.config import DaemonConfig
from sampan.errors import InvalidArgument
from sampan.network.contract import Sandbox
from sampan.network.deferred_delete import DeferredLinkDelete
from sampan.network.drivers.bridge import Options
from sampan.network.drivers.bridged import BridgedDriver
from sampan.network.drivers.contract import Attached, Joined, NetworkCapabilities
from sampan.network.drivers.veth import configure
from sampan.network.firewall import Firewall
from sampan.network.overlay.dataplane import HostOverlay
from sampan.network.overlay.places import Places
from sampan.network.overlay.tunnels import LAST_RESORT_MTU, OVERHEAD, bridge_name
from sampan.network.worker import NetworkWorker
from sampan.store.records import EndpointSettings, Network

OPTIONS = frozenset(
    (
        "com.docker.network.driver.mtu",
        "com.docker.network.driver.overlay.vxlanid_list",
        "encrypted",
    )
)
"""The cluster reads them, which makes the networks."""


class OverlayDriver(BridgedDriver):
    capabilities = NetworkCapabilities(
        scope="swarm",
        default_route=False,
        needs_egress=True,
        mac_from_address=True,
        options=OPTIONS,
    )

    def __init__(
        self,
        config: DaemonConfig,
        worker: NetworkWorker,
        firewall: Firewall | None,
        deferred: DeferredLinkDelete,
        overlay: HostOverlay,
        places: Places,
    ) -> None:
        super().__init__(config, worker, firewall, deferred)
        self._overlay, self._places = overlay, places

    def validate(self, network: Network) -> None:
        Options.of(network)
        if not any(pool.subnet for pool in network.pools):
            raise InvalidArgument("an overlay network needs a subnet: the cluster chooses it")

    async def create(self, network: Network) -> Network:
        made = replace(network, bridge=bridge_name(self._config, network.id))

        def make() -> None:
            try:
                self._ensure(made)
            except BaseException:
                self._remove(made)
                raise

        await self._worker.run(make, lambda: self._remove(made))
        return made

    def _ensure(self, network: Network) -> None:
        self._overlay.tunnels.ensure_bridge(self._worker.netlink, network.id)
        if self._firewall is not None:
            segment = self._overlay.segment(network.id, ingress=network.ingress)
            self._firewall.add_segment(segment)
            self._firewall.let_through()

    def _remove(self, network: Network) -> None:
        if self._overlay.holds(network.id):
            # Goes with the view: the ingress network is of use without a container here, too.
            return
        if self._firewall is not None:
            segment = self._overlay.segment(network.id, ingress=network.ingress)
            self._firewall.remove_segment(segment)
        self._overlay.tunnels.remove(self._worker.netlink, network.id)

    async def join(
        self,
        network: Network,
        endpoint: EndpointSettings,
        sandbox: Sandbox,
        *,
        default_route: bool,
    ) -> Joined:
        linux, tunnels = self._worker.linux, self._overlay.tunnels
        mtu = Options.of(network).mtu or tunnels.mtu(network.id) or LAST_RESORT_MTU - OVERHEAD

        def finish(veth: str) -> None:
            tunnels.welcome(self._worker.netlink, network.id, endpoint.ipv4, veth)
            linux.netns.run_inside(
                sandbox.path, lambda: configure(linux, endpoint, default_route=False)
            )

        # Before the first await: what the cluster says meanwhile reaches this container too.
        self._places.add(sandbox, endpoint)
        try:
            await self._connect(network, endpoint, sandbox, mtu=mtu, finish=finish)
            # What the cluster says, before the process runs.
            await self._overlay.joined(self._places.of(sandbox))
        except BaseException:
            await self.leave(network, endpoint, sandbox, closing=False)
            raise
        return Joined(endpoint=endpoint)

    async def leave(
        self, network: Network, endpoint: EndpointSettings, sandbox: Sandbox, *, closing: bool
    ) -> None:
        known = self._places.discard(sandbox, network.id)
        if known and closing:
            # At once: the same container's next namespace is not to be taken for this one.
            self._overlay.closed(sandbox.container_id)
        await self._deferred.delete(self._config.instance.veth(endpoint.endpoint_id))
        if known and not closing:
            with contextlib.suppress(FileNotFoundError):
                await self._overlay.joined(self._places.of(sandbox))

    async def restore(self, network: Network, attached: Sequence[Attached]) -> None:
        for one in attached:
            self._places.add(one.sandbox, one.endpoint)
