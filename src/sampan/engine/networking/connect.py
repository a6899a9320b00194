"""``network connect`` and ``disconnect``, of running and of stopped containers."""

from __future__ import annotations

import msgspec

from sampan.engine.cluster_networks import asks
from sampan.engine.container_index import ContainerIndex
from sampan.engine.in_flight import InFlight
from sampan.engine.networking import modes
from sampan.engine.networking.attachments import Attachments, gateway_of
from sampan.engine.networking.modes import find_anywhere
from sampan.engine.observe.emit_events import EventEmitter
from sampan.engine.parts import Parts
from sampan.errors import Conflict, Forbidden
from sampan.network.contract import CLUSTER_DRIVER, NoSuchNetwork
from sampan.store.records import Container, EndpointSettings, Network, PublishedPort


class Connector:
    def __init__(
        self,
        parts: Parts,
        containers: ContainerIndex,
        in_flight: InFlight,
        emit: EventEmitter,
        attachments: Attachments,
    ) -> None:
        self._parts, self._containers, self._in_flight = parts, containers, in_flight
        self._emit, self._attachments = emit, attachments

    async def connect(self, network_ref: str, ref: str, wanted: EndpointSettings) -> None:
        """Raises NoSuchContainer, NoSuchNetwork; Forbidden: it is on it already, or its network
        mode excludes others; AddressTaken ..."""
        container_id = self._containers.get(ref).id
        network = await find_anywhere(self._parts.store, self._parts.cluster, network_ref)
        async with self._in_flight.locks.hold(container_id):
            container = self._containers.get(container_id)
            _check(container, network)
            endpoint = modes.bound_to(network, wanted)
            if container.running:
                endpoint = await self._attachments.attach(container, network, endpoint)
            networks = {**container.networks, network.name: endpoint}
            try:
                after = self._containers.change(
                    container.id, lambda c: msgspec.structs.replace(c, networks=networks)
                )
            except BaseException:
                if container.running:
                    await self._attachments.detach(container, network, endpoint)
                raise
            if after.running:
                await self._attachments.write_etc(after)
            self._emit.network("connect", network, container.id)

    async def disconnect(self, network_ref: str, ref: str, *, force: bool) -> None:
        """Raises NoSuchContainer, NoSuchNetwork; Forbidden: it is not on it."""
        async with self._in_flight.locks.hold(self._containers.get(ref).id):
            container = self._containers.get(ref)
            network = self._network_of(container, network_ref)
            endpoint = container.networks.get(network.name)
            if endpoint is None or endpoint.network_id != network.id:
                if force:
                    return
                raise Forbidden(
                    f"container {container.id} is not connected to network {network.name}"
                )
            if network.name == "host":
                raise Conflict(
                    "container cannot be disconnected from host network or connected to host "
                    "network"
                )
            left = {k: v for k, v in container.networks.items() if k != network.name}
            ports = container.ports
            if container.running:
                ports = await self._disconnect_running(container, network, endpoint, left)
            after = self._containers.change(
                container.id, lambda c: msgspec.structs.replace(c, networks=left, ports=ports)
            )
            if after.running:
                await self._attachments.write_etc(after)
            self._emit.network("disconnect", network, container.id)

    def _network_of(self, container: Container, ref: str) -> Network:
        """Raises: NoSuchNetwork."""
        try:
            return modes.find_network(self._parts.store, ref)
        except NoSuchNetwork:
            # The cluster's are on this host only while they are used: what a stopped container
            # is to be on may not be.
            for name, endpoint in container.networks.items():
                if asks(endpoint) and ref in (name, endpoint.network_id):
                    return Network(
                        id=endpoint.network_id,
                        name=name,
                        driver=CLUSTER_DRIVER,
                        created_at=0.0,
                        scope="swarm",
                    )
            raise

    async def _disconnect_running(
        self,
        container: Container,
        network: Network,
        endpoint: EndpointSettings,
        left: dict[str, EndpointSettings],
    ) -> tuple[PublishedPort, ...]:
        """Ports that were published through this network move to the next one."""
        moves = bool(container.ports) and gateway_of(container.networks) == network.name
        if moves:
            await self._parts.networks.unpublish(container.id)
        await self._attachments.detach(container, network, endpoint)
        return await self._attachments.publish(container, left) if moves else container.ports


def _check(container: Container, network: Network) -> None:
    kind = modes.kind_of(container.spec.host)
    if kind == "container":
        raise Forbidden(
            "container sharing network namespace with another container or host cannot be "
            "connected to any other network"
        )
    if kind == "host" or network.name == "host":
        raise Forbidden(
            "container cannot be disconnected from host network or connected to host network"
        )
    if kind == "none" or network.name == "none":
        raise Forbidden(
            "container cannot be connected to multiple networks with one of the networks in "
            "private (none) mode"
        )
    if network.name in container.networks:
        raise Forbidden(
            f"endpoint with name {container.name} already exists in network {network.name}"
        )
