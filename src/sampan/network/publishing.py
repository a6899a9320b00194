"""Published ports: held by a socket, forwarded by the firewall, relayed where it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from sampan.aio import Clock, Tasks
from sampan.kernel import netlink
from sampan.network.firewall import Firewall, Forwarding
from sampan.network.ports import Held, PortBook, Wish
from sampan.network.relay import Relay
from sampan.network.worker import Worker
from sampan.store.records import EndpointSettings, PublishedPort


class Publisher:
    """Every port of this daemon; ``firewall`` None means that the relay does it all."""

    def __init__(
        self, worker: Worker, firewall: Firewall | None, tasks: Tasks, clock: Clock
    ) -> None:
        self._worker, self._firewall = worker, firewall
        self._book = PortBook()
        self._forwarded: dict[str, list[Forwarding]] = {}
        self._relay = Relay(tasks, clock)

    async def publish(
        self, container_id: str, endpoint: EndpointSettings, wishes: Sequence[Wish], veth: str
    ) -> tuple[PublishedPort, ...]:
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self.unpublish, container_id)
            held = self._book.hold(container_id, wishes)
            forwardings = self._route(held, endpoint)
            self._forwarded.setdefault(container_id, []).extend(forwardings)
            if self._firewall is not None and forwardings:
                firewall = self._firewall

                def forward() -> None:
                    # br_netfilter turns a packet to oneself round within the bridge.
                    self._worker.netlink.do(netlink.hairpin_port(veth))
                    firewall.forward(forwardings)

                await self._worker.run(forward)
            undo.pop_all()
        return tuple(one.port for one in held)

    async def unpublish(self, container_id: str) -> None:
        forwardings = self._forwarded.pop(container_id, [])
        for held in self._book.release(container_id):
            self._relay.close(held.socket)
        if self._firewall is not None and forwardings:
            firewall = self._firewall
            await self._worker.run(lambda: firewall.unforward(forwardings))

    async def restore(
        self,
        live: Sequence[tuple[str, Sequence[EndpointSettings], Sequence[PublishedPort]]],
    ) -> None:
        """Exactly these ports are published from now on."""
        for container_id, endpoints, ports in live:
            endpoint = next((e for e in endpoints if e.gateway), None)
            if endpoint is None or not ports:
                continue
            held = self._book.take_back(container_id, ports)
            self._forwarded[container_id] = self._route(held, endpoint)
        if self._firewall is not None:
            firewall = self._firewall
            every = [f for some in self._forwarded.values() for f in some]
            await self._worker.run(lambda: firewall.replace_forwardings(every))

    def close(self) -> None:
        """Let go of the sockets; what the firewall forwards goes on."""
        self._relay.close_all()
        for container_id in list(self._book.held):
            self._book.release(container_id)

    def _route(self, held: Sequence[Held], endpoint: EndpointSettings) -> list[Forwarding]:
        """DNAT for what DNAT can do; a relay on the held socket for the rest."""
        found = []
        for one in held:
            port = one.port
            six = ":" in port.host_ip
            target = endpoint.ipv6 if six else endpoint.ipv4
            if target and self._firewall is not None:
                found.append(
                    Forwarding(
                        port.host_ip, port.host_port, port.protocol, target, port.container_port
                    )
                )
            # ::1 cannot be routed off the loopback; IPv6 callers of an IPv4 container need a
            # change of family. Both go by the socket that holds the port.
            if one.socket is not None and (six or self._firewall is None):
                self._relay.serve(
                    one.socket, endpoint.ipv4 or endpoint.ipv6, port.container_port, port.protocol
                )
        return found
