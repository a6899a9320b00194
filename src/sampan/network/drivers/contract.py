"""What a network driver is asked, and what it says of itself. A manual for who writes one.

A driver is one file: a class that fulfils ``NetworkDriver``, and one line where the daemon is put
together that enters it in the registry. Nobody else knows its name: what the rest of the platform
must know of a driver it reads from ``capabilities``.

    create ─► join ─► leave ─► join ─► leave ─► remove    a network's life
    ensure ─► restore ─► ...                              the same, after a restart of the daemon

Every method is called on the event loop and must not block it: one that has kernel work takes it
to a thread (the built-in drivers share the network's worker), one that asks another process awaits
the answer. A driver that takes long holds up nobody but the container that waits for it. The
caller may be cancelled at any await; a driver that is cancelled leaves behind what a failure
leaves: nothing.

``join`` and ``leave`` of one endpoint are called one after the other, never at once. Different
endpoints, also of one network, are served at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from sampan.errors import NotFound
from sampan.network.contract import Sandbox
from sampan.network.subnets import Taken
from sampan.store.records import EndpointSettings, IpamPool, Network


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkCapabilities:
    """What a kind of network is. The defaults are a plain network of this host."""

    scope: Literal["local", "swarm"] = "local"
    """Who makes its networks: this host's user, or the cluster for all hosts that need them."""
    addresses: Literal["ipam", "driver", "none"] = "ipam"
    """Who gives endpoints their addresses: the network's IPAM driver, before ``join``; the driver
    itself, in what ``join`` returns; nobody, because an endpoint has no interface (``none``)."""
    default_route: bool = True
    """An endpoint's gateway can be its container's way to the world."""
    needs_egress: bool = False
    """It leads nowhere by itself: containers get a second interface, on the host's egress network
    (``docker_gwbridge``), unless it is internal. ``Joined.needs_egress`` can say otherwise."""
    publishes: bool = False
    """Ports of its endpoints can be published on the host, which routes to their addresses. Else
    they are published at the egress endpoint, where there is one."""
    names: bool = True
    """Names are answered on its user-defined networks."""
    mac_from_address: bool = False
    """An endpoint's MAC is 02:42 and its IPv4 address, whatever the user asks for: other hosts
    reckon with it."""
    options: frozenset[str] | None = None
    """The names of all options of a network that take effect: the user is warned of others. None:
    the driver takes or refuses them itself."""


@dataclass(frozen=True, slots=True)
class StaticRoute:
    """A route that an endpoint brings with it."""

    destination: str
    """CIDR."""
    next_hop: str = ""
    """Address; empty: on the link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What came of ``join``."""

    endpoint: EndpointSettings
    """As it is now; what the driver chose itself (addresses with ``addresses="driver"``, MAC,
    gateways) is filled in."""
    source: str = ""
    """Name of an interface in the host's namespace, which the network moves into the sandbox, calls
    ``endpoint.interface`` and gives addresses, MAC, default route and ``routes``. Empty: the driver
    has done all of that itself."""
    routes: tuple[StaticRoute, ...] = field(default=())
    """With ``source`` only."""
    needs_egress: bool | None = None
    """This endpoint's own answer; None: as the capabilities say."""


@dataclass(frozen=True, slots=True)
class Attached:
    """An endpoint and whose it is."""

    sandbox: Sandbox
    endpoint: EndpointSettings


class UnknownNetworkDriver(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"could not find plugin {name} in v1 plugin registry: plugin not found: see the "
            "network drivers that `sampan info` lists, or start the plugin of that name"
        )
        self.name = name


class UnknownIpamDriver(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"could not find plugin {name} in v1 plugin registry: plugin not found: the built-in "
            "IPAM driver is called default"
        )
        self.name = name


