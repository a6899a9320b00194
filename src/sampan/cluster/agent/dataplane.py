"""The data plane follows the managers' view: the newest wins, a failure is tried again."""

from __future__ import annotations

import asyncio
import logging

from sampan.aio import Clock
from sampan.cluster.backoff import backoff_s
from sampan.cluster.protocol.messages import ViewChange, merged_view
from sampan.errors import SampanError
from sampan.network.overlay.contract import DataPlaneView, Overlay

log = logging.getLogger(__name__)

FIRST_RETRY_S = 0.2
LONGEST_RETRY_S = 10.0


class DataPlane:
    """``overlay`` None: a host without one (tests); the view is only kept."""

    def __init__(self, node_id: str, overlay: Overlay | None, clock: Clock) -> None:
        self._node_id, self._overlay, self._clock = node_id, overlay, clock
        # A daemon that comes back goes on from what it was told last, with or without managers.
        self.view = overlay.applied if overlay is not None else DataPlaneView(node_id=node_id)
        self._changed = asyncio.Event()

    def take(self, change: ViewChange) -> None:
        """Raises: msgspec.DecodeError."""
        self.view = merged_view(self.view, change, self._node_id)
        self._changed.set()

    async def run(self) -> None:
        """Apply until cancelled."""
        failures = 0
        if self.view.networks:
            self._changed.set()  # the host may have been rebooted since
        while self._overlay is not None:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._overlay.apply(self.view)
                failures = 0
            except Exception as error:
                # Whatever it was: a node whose networks stand still is worse than a repeated error.
                failures += 1
                pause = backoff_s(failures, FIRST_RETRY_S, LONGEST_RETRY_S)
                known = isinstance(error, SampanError | OSError)
                log.error("networks: %s; tried again in %.1f s", error, pause, exc_info=not known)
                self._changed.set()
                await self._clock.sleep(pause)

    async def leave(self) -> None:
        self.view = DataPlaneView(node_id=self._node_id)
        if self._overlay is not None:
            await self._overlay.leave()
