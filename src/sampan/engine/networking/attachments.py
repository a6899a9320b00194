"""A container's place on its networks: namespace, endpoints, ports, names, and the files in /etc
that follow from them."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from sampan.aio import in_thread
from sampan.engine.cluster_networks import Joining, asks
from sampan.engine.container_index import ContainerIndex
from sampan.engine.networking import modes
from sampan.engine.observe.emit_events import EventEmitter
from sampan.engine.parts import Parts
from sampan.network.contract import ContainerNet, Sandbox
from sampan.store.records import Container, EndpointSettings, Network, PortBinding, PublishedPort

ETC = ("hosts", "hostname", "resolv.conf")


@dataclass(frozen=True, slots=True)
class Attached:
    netns: Path | Literal["host"]
    networks: dict[str, EndpointSettings]
    ports: tuple[PublishedPort, ...]


def write_in_place(texts: dict[Path, str]) -> None:
    """In place: the files are bind-mounted, and a renamed new one would not be seen. Blocks: the
    disk's journal makes who makes a file wait for others' syncs."""
    for path, text in texts.items():
        path.write_text(text)


class Attachments:
    def __init__(self, parts: Parts, containers: ContainerIndex, emit: EventEmitter) -> None:
        self._parts, self._containers, self._emit = parts, containers, emit

    # -- a run's beginning and end

    async def connect(self, container: Container, undo: AsyncExitStack) -> Attached:
        """Namespace, endpoints, ports and names of a run; ``undo`` takes all of it away.

        Raises:
            NoSuchNetwork, PortTaken, AddressTaken, NoAddressLeft, NotRunning ...
        """
        kind = modes.kind_of(container.spec.host)
        if kind == "host":
            return Attached("host", container.networks, ())
        if kind == "container":
            holder = modes.namespace_holder(container, self._containers)
            if modes.kind_of(holder.spec.host) == "host":
                return Attached("host", {}, ())
            return Attached(self.sandbox(holder.id).path, {}, ())
        networks = self._parts.networks
        # Undone after the sandbox is closed: an address is free when no endpoint has it.
        undo.callback(self._give_back, container)
        undo.push_async_callback(networks.close_sandbox, container.id)
        sandbox = await networks.open_sandbox(self.net_of(container))
        if kind == "none":
            return Attached(sandbox.path, container.networks, ())
        gateway = gateway_of(container.networks)
        endpoints = dict(container.networks)
        # One after the other: the order of attachment gives eth0, eth1 their names.
        for name, wanted in container.networks.items():
            place = await self._place(container, wanted)
            network = modes.find_network(self._parts.store, wanted.network_id)
            endpoint = await networks.attach(sandbox, network, place, default_route=name == gateway)
            await self._name(container, sandbox, network, endpoint)
            endpoints[name] = _as_wished(endpoint, wanted)
        ports = await self.publish(container, endpoints)
        return Attached(sandbox.path, endpoints, ports)

    async def disconnect(self, container: Container) -> None:
        """Everything of the container goes. Idempotent."""
        await self._parts.networks.close_sandbox(container.id)
        self._give_back(container)

    # -- one network of a running container

    async def attach(
        self, container: Container, network: Network, wanted: EndpointSettings
    ) -> EndpointSettings:
        sandbox = self.sandbox(container.id)
        others = {**container.networks, network.name: wanted}
        async with AsyncExitStack() as undo:
            undo.callback(self._release, container.id, wanted)
            place = await self._place(container, wanted)
            # As it is on this host: of the cluster's it may have been made just now.
            network = modes.find_network(self._parts.store, network.id)
            endpoint = await self._parts.networks.attach(
                sandbox, network, place, default_route=gateway_of(others) == network.name
            )
            undo.push_async_callback(self._parts.networks.detach, sandbox, network, endpoint)
            await self._name(container, sandbox, network, endpoint)
            undo.pop_all()
        return _as_wished(endpoint, wanted)

    async def detach(
        self, container: Container, network: Network, endpoint: EndpointSettings
    ) -> None:
        await self._parts.networks.detach(self.sandbox(container.id), network, endpoint)
        self._release(container.id, endpoint)

    async def publish(
        self, container: Container, endpoints: dict[str, EndpointSettings]
    ) -> tuple[PublishedPort, ...]:
        """Publish what the container wants published, through the network of its default route."""
        host = container.spec.host
        wanted = {port: b for port, b in host.port_bindings.items() if b}
        if host.publish_all_ports:
            for port in container.spec.exposed_ports:
                wanted.setdefault(port, (PortBinding(),))
        gateway = gateway_of(endpoints)
        if not wanted or not gateway:
            return ()
        endpoint = endpoints[gateway]
        network = modes.find_network(self._parts.store, endpoint.network_id)
        return await self._parts.networks.publish(
            self.sandbox(container.id), endpoint, network, wanted
        )

    def sandbox(self, container_id: str) -> Sandbox:
        return Sandbox(container_id, self._parts.config.paths.netns / container_id)

    # -- names and files

    def net_of(self, container: Container) -> ContainerNet:
        spec, host = container.spec, container.spec.host
        config = self._parts.config
        return ContainerNet(
            container_id=container.id,
            name=container.name,
            hostname=f"{spec.hostname}.{spec.domainname}" if spec.domainname else spec.hostname,
            dns=host.dns or config.dns,
            dns_search=host.dns_search or config.dns_search,
            dns_options=host.dns_options or config.dns_options,
            extra_hosts=(*host.extra_hosts, *self._links(container)),
            sysctls={k: v for k, v in host.sysctls.items() if k.startswith("net.")},
        )

    def names_of(self, container: Container, endpoint: EndpointSettings) -> tuple[str, ...]:
        """What the container is called on a user-defined network."""
        names = (container.name, *endpoint.aliases, container.id[:12], container.spec.hostname)
        return tuple(dict.fromkeys(n for n in names if n))

    def etc_files(self, container: Container) -> dict[str, Path]:
        """Paths only: who joins another's namespace shares its files."""
        owner = container
        if modes.kind_of(container.spec.host) == "container":
            owner = modes.namespace_holder(container, self._containers)
        directory = self._parts.config.paths.container(owner.id)
        # The user may mount a file of his own there.
        mounted = {os.path.normpath(point.target) for point in container.mount_points}
        return {f"/etc/{name}": directory / name for name in ETC if f"/etc/{name}" not in mounted}

    async def write_etc(self, container: Container) -> None:
        """Write the three files for the container's endpoints. The caller holds its lock."""
        await in_thread(write_in_place, self.etc_texts(container))

    def etc_texts(self, container: Container) -> dict[Path, str]:
        """What is to be in the three files for the container's endpoints."""
        kind = modes.kind_of(container.spec.host)
        if kind == "container":
            return {}
        files = self._parts.networks.etc_files(
            self.net_of(container),
            [e for e in container.networks.values() if e.endpoint_id],
            host_network=kind == "host",
        )
        directory = self._parts.config.paths.container(container.id)
        texts = (files.hosts, files.hostname, files.resolv_conf)
        return {directory / name: text for name, text in zip(ETC, texts, strict=True)}

    def emit(self, container: Container, action: str) -> None:
        """``connect`` or ``disconnect`` for every network of the container."""
        for endpoint in container.networks.values():
            network = self._parts.store.networks.get(endpoint.network_id)
            if network is not None:
                self._emit.network(action, network, container.id)

    # -- inside

    async def _place(self, container: Container, wanted: EndpointSettings) -> EndpointSettings:
        """``wanted``, with the address that the cluster gives where it is the cluster's to give."""
        if not asks(wanted):
            return wanted
        names = self.names_of(container, wanted)
        return await self._parts.cluster.attach(
            Joining(container_id=container.id, endpoint=wanted, names=names)
        )

    def _give_back(self, container: Container) -> None:
        for endpoint in container.networks.values():
            self._release(container.id, endpoint)

    def _release(self, container_id: str, endpoint: EndpointSettings) -> None:
        if asks(endpoint):
            self._parts.cluster.detach(container_id, endpoint.network_id)

    async def _name(
        self, container: Container, sandbox: Sandbox, network: Network, endpoint: EndpointSettings
    ) -> None:
        # The default bridge has never had names; programs rely on links or addresses there.
        if not network.predefined:
            names = self.names_of(container, endpoint)
            await self._parts.networks.name(sandbox, network, endpoint, names)

    def _links(self, container: Container) -> list[str]:
        """Entries for /etc/hosts: links are resolved once, at start, as they always were."""
        found: list[str] = []
        settings = [(link, "") for link in container.spec.host.links]
        for endpoint in container.networks.values():
            settings += [(link, endpoint.network_id) for link in endpoint.links]
        mine = {e.network_id for e in container.networks.values()}
        for link, network_id in settings:
            ref, _, alias = link.partition(":")
            other = self._containers.get(ref)
            for endpoint in other.networks.values():
                on = {network_id} if network_id else mine
                if endpoint.ipv4 and endpoint.network_id in on:
                    names = (alias.rpartition("/")[2] or other.name, other.name)
                    found += [f"{n}:{endpoint.ipv4}" for n in dict.fromkeys(names)]
                    break
        return found


def _as_wished(endpoint: EndpointSettings, wanted: EndpointSettings) -> EndpointSettings:
    """What the user wished stays apart from what he was given: the next start asks anew."""
    return msgspec.structs.replace(endpoint, ipv4_wanted=wanted.ipv4_wanted)


def gateway_of(networks: dict[str, EndpointSettings]) -> str:
    """Name of the network that gives the default route: the highest priority, then the first."""
    if not networks:
        return ""
    return max(networks, key=lambda name: networks[name].gw_priority)


def detached(networks: dict[str, EndpointSettings]) -> dict[str, EndpointSettings]:
    """The endpoints as they are while the container does not run: only what was asked for."""
    return {
        name: msgspec.structs.replace(
            endpoint,
            endpoint_id="",
            ipv4="",
            ipv4_prefix=0,
            gateway="",
            ipv6="",
            ipv6_prefix=0,
            ipv6_gateway="",
            mac="",
            interface="",
        )
        for name, endpoint in networks.items()
    }