class NetworkDriver(Protocol):
    """A kind of network."""

    @property
    def capabilities(self) -> NetworkCapabilities:
        """Always the same; asked at any time, also before the first network is made."""
        ...

    def validate(self, network: Network) -> None:
        """Check the user's options, without waiting. Called before anything is made.

        Raises:
            InvalidArgument: names the option and what may be said.
        """
        ...

    async def create(self, network: Network) -> Network:
        """Make the network and return it with what the driver fills in (``bridge``). Its pools are
        complete: the IPAM driver has chosen them. On failure nothing is left.

        Raises:
            SubnetOverlap: another user of this host has taken a pool since it was chosen; unless
                the user has chosen it, the caller has another one chosen and tries again.
            SampanError, OSError: it cannot be made.
        """
        ...

    async def ensure(self, network: Network) -> None:
        """The daemon has started: make the network true again (after a reboot: all of it). Nothing
        is made twice. Raises as ``create``."""
        ...

    async def remove(self, network: Network) -> None:
        """Take it away. No endpoint is left on it. Idempotent, also for one that was never made or
        only half."""
        ...

    async def join(
        self,
        network: Network,
        endpoint: EndpointSettings,
        sandbox: Sandbox,
        *,
        default_route: bool,
    ) -> Joined:
        """Attach a sandbox: the interface ``endpoint.interface``, up, with addresses and routes; or
        the interface that becomes this one (``Joined.source``). On failure nothing is left.

        Args:
            endpoint: with its id, addresses and MAC chosen.
            default_route: its gateway becomes the sandbox's default route.

        Raises:
            SampanError, OSError
        """
        ...

    async def leave(
        self, network: Network, endpoint: EndpointSettings, sandbox: Sandbox, *, closing: bool
    ) -> None:
        """Take the endpoint away, and return when nothing answers for its addresses: they
        go to the next. Idempotent.

        Args:
            closing: the sandbox goes too, at the same time: it need not be put in order, and may
                not be there any more.

        Raises:
            SampanError, OSError: it is still there; its addresses stay out of use until the
                daemon's next start.
        """
        ...

    async def restore(self, network: Network, attached: Sequence[Attached]) -> None:
        """After ``ensure``: these endpoints live on, whatever happened to the daemon. Once for each
        network, with none of them too."""
        ...


# ---------------------------------------------------------------- addresses


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRequest:
    """One subnet that a network needs."""

    network_id: str
    version: Literal[4, 6]
    subnet: str = ""
    """CIDR; empty: the driver chooses."""
    ip_range: str = ""
    """CIDR inside of the subnet, that addresses are to be given from."""
    gateway: str = ""
    """Empty: the driver chooses."""
    aux_addresses: dict[str, str] = field(default_factory=dict)
    """Name -> address that is in use by something else."""
    options: dict[str, str] = field(default_factory=dict)
    """``--ipam-opt``."""
    taken: Sequence[Taken] = ()
    """What this host uses already: its routes, its addresses, its networks. A driver that chooses
    heeds it; whether it heeds it when the user chooses is its own affair."""
    attempt: int = 0
    """From 1 on: the last choice was taken by somebody else meanwhile."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A subnet of a network."""

    network_id: str
    record: IpamPool
    """As it is stored. ``record.id`` is the driver's own word for it, that comes back with every
    call, after a restart too; the built-in driver leaves it empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """An address of a pool, given."""

    address: str
    quarantined: bool = False
    """Its last owner's interface may still answer for it: the caller waits until the endpoints that
    are leaving have left."""


class IpamDriver(Protocol):
    """Gives out subnets and addresses: IP address management (IPAM). Which one a network has is
    ``--ipam-driver``; the built-in one is called ``default``.

    As with a network driver, no method blocks the loop, and the caller may be cancelled: what was
    given to nobody is given back.
    """

    async def request_pool(self, request: PoolRequest) -> Pool:
        """A subnet, complete: canonical, with its gateway and the reserved addresses out of use.

        Raises:
            SubnetOverlap, NoAddressLeft, BadAddress
        """
        ...

    async def release_pool(self, pool: Pool) -> None:
        """Idempotent."""
        ...

    async def restore_pool(self, pool: Pool) -> None:
        """After a restart of the daemon: this pool is in use. Idempotent."""
        ...

    async def request_address(
        self, pool: Pool, owner: str, *, wanted: str = "", mac: str = ""
    ) -> Lease:
        """An address for ``owner`` (a container's id).

        Args:
            wanted: the very address; empty: any.
            mac: of the interface, if it is known.

        Raises:
            AddressTaken, NoAddressLeft, BadAddress
        """
        ...

    async def restore_address(self, pool: Pool, owner: str, address: str) -> None:
        """After a restart of the daemon: ``owner`` has this address. Raises AddressTaken."""
        ...

    def quarantine_address(self, pool: Pool, owner: str, address: str) -> None:
        """``owner`` is leaving; ``release_address`` comes when nothing answers for the address any
        more. Until then it goes to nobody, unless to its owner or for want of another (with
        ``Lease.quarantined``). A driver need not do anything here."""
        ...

    async def release_address(self, pool: Pool, owner: str, address: str) -> None:
        """The address is free. One that is someone else's meanwhile stays theirs. Idempotent."""
        ...
