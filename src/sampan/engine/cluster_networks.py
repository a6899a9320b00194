"""What the engine asks of a cluster: networks that this host shares with others.

    create, connect   resolve   a name that this host does not know: is there such a network?
    start, connect    attach    an address of it, and its part on this host
    end, disconnect   detach    given back

The engine asks for a place at each start and gives it back at each end, for a stopped container has
no address. What the cluster itself runs here comes with its places given (``EndpointSettings``'s
``cluster``), and is not asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sampan.errors import Forbidden
from sampan.network.contract import NoSuchNetwork
from sampan.store.records import EndpointSettings, Network

SCOPE = "swarm"


class NotAttachable(Forbidden):
    def __init__(self, network: str) -> None:
        super().__init__(
            f"Could not attach to network {network}: rpc error: code = PermissionDenied desc = "
            f"network {network} not manually attachable"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """A container that wants to be on a network of the cluster."""

    container_id: str
    endpoint: EndpointSettings
    """As it is wanted: ``ipv4_wanted`` is the user's wish."""
    names: tuple[str, ...]
    """What it is to be called there, on every node; its own name first."""


class ClusterNetworks(Protocol):
    async def resolve(self, ref: str) -> Network:
        """A network of the cluster, by name, id or prefix of an id. It need not be on this host
        yet.

        Raises:
            NoSuchNetwork, Forbidden (not attachable); Unavailable: nobody can be asked.
        """
        ...

    async def attach(self, joining: Joining) -> EndpointSettings:
        """Get an address, and make the network's part on this host. On failure nothing is kept.

        Returns the endpoint with the address as the one to take (``ipv4_wanted``). From here until
        ``detach`` the cluster answers for the container's names.

        Raises:
            NoSuchNetwork, Forbidden (not attachable), Conflict (the address wished for is taken),
            InvalidArgument (it is not one of the network's), Exhausted; Unavailable: nobody can be
            asked.
        """
        ...

    def detach(self, container_id: str, network_id: str) -> None:
        """The container's interface is gone: so is its place. Idempotent; the managers hear of it
        when they can."""
        ...

    async def ready(self) -> None:
        """Wait until places can be had: a host that has just started is not in its cluster yet."""
        ...


class NoCluster:
    """Of a host that can be in none."""

    async def resolve(self, ref: str) -> Network:
        raise NoSuchNetwork(ref)

    async def attach(self, joining: Joining) -> EndpointSettings:
        raise NoSuchNetwork(joining.endpoint.network_name)

    def detach(self, container_id: str, network_id: str) -> None:
        return

    async def ready(self) -> None:
        return


def asks(endpoint: EndpointSettings) -> bool:
    """Whether its address is the cluster's to give, at each start."""
    return endpoint.cluster == "requested"
