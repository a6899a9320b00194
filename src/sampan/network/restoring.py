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
    state = SandboxState(survivor.container, sandbox)
    for endpoint in survivor.endpoints:
        segment = segments.get(endpoint.network_id)
        if segment is None or not endpoint.endpoint_id:
            continue
        state.endpoints[endpoint.network_id] = endpoint
        if not state.default_route and (endpoint.gateway or endpoint.ipv6_gateway):
            state.default_route = endpoint.network_id
        if segment.capabilities.needs_egress and not segment.network.internal:
            state.inward.add(endpoint.network_id)
        called = tuple(dict.fromkeys((*survivor.names, *endpoint.aliases)))
        state.names[endpoint.network_id] = called
        if segment.answers:
            names.expect(sandbox, survivor.container)
            names.join(sandbox.container_id, endpoint, called)
    return state


async def revive(
    segment: NetworkState, sandboxes: Iterable[SandboxState], addresses: Addresses
) -> None:
    """Tell the drivers of a network who is on it.

    Raises:
        SampanError, OSError: what the network's driver says.
    """
    network = segment.network
    attached = []
    for state in sandboxes:
        endpoint = state.endpoints.get(network.id)
        if endpoint is None:
            continue
        attached.append(Attached(state.sandbox, endpoint))
        try:
            await addresses.restore(segment, endpoint, state.sandbox.container_id)
        except (AddressTaken, BadAddress) as error:
            # It runs on with the address that it has; refusing to start helps nobody.
            log.error("container %.12s: %s", state.sandbox.container_id, error)
    if segment.driver is not None:
        await segment.driver.restore(network, attached)


def interfaces(
    config: DaemonConfig, segments: Iterable[NetworkState], sandboxes: Iterable[SandboxState]
) -> set[str]:
    """Interfaces of this instance that are in use."""
    veths = {
        config.instance.veth(endpoint.endpoint_id)
        for state in sandboxes
        for endpoint in state.ways()
    }
    return veths | {s.network.bridge for s in segments if s.network.bridge}
