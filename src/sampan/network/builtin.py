"""The network drivers that come with sampan: the list, and what they share.

The list is here, in the open: nothing registers itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence

from sampan.aio import Clock, Tasks
from sampan.config import DaemonConfig
from sampan.drivers import Registry
from sampan.network.deferred_delete import DeferredLinkDelete
from sampan.network.dns_control import DnsControl
from sampan.network.drivers.bridge import BridgeDriver, segment_of
from sampan.network.drivers.contract import IpamDriver, NetworkDriver
from sampan.network.drivers.ipam import HostIpam
from sampan.network.drivers.null import NullDriver
from sampan.network.drivers.overlay import OverlayDriver
from sampan.network.firewall import BridgeSegment as Bridge
from sampan.network.firewall import Firewall
from sampan.network.overlay.dataplane import HostOverlay
from sampan.network.overlay.places import Places
from sampan.network.sandbox_state import NetworkState
from sampan.network.worker import NetworkWorker


class BuiltinDrivers:
    """One worker and one firewall for all of them."""

    def __init__(
        self,
        config: DaemonConfig,
        worker: NetworkWorker,
        names: DnsControl,
        clock: Clock,
        tasks: Tasks,
        left: Callable[[], Awaitable[None]],
    ) -> None:
        """Args:
        left: called when the host has left its cluster.
        """
        self._config, self._worker = config, worker
        self.firewall: Firewall | None = None
        if config.iptables:
            self.firewall = Firewall(worker.nft, config.instance.table)
        deferred = DeferredLinkDelete(worker.linux, config.instance.suffix, tasks)
        places = Places()
        self.overlay = HostOverlay(
            config, worker, self.firewall, names, clock, tasks, places.all, left
        )
        self._bridge = BridgeDriver(config, worker, self.firewall, deferred)
        self._overlay = OverlayDriver(config, worker, self.firewall, deferred, self.overlay, places)

    def register(self, drivers: Registry[NetworkDriver], ipam: Registry[IpamDriver]) -> None:
        """Raises ValueError: one of the names is taken."""
        drivers.register("bridge", self._bridge)
        drivers.register("host", NullDriver(names=False))
        drivers.register("null", NullDriver(names=True), "none")
        drivers.register("overlay", self._overlay)
        ipam.register("default", HostIpam(self._config))

    def install(self, segments: Iterable[NetworkState], cluster_bridges: Sequence[Bridge]) -> None:
        """What the host must be before the first network is made true again: forwarding, and the
        firewall's table in one transaction, so that what goes on without us goes on. On the
        worker.

        Args:
            cluster_bridges: bridges of the cluster's networks, as it said last.
        """
        sysctl = self._worker.linux.sysctl
        if self._config.ip_forward:
            sysctl.ensure("net.ipv4.ip_forward", "1")
            with contextlib.suppress(FileNotFoundError):
                sysctl.ensure("net.ipv6.conf.all.forwarding", "1")
        if self.firewall is not None:
            self.firewall.install([*self._bridges(segments), *cluster_bridges])
            self.firewall.let_through()

    def _bridges(self, segments: Iterable[NetworkState]) -> list[Bridge]:
        found = []
        for segment in segments:
            network = segment.network
            if network.bridge and segment.driver is self._bridge:
                found.append(segment_of(network))
            elif network.bridge and segment.driver is self._overlay:
                found.append(self.overlay.segment(network.id, ingress=network.ingress))
        return found
