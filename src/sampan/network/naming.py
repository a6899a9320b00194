"""What containers are called, and by which files they know it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sampan.network import etc
from sampan.network.contract import ContainerNet, EtcFiles
from sampan.network.dns_control import DnsControl
from sampan.network.sandbox_state import NetworkState, SandboxState
from sampan.store.records import EndpointSettings


class Naming:
    def __init__(
        self,
        names: DnsControl,
        segments: Mapping[str, NetworkState],
        sandboxes: Mapping[str, SandboxState],
    ) -> None:
        self._names, self._segments, self._sandboxes = names, segments, sandboxes

    async def name(
        self,
        state: SandboxState,
        segment: NetworkState,
        endpoint: EndpointSettings,
        names: Sequence[str],
    ) -> None:
        state.names[segment.network.id] = tuple(names)
        if segment.answers:
            await self._names.serve(state.sandbox, state.container)
            self._names.join(state.sandbox.container_id, endpoint, names)

    def rename(self, container_id: str, old: str, new: str) -> None:
        state = self._sandboxes.get(container_id)
        if state is None:
            return
        for network_id, names in state.names.items():
            changed = tuple(new if name == old else name for name in names)
            state.names[network_id] = changed
            segment = self._segments.get(network_id)
            if segment is not None and segment.answers:
                self._names.join(container_id, state.endpoints[network_id], changed)

    def etc_files(
        self, container: ContainerNet, endpoints: Sequence[EndpointSettings], *, host_network: bool
    ) -> EtcFiles:
        segments = [self._segments.get(e.network_id) for e in endpoints]
        embedded = not host_network and any(
            segment is not None and segment.answers for segment in segments
        )
        gateways = [e.gateway for e in endpoints if e.gateway] or self._default_gateway()
        if host_network:
            gateways = ["127.0.0.1"]
        return etc.etc_files(
            container,
            endpoints,
            etc.host_resolver(),
            embedded=embedded,
            host_network=host_network,
            links=self._legacy_links(endpoints),
            host_gateway=gateways[:1],
        )

    def _default_gateway(self) -> list[str]:
        return [
            pool.gateway
            for segment in self._segments.values()
            if segment.network.predefined
            for pool in segment.network.pools
        ]

    def _legacy_links(
        self, endpoints: Sequence[EndpointSettings]
    ) -> list[tuple[str, Sequence[str]]]:
        """``--link`` on the default bridge is lines in the hosts file, as ever."""
        found: list[tuple[str, Sequence[str]]] = []
        for endpoint in endpoints:
            segment = self._segments.get(endpoint.network_id)
            if segment is None or not segment.network.predefined:
                continue
            for link in endpoint.links:
                name, _, alias = link.partition(":")
                for state in self._sandboxes.values():
                    other = state.endpoints.get(endpoint.network_id)
                    if other and name in (state.container.name, state.container.container_id):
                        short = state.container.container_id[:12]
                        called = dict.fromkeys((alias or name, short, state.container.name))
                        found.append((other.ipv4, tuple(called)))
        return found
