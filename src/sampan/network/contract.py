"""What the engine asks of the network: segments, a container's place on them, names, ports.

    Sandbox   a network namespace (a bind-mounted file), outliving the daemon
    Endpoint  a sandbox's attachment to one network

Everything here is told in full what to do by its arguments and the store's records; what it
allocates (addresses, interface names, ports) it returns, for the engine to store. After a daemon
restart ``restore`` is called with what is still alive; everything else of this instance in the
kernel is debris and goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sampan.errors import Conflict, Exhausted, InvalidArgument, NotFound, Unsupported
from sampan.store.records import EndpointSettings, Network, PortBinding, PublishedPort

DEFAULT_DRIVER, CLUSTER_DRIVER = "bridge", "overlay"
"""What a network has whose maker says nothing of it: one of this host, one of the cluster."""
DEFAULT_IPAM = "default"
PREDEFINED = {"bridge": DEFAULT_DRIVER, "host": "host", "none": "null"}
"""Networks that every host has: their names, and their drivers' names."""


class NoSuchNetwork(NotFound):
    def __init__(self, ref: str) -> None:
        super().__init__(f"network {ref} not found")
        self.ref = ref


class PortTaken(Conflict):
    """A host port is in use, by another container or by a process of the host."""


class AddressTaken(Conflict):
    """The address asked for belongs to someone else."""


class NotPublished(Unsupported):
    """A network that leads out of the container by itself, and not by way of the host."""

    def __init__(self, network: Network) -> None:
        super().__init__(
            f"network {network.name}: its driver {network.driver} publishes no ports: reach the "
            "container by its own address, or connect it to a bridge network first"
        )


class SubnetOverlap(Conflict):
    """The subnet is already a route of the host or another network's."""


class NoAddressLeft(Exhausted):
    """Every address of the subnet (or every subnet of the pools) is given out."""


class NoSubnetLeft(NoAddressLeft):
    """Every subnet of the pools that a network is given one of is in use."""


class BadAddress(InvalidArgument):
    """Not an address, or not one of this subnet."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A container's network namespace."""

    container_id: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerNet:
    """What the network must know of a container."""

    container_id: str
    name: str
    hostname: str
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    """"name:address"; the address ``host-gateway`` stands for the host."""
    sysctls: dict[str, str] = field(default_factory=dict)
    """Only the ``net.*`` ones."""


@dataclass(frozen=True, slots=True)
class EtcFiles:
    """Contents of the three files that a container gets."""

    hosts: str
    hostname: str
    resolv_conf: str


@dataclass(frozen=True, slots=True)
class Zone:
    """The cluster's names on one network, lower case."""

    forward: dict[str, tuple[str, ...]] = field(default_factory=dict)
    reverse: dict[str, str] = field(default_factory=dict)
    """Address -> name, without the network's."""


@dataclass(frozen=True, slots=True)
class Survivor:
    """A container that has outlived the daemon."""

    container: ContainerNet
    endpoints: tuple[EndpointSettings, ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    names: tuple[str, ...] = ()
    """What it is called on user-defined networks, beside its endpoints' aliases."""


class Networks(Protocol):
    """The network's facade."""

    # -- segments

    async def create(self, wanted: Network) -> Network:
        """Make the segment real; fills in pools, gateway, bridge name.

        On failure nothing is left.

        Raises:
            SubnetOverlap, NoAddressLeft, BadAddress, InvalidArgument, Unsupported.
        """
        ...

    async def remove(self, network: Network) -> None:
        """Take the segment away. The caller has made sure that no endpoint is left. Idempotent."""
        ...

    # -- sandboxes

    async def open_sandbox(self, container: ContainerNet) -> Sandbox:
        """A new namespace with its loopback up. On failure nothing is left."""
        ...

    async def close_sandbox(self, container_id: str) -> None:
        """The namespace, its interfaces, ports, records: everything goes. Idempotent."""
        ...

    async def attach(
        self, sandbox: Sandbox, network: Network, wanted: EndpointSettings, *, default_route: bool
    ) -> EndpointSettings:
        """Join a network: addresses, interface, routes, names. On failure nothing is left.

        Raises:
            AddressTaken, NoAddressLeft, BadAddress.
        """
        ...

    async def detach(self, sandbox: Sandbox, network: Network, endpoint: EndpointSettings) -> None:
        """Leave a network and give the addresses back. Idempotent."""
        ...

    async def publish(
        self,
        sandbox: Sandbox,
        endpoint: EndpointSettings,
        network: Network,
        wanted: dict[str, tuple[PortBinding, ...]],
    ) -> tuple[PublishedPort, ...]:
        """Publish ports ("80/tcp" -> bindings), all or none. A free host port is one from
        the kernel's ephemeral range that nobody listens on.

        Raises:
            PortTaken, InvalidArgument.
        """
        ...

    async def unpublish(self, container_id: str) -> None:
        """Give every port of the container back. Idempotent."""
        ...

    # -- names

    def etc_files(
        self, container: ContainerNet, endpoints: Sequence[EndpointSettings], *, host_network: bool
    ) -> EtcFiles:
        """Contents for /etc/hosts, /etc/hostname and /etc/resolv.conf. resolv.conf names
        127.0.0.11 when the container is on any user-defined network, else the host's servers
        (loopback ones left out), overridden by ``--dns``."""
        ...

    async def name(
        self, sandbox: Sandbox, network: Network, endpoint: EndpointSettings, names: Sequence[str]
    ) -> None:
        """Answer for ``names`` (container name, short id, aliases) on this network, and give the
        sandbox its resolver when it has none yet. Called after attach, before the process runs."""
        ...

    async def rename(self, container_id: str, old: str, new: str) -> None: ...

    # -- life of the daemon

    async def start(self, networks: Sequence[Network]) -> None:
        """Make the segments of the store true again (after a reboot: all of them), the firewall's
        static rules, the DNS process. Creates nothing twice."""
        ...

    async def restore(self, live: Sequence[Survivor]) -> None:
        """These containers run on: take their sandboxes, addresses, ports and names back into
        memory. Whatever else bears this instance's mark in the kernel is removed."""
        ...

    async def stop(self) -> None:
        """The daemon goes; containers, their networks and their DNS stay."""
        ...
