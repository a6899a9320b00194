"""The data plane follows the managers' view: the newest wins, a failure is tried again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

import msgspec

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
        self._applied = asyncio.Event()
        """Another view has been applied; who waits for the next one takes hold of a new event."""
        self._led: tuple[DataPlaneView, frozenset[str]] = (DataPlaneView(), frozenset())

    def take(self, change: ViewChange) -> None:
        """Raises: msgspec.DecodeError."""
        self.view = merged_view(self.view, change, self._node_id)
        self._changed.set()
        if self._overlay is None:
            self._notify()

    # -- what leads to a task

    def nodes_on(self, networks: Collection[str]) -> set[str]:
        """Ids of the nodes that may lead something to a member of these networks: those that have
        members there themselves, and on the ingress network all."""
        view, found = self.view, set[str]()
        for network in view.networks:
            if network.id in networks:
                found.update(member.node_id for member in network.members)
                if network.ingress:
                    found.update(node.node_id for node in view.ingress_nodes)
        return found

    def led_to(self, tasks: Collection[str]) -> frozenset[str]:
        """Those of ``tasks`` that this host, as its kernel is now, leads new connections to."""
        view = self.view if self._overlay is None else self._overlay.applied
        if self._led[0] is not view:
            serving = (m.task_id for n in view.networks for m in n.members if m.serving)
            self._led = (view, frozenset(serving))
        return self._led[1].intersection(tasks)

    async def withdrawn(self, tasks: Collection[str]) -> None:
        """Wait until it leads to none of them."""
        while self.led_to(tasks):
            await self._applied.wait()

    def withdraw_own(self) -> None:
        """No manager says any more what serves: nothing of this node does."""
        self.view = msgspec.structs.replace(
            self.view,
            networks=tuple(
                msgspec.structs.replace(
                    network,
                    members=tuple(
                        msgspec.structs.replace(member, serving=False)
                        if member.node_id == self._node_id
                        else member
                        for member in network.members
                    ),
                )
                for network in self.view.networks
            ),
        )
        self._changed.set()
        if self._overlay is None:
            self._notify()

    def _notify(self) -> None:
        self._applied.set()
        self._applied = asyncio.Event()

    # -- life

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
                self._notify()
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
