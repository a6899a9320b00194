"""Which containers of this node are on overlay networks. On the event loop."""

from __future__ import annotations

from sampan.network.contract import Sandbox
from sampan.network.overlay.namespaces import OverlayNamespace
from sampan.store.records import EndpointSettings


class Places:
    """Kept by the driver, read by the data plane."""

    def __init__(self) -> None:
        self._sandboxes: dict[str, Sandbox] = {}
        self._endpoints: dict[str, dict[str, EndpointSettings]] = {}

    def add(self, sandbox: Sandbox, endpoint: EndpointSettings) -> None:
        self._sandboxes[sandbox.container_id] = sandbox
        on = self._endpoints.setdefault(sandbox.container_id, {})
        on[endpoint.network_id] = endpoint

    def discard(self, sandbox: Sandbox, network_id: str) -> bool:
        """Idempotent; returns whether it was there."""
        on = self._endpoints.get(sandbox.container_id, {})
        if on.pop(network_id, None) is None:
            return False
        if not on:
            del self._endpoints[sandbox.container_id], self._sandboxes[sandbox.container_id]
        return True

    def of(self, sandbox: Sandbox) -> OverlayNamespace:
        on = self._endpoints.get(sandbox.container_id, {})
        return OverlayNamespace(sandbox.container_id, sandbox.path, dict(on))

    def all(self) -> list[OverlayNamespace]:
        return [self.of(sandbox) for sandbox in self._sandboxes.values()]
