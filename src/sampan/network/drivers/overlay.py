"""``overlay``: one segment over many hosts. The cluster gives id, subnet and VXLAN id.

What reaches other hosts is made when the node's view of the cluster says so (``network.overlay``);
here is what a container's attachment needs on this host, whichever of the two comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from sampan.config import DaemonConfig
from sampan.errors import InvalidArgument
from sampan.kernel import netlink
from sampan.network.drivers.bridge import Options, add_port, configure
from sampan.network.firewall import Firewall
from sampan.network.overlay.dataplane import HostOverlay
from sampan.network.overlay.tunnels import LAST_RESORT_MTU, OVERHEAD, bridge_name
from sampan.network.reaper import live_group
from sampan.network.subnets import Taken
from sampan.network.worker import Worker
from sampan.store.records import EndpointSettings, Network


class OverlayDriver:
    has_addresses = True

    def __init__(
        self,
        config: DaemonConfig,
        worker: Worker,
        firewall: Firewall | None,
        overlay: HostOverlay,
    ) -> None:
        self._config, self._worker, self._firewall = config, worker, firewall
        self._overlay = overlay
        self._group = live_group(config.instance.suffix)

    def create(self, wanted: Network, known: Sequence[Taken]) -> Network:
        Options.of(wanted)
        if not any(pool.subnet for pool in wanted.pools):
            raise InvalidArgument("an overlay network needs a subnet: the cluster chooses it")
        made = replace(wanted, bridge=bridge_name(self._config, wanted.id))
        try:
            self.ensure(made)
        except BaseException:
            self.remove(made)
            raise
        return made

    def ensure(self, network: Network) -> None:
        self._overlay.tunnels.ensure_bridge(self._worker.netlink, network.id)
        if self._firewall is not None:
            segment = self._overlay.segment(network.id, ingress=network.ingress)
            self._firewall.add_segment(segment)
            self._firewall.let_through()

    def remove(self, network: Network) -> None:
        if self._overlay.holds(network.id):
            # Goes with the view: the ingress network is of use without a container here, too.
            return
        if self._firewall is not None:
            segment = self._overlay.segment(network.id, ingress=network.ingress)
            self._firewall.remove_segment(segment)
        self._overlay.tunnels.remove(self._worker.netlink, network.id)

    def join(
        self, sandbox: Path, network: Network, endpoint: EndpointSettings, *, default_route: bool
    ) -> None:
        veth = self._config.instance.veth(endpoint.endpoint_id)
        linux, host = self._worker.linux, self._worker.netlink
        mtu = Options.of(network).mtu or self._overlay.tunnels.mtu(network.id)
        add_port(
            self._worker,
            veth,
            sandbox,
            endpoint,
            bridge=network.bridge,
            mtu=mtu or LAST_RESORT_MTU - OVERHEAD,
            group=self._group,
        )
        try:
            self._overlay.tunnels.welcome(host, network.id, endpoint.ipv4, veth)
            linux.netns.run_inside(sandbox, lambda: configure(linux, endpoint, default_route=False))
        except BaseException:
            host.request(netlink.delete_link(veth))
            raise
