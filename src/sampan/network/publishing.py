"""Published ports: held by a socket, forwarded by the firewall, relayed where it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from sampan.aio import Clock, Tasks
from sampan.kernel import netlink
from sampan.network.firewall import Firewall, Forwarding
from sampan.network.ports import PortAllocator, PortRequest, ReservedPort
from sampan.network.relay import Relay
from sampan.network.worker import NetworkWorker
from sampan.store.records import EndpointSettings, PublishedPort


class Publisher:
    """Every port of this daemon; ``firewall`` None means that the relay does it all."""

    def __init__(
        self, worker: NetworkWorker, firewall: Firewall | None, tasks: Tasks, clock: Clock
    ) -> None:
        self._worker, self._firewall = worker, firewall
        self._relay = Relay(tasks, clock)
        self._published: dict[str, list[ReservedPort]] = {}
        """By container; on the loop, for the relay."""
        # On the worker's thread only: binding a socket is a call of the kernel like the others.
        self._allocator = PortAllocator()
        self._forwarded: dict[str, list[Forwarding]] = {}

    async def publish(
        self,
        container_id: str,
        endpoint: EndpointSettings,
        requests: Sequence[PortRequest],
        veth: str,
    ) -> tuple[PublishedPort, ...]:
        """All, or none of the container's. Raises PortTaken, InvalidArgument."""
        if not requests:
            return ()

        def hold() -> list[ReservedPort]:
            held = self._allocator.hold(container_id, requests)
            forwardings = self._forwardings(held, endpoint)
            self._forwarded.setdefault(container_id, []).extend(forwardings)
            if self._firewall is not None and forwardings:
                # br_netfilter turns a packet to oneself round within the bridge.
                self._worker.netlink.do(netlink.hairpin_port(veth))
                self._firewall.forward(forwardings)
            return held

        async with AsyncExitStack() as undo:
            published = self._published.setdefault(container_id, [])
            undo.push_async_callback(self.unpublish, container_id)
            held = await self._worker.run(hold)
            published += held
            self._serve(held, endpoint)
            undo.pop_all()
        return tuple(one.port for one in held)

    async def unpublish(self, container_id: str) -> None:
        published = self._published.pop(container_id, None)
        if published is None:
            return
        for held in published:
            self._relay.close(held.socket)

        def release() -> None:
            self._allocator.release(container_id)
            forwardings = self._forwarded.pop(container_id, [])
            if self._firewall is not None and forwardings:
                self._firewall.unforward(forwardings)

        await self._worker.run(release)

    async def restore(
        self,
        live: Sequence[tuple[str, Sequence[EndpointSettings], Sequence[PublishedPort]]],
    ) -> None:
        """Exactly these ports are published from now on."""
        leading_out = {
            container_id: (endpoint, ports)
            for container_id, endpoints, ports in live
            if ports and (endpoint := next((e for e in endpoints if e.gateway), None)) is not None
        }

        def hold() -> dict[str, list[ReservedPort]]:
            found = {}
            for container_id, (endpoint, ports) in leading_out.items():
                found[container_id] = self._allocator.take_back(container_id, ports)
                forwardings = self._forwardings(found[container_id], endpoint)
                self._forwarded[container_id] = forwardings
            if self._firewall is not None:
                every = [f for some in self._forwarded.values() for f in some]
                self._firewall.replace_forwardings(every)
            return found

        self._published = await self._worker.run(hold)
        for container_id, held in self._published.items():
            self._serve(held, leading_out[container_id][0])

    async def close(self) -> None:
        """Let go of the sockets; what the firewall forwards goes on."""
        self._relay.close_all()
        self._published = {}

        def release() -> None:
            for container_id in list(self._allocator.held):
                self._allocator.release(container_id)

        await self._worker.run(release)

    def _forwardings(
        self, held: Sequence[ReservedPort], endpoint: EndpointSettings
    ) -> list[Forwarding]:
        """DNAT for what DNAT can do."""
        found = []
        for port in (one.port for one in held):
            target = endpoint.ipv6 if ":" in port.host_ip else endpoint.ipv4
            if target and self._firewall is not None:
                found.append(
                    Forwarding(
                        port.host_ip, port.host_port, port.protocol, target, port.container_port
                    )
                )
        return found

    def _serve(self, held: Sequence[ReservedPort], endpoint: EndpointSettings) -> None:
        """A relay on the held socket for the rest."""
        for one in held:
            # ::1 cannot be routed off the loopback; IPv6 callers of an IPv4 container need a
            # change of family. Both go by the socket that holds the port.
            if one.socket is not None and (":" in one.port.host_ip or self._firewall is None):
                self._relay.serve(
                    one.socket,
                    endpoint.ipv4 or endpoint.ipv6,
                    one.port.container_port,
                    one.port.protocol,
                )
