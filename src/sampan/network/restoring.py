"""After a restart of the daemon: who lives on takes back what it has."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from sampan.config import DaemonConfig
from sampan.network.addresses import Addresses
from sampan.network.contract import AddressTaken, BadAddress, Sandbox, Survivor
from sampan.network.dns_control import DnsControl
from sampan.network.drivers.contract import Attached
from sampan.network.sandbox_state import NetworkState, SandboxState

log = logging.getLogger(__name__)


def take_back(
    survivor: Survivor, sandbox: Sandbox, segments: Mapping[str, NetworkState], names: DnsControl
) -> SandboxState:
    """A container's endpoints and names, as they were."""
    book = SandboxState(survivor.container, sandbox)
    for endpoint in survivor.endpoints:
        segment = segments.get(endpoint.network_id)
        if segment is None or not endpoint.endpoint_id:
            continue
        book.endpoints[endpoint.network_id] = endpoint
        if not book.default_route and (endpoint.gateway or endpoint.ipv6_gateway):
            book.default_route = endpoint.network_id
        if segment.capabilities.needs_egress and not segment.network.internal:
            book.inward.add(endpoint.network_id)
        called = tuple(dict.fromkeys((*survivor.names, *endpoint.aliases)))
        book.names[endpoint.network_id] = called
        if segment.answers:
            names.expect(sandbox, survivor.container)
            names.join(sandbox.container_id, endpoint, called)
    return book


async def revive(
    segment: NetworkState, books: Iterable[SandboxState], addresses: Addresses
) -> None:
    """Tell the drivers of a network who is on it.

    Raises:
        SampanError, OSError: what the network's driver says.
    """
    network = segment.network
    attached = []
    for book in books:
        endpoint = book.endpoints.get(network.id)
        if endpoint is None:
            continue
        attached.append(Attached(book.sandbox, endpoint))
        try:
            await addresses.restore(segment, endpoint, book.sandbox.container_id)
        except (AddressTaken, BadAddress) as error:
            # It runs on with the address that it has; refusing to start helps nobody.
            log.error("container %.12s: %s", book.sandbox.container_id, error)
    if segment.driver is not None:
        await segment.driver.restore(network, attached)


def interfaces(
    config: DaemonConfig, segments: Iterable[NetworkState], books: Iterable[SandboxState]
) -> set[str]:
    """Interfaces of this instance that are in use."""
    veths = {
        config.instance.veth(endpoint.endpoint_id) for book in books for endpoint in book.ways()
    }
    return veths | {s.network.bridge for s in segments if s.network.bridge}
