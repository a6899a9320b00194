"""``Overlay`` on this host: views in, kernel and names true to them.

    apply:  write down -> tunnels and entries of the new -> maps of containers -> published ports
            -> names -> entries and tunnels of the old; soon after, connections to who has left

In this order: who is told an address can reach it, and who can no longer be reached is told
to nobody. The kernel's part runs on the network's worker thread, a namespace at a time, so that a
container's start never waits for more than one step of it. Each step compares with what the kernel
was told before; a view in which nothing has changed costs the comparison.

A container that joins is programmed from the newest view before its process runs; a view that
comes after it programs it again. What the worker does is in one order, so the last word is right.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from sampan.aio import Clock, Tasks, in_thread
from sampan.config import DaemonConfig
from sampan.errors import SampanError, Unavailable
from sampan.kernel.linux import Nftables
from sampan.kernel.nft import NftError
from sampan.kernel.tunnel import mac_of
from sampan.network.dns_control import DnsControl
from sampan.network.firewall import BridgeSegment, Firewall
from sampan.network.overlay import rules
from sampan.network.overlay.contract import DataPlaneView, OverlayNetwork
from sampan.network.overlay.flows import Flows
from sampan.network.overlay.namespaces import OverlayNamespace, OverlayNamespaces, forget_askers
from sampan.network.overlay.plan import Mesh, NetworkPlan, Planner, departed
from sampan.network.overlay.tunnels import OVERHEAD, TunnelEnd, Tunnels, bridge_name, underlay_mtu
from sampan.network.worker import NetworkWorker

log = logging.getLogger(__name__)

FILE = "overlay.json"


@dataclass(frozen=True, slots=True)
class _Aim:
    """What is to be: a view and what it means."""

    view: DataPlaneView
    plans: dict[str, NetworkPlan]

    @property
    def nodes(self) -> frozenset[str]:
        return frozenset(node.ipv4 for node in self.view.ingress_nodes)


class HostOverlay:
    """Fulfils ``Overlay``."""

    def __init__(
        self,
        config: DaemonConfig,
        worker: NetworkWorker,
        firewall: Firewall | None,
        names: DnsControl,
        clock: Clock,
        tasks: Tasks,
        places: Callable[[], Iterable[OverlayNamespace]],
        left: Callable[[], Awaitable[None]],
    ) -> None:
        """Args:
        places: the containers of this node that are on overlay networks, as they are now.
        left: called when the host has left the cluster.
        """
        self._left = left
        self._flows = Flows(worker.linux, clock, tasks, places)
        self._config, self._worker, self._firewall = config, worker, firewall
        self._names, self._tasks, self._places = names, tasks, places
        self._file = config.paths.root / FILE
        self._table = f"{config.instance.table}-mesh"
        self._planner = Planner()
        self._applied = DataPlaneView()
        self._aim = _Aim(DataPlaneView(), {})
        self._done: dict[str, NetworkPlan] = {}
        """What the last ``apply`` has aimed at, whether it came through or not."""
        self._loaded: DataPlaneView | None = None
        self._came_through = False
        """Whether all that the last ``apply`` wanted to do was done."""
        self._lock = asyncio.Lock()
        # On the worker's thread only.
        self._tunnels = Tunnels(config, worker.linux)
        self._namespaces = OverlayNamespaces(
            worker.linux, config.paths.state / "overlay", self._close_later
        )
        self._mesh: Mesh | None = None
        self._let_through: dict[str, BridgeSegment] = {}
        """By network: what the firewall has been told."""
        self._closing: deque[Nftables] = deque()

    # -- the contract

    @property
    def applied(self) -> DataPlaneView:
        return self._applied

    async def apply(self, view: DataPlaneView) -> None:
        async with self._lock:
            if view != self._aim.view or not self._came_through:
                await in_thread(self._write, view)
                try:
                    await self._reach(view)
                finally:
                    self._tasks.spawn(in_thread(self._sync), name="network/overlay/sync")

    async def leave(self) -> None:
        async with self._lock:
            # First: who is killed from here on forgets the cluster at the next start.
            await in_thread(self._file.unlink, missing_ok=True)
            await self._reach(DataPlaneView())
            self._came_through = False
            failed = _Failures()
            for place in self._places():
                await failed.run(self._worker, functools.partial(self._namespaces.clear, place))
            await failed.run(self._worker, self._remove_mesh)
            if self._firewall is not None:
                await failed.run(self._worker, self._firewall.forget_tunnels)
            await self._left()
            await self._close()
            failed.log()

    # -- for the host's networks

    def interfaces(self) -> set[str]:
        """The names of everything that belongs to the view's networks."""
        return self._tunnels.names({network.id for network in self._aim.view.networks})

    def holds(self, network_id: str) -> bool:
        """Whether the view has this network."""
        return network_id in self._aim.plans

    def mtu(self, network_id: str) -> int:
        """On the worker's thread: of a container's interface; 0 if unknown yet."""
        return self._tunnels.mtu(network_id)

    @property
    def tunnels(self) -> Tunnels:
        """For the driver, on the worker's thread."""
        return self._tunnels

    async def joined(self, place: OverlayNamespace) -> None:
        """A container has been attached: program its namespace, before its process runs.

        Raises:
            OSError, NftError
        """
        aim = self._aim

        def program() -> None:
            self._namespaces.program(place, aim.plans, aim.nodes, fresh=True)

        await self._worker.run(program)
        if aim is not self._aim:
            await self.joined(place)
        await self._close()

    def closed(self, container_id: str) -> None:
        """A container's namespace has gone."""
        self._tasks.spawn(
            self._worker.run(lambda: self._namespaces.forget(container_id)),
            name="network/overlay/forget",
        )

    async def load(self) -> list[BridgeSegment]:
        """At a start of the daemon: read the last view. Returns what the firewall has to know
        from its first rule on, for what goes on without us to go on."""
        self._loaded = await in_thread(self._read)
        if self._loaded is None:
            return []
        self._applied = self._loaded
        return [self._segment(self._loaded, network) for network in self._loaded.networks]

    async def restore(self) -> bool:
        """After ``load``: everything as the last view says, with whatever is in the kernel
        already. Without a view nothing of a cluster stays; returns whether there is one."""
        async with self._lock:
            view = self._loaded
            if view is None:
                await self._worker.run(self._remove_mesh)
                return False
            try:
                await self._reach(view)
            except Unavailable as error:
                # The agent's first view does the rest.
                log.error("the overlay networks are not as they should be: %s", error)
            return True

    async def close(self) -> None:
        """The daemon goes."""
        await self._flows.close()

    # -- the way there

    async def _reach(self, view: DataPlaneView) -> None:
        plans = self._planner.plan(view)
        self._aim = aim = _Aim(view, plans)
        left = departed(self._done, plans)
        touched = {n for n, plan in plans.items() if plan is not self._done.get(n)}
        touched |= self._done.keys() - plans.keys()
        everywhere = not self._came_through
        self._done, self._came_through = plans, False
        failed = _Failures()
        mtu = 0
        if view.networks:
            try:
                mtu = await self._worker.run(
                    lambda: underlay_mtu(self._worker.netlink, view.node_address)
                )
            except OSError as error:
                raise Unavailable(str(error)) from error
        for network_id, plan in plans.items():
            # Looked at anew each time: a container may have come while we waited.
            living = self._here().get(network_id, frozenset())
            if everywhere or network_id in touched:
                await failed.run(
                    self._worker, functools.partial(self._open, view, plan, mtu, living)
                )
        for place in self._places():
            if not everywhere and touched.isdisjoint(place.endpoints):
                continue
            program = functools.partial(self._namespaces.program, place, aim.plans, aim.nodes)
            await failed.run(self._worker, program, gone_is_fine=True)
        await failed.run(self._worker, lambda: self._publish(plans))
        for network_id, plan in plans.items():
            if not plan.network.ingress:
                self._names.cluster(network_id, plan.network.name, plan.zone)
        for network_id in self._names.cluster_networks() - plans.keys():
            self._names.cluster(network_id, "", None)
        self._flows.forget(left, plans)
        here = self._here()
        for network_id, plan in plans.items():

            def drop(network_id: str = network_id, plan: NetworkPlan = plan) -> None:
                if network_id in self._tunnels.networks():
                    self._tunnels.drop_entries(
                        self._worker.netlink, network_id, plan, here.get(network_id, frozenset())
                    )

            await failed.run(self._worker, drop)
        await failed.run(self._worker, lambda: self._withdraw(aim, here))
        await self._close()
        failed.log()
        self._applied, self._came_through = view, True

    def _open(self, view: DataPlaneView, plan: NetworkPlan, mtu: int, here: frozenset[str]) -> None:
        """A network's bridge, tunnel and entries. On the worker."""
        link, network = self._worker.netlink, plan.network
        self._tunnels.ensure(link, _end(view, network, mtu))
        segment = self._segment(view, network)
        if self._firewall is not None and self._let_through.get(network.id) != segment:
            self._firewall.add_segment(segment)
            self._firewall.tunnel(view.vxlan_port)
            self._firewall.let_through()
            self._let_through[network.id] = segment
        self._tunnels.add_entries(link, network.id, plan, here)

    def segment(self, network_id: str, *, ingress: bool, address: str = "") -> BridgeSegment:
        """What the firewall knows of an overlay network's bridge.

        Args:
            address: the host's own on it.
        """
        return BridgeSegment(
            bridge_name(self._config, network_id),
            internal=not ingress,
            masquerade=False,
            overlay=True,
            mesh=ingress,
            mac=mac_of(address) if address else "",
        )

    def _segment(self, view: DataPlaneView, network: OverlayNetwork) -> BridgeSegment:
        address = _own_address(view, network)
        return self.segment(network.id, ingress=network.ingress, address=address)

    def _publish(self, plans: dict[str, NetworkPlan]) -> None:
        """The mesh's rules. On the worker."""
        wanted: Mesh = {}
        for plan in plans.values():
            # Without an address on the ingress network there is no way to the tasks yet.
            if self._tunnels.host_address(plan.network.id):
                wanted |= plan.mesh
        if self._mesh == wanted or (self._mesh is None and not wanted and not plans):
            return
        if self._firewall is None:
            if wanted:
                log.warning("ports are not published on this node: the firewall is switched off")
            return
        nft = self._worker.nft
        before = self._mesh or {}
        text = rules.mesh(self._table, self._mesh, wanted)
        if self._mesh is None:
            try:
                nft.run(text)
            except NftError:
                nft.run(rules.without([("ip", self._table)], text))
        elif text:
            self._mesh = None  # unless it comes through
            nft.run(text)
        self._mesh = wanted
        opened = [
            number
            for (protocol, number), backends in wanted.items()
            if protocol == "udp" and backends.addresses and (protocol, number) not in before
        ]
        if opened:
            forget_askers(self._worker.linux, opened)

    def _withdraw(self, aim: _Aim, here: dict[str, frozenset[str]]) -> None:
        """Networks that the view has no more. On the worker."""
        link = self._worker.netlink
        for network_id in self._tunnels.networks() - aim.plans.keys():
            if here.get(network_id):
                # The containers will follow; until then they reach their neighbours.
                continue
            self._let_through.pop(network_id, None)
            if self._firewall is not None:
                mine = self._tunnels.host_address(network_id)
                for ingress in (False, True):
                    segment = self.segment(network_id, ingress=ingress, address=mine)
                    self._firewall.remove_segment(segment)
            self._tunnels.remove(link, network_id)

    def _remove_mesh(self) -> None:
        """On the worker."""
        self._mesh = None
        nft = self._worker.nft
        found = nft.query("list tables ip")
        if any(item.get("table", {}).get("name") == self._table for item in found):
            nft.run(rules.without([("ip", self._table)]))

    def _here(self) -> dict[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        for place in self._places():
            for network_id, endpoint in place.endpoints.items():
                found.setdefault(network_id, set()).add(endpoint.ipv4)
        return {network_id: frozenset(addresses) for network_id, addresses in found.items()}

    # -- contexts that may wait

    def _close_later(self, nft: Nftables) -> None:
        self._closing.append(nft)

    async def _close(self) -> None:
        def close() -> None:
            # The worker may be adding to it.
            while self._closing:
                self._closing.popleft().close()

        if self._closing:
            self._tasks.spawn(in_thread(close), name="network/overlay/close")

    # -- the file

    def _write(self, view: DataPlaneView) -> None:
        new = self._file.with_suffix(".new")
        with new.open("wb") as file:
            file.write(msgspec.json.encode(view))
        new.rename(self._file)

    def _sync(self) -> None:
        # Afterwards, and not before the change: a disk that is busy must not hold up traffic.
        # Without it a loss of power could leave an empty file, which is no worse than none.
        with suppress(FileNotFoundError), self._file.open("rb") as file:
            os.fsync(file.fileno())

    def _read(self) -> DataPlaneView | None:
        """The last view, if there is one. Makes the directory of the namespaces' files. Blocks."""
        (self._config.paths.state / "overlay").mkdir(parents=True, exist_ok=True)
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=DataPlaneView)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            log.error("%s is unreadable and is left aside: %s", self._file, error)
            return None


class _Failures:
    """Tries every step; tells at the end."""

    def __init__(self) -> None:
        self._said: list[str] = []

    async def run(
        self, worker: NetworkWorker, fn: Callable[[], object], *, gone_is_fine: bool = False
    ) -> None:
        try:
            await worker.run(fn)
        except FileNotFoundError as error:
            if not gone_is_fine:
                self._said.append(str(error))
        except (OSError, SampanError) as error:
            self._said.append(str(error))

    def log(self) -> None:
        if self._said:
            raise Unavailable("; ".join(dict.fromkeys(self._said)))


def _end(view: DataPlaneView, network: OverlayNetwork, underlay: int) -> TunnelEnd:
    return TunnelEnd(
        network.id,
        network.vni,
        view.node_address,
        view.vxlan_port,
        network.mtu or underlay - OVERHEAD,
        _own_address(view, network),
        ipaddress.ip_network(network.subnet).prefixlen,
    )


def _own_address(view: DataPlaneView, network: OverlayNetwork) -> str:
    """The host's, on the ingress network."""
    if not network.ingress:
        return ""
    return next((n.ipv4 for n in view.ingress_nodes if n.node_id == view.node_id), "")
