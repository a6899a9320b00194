"""Connections to who has left, taken apart behind everyone's back.

To find a namespace's connections the kernel walks the table of the whole machine, milliseconds for
each namespace. So this has a thread of its own, which no container's start waits for, and what
leaves within a second is looked for together.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from sampan.aio import Clock, Tasks
from sampan.kernel.linux import Linux
from sampan.network.overlay.namespaces import OverlayNamespace, forget_flows
from sampan.network.overlay.plan import Departed, NetworkPlan
from sampan.network.worker import NetworkWorker

log = logging.getLogger(__name__)

PAUSE_S = 1.0
ANSWERED_WITHIN_S = 0.1
"""A member that serves no more answers what has reached it: so long it is given for that."""

Begun = dict[tuple[str, str], frozenset[bytes]]
"""Container (empty: the host) and network -> connections that had not been answered."""


class Flows:
    def __init__(
        self,
        linux: Linux,
        clock: Clock,
        tasks: Tasks,
        places: Callable[[], Iterable[OverlayNamespace]],
    ) -> None:
        self._linux = linux
        self._clock, self._tasks, self._places = clock, tasks, places
        self._worker = NetworkWorker(linux)
        self._left: dict[str, Departed] = {}
        self._tracked_here: dict[str, bool] = {}
        """Whether it is the ingress network, whose connections the host tracks too."""
        self._running = False

    def forget(self, left: Mapping[str, Departed], plans: Mapping[str, NetworkPlan]) -> None:
        """Soon. The maps must say so already, for what is taken up anew to go elsewhere.

        Args:
            left: by network.
            plans: what is true now: who has come back meanwhile is spared.
        """
        for network_id in left.keys() | self._left.keys():
            known = self._left.pop(network_id, Departed())
            if plan := plans.get(network_id):
                self._left[network_id] = known.and_then(left.get(network_id, Departed()), plan)
                self._tracked_here[network_id] = plan.network.ingress
        if self._left and not self._running:
            self._running = True
            self._tasks.spawn(self._work(), name="network/overlay/flows")

    async def _work(self) -> None:
        try:
            while self._left:
                # both at once: more may leave while these are looked for
                left, self._left = self._left, {}
                tracked_here, self._tracked_here = self._tracked_here, {}
                begun = await self._forget(left, tracked_here, {})
                if begun:
                    await self._clock.sleep(ANSWERED_WITHIN_S)
                    await self._forget(left, tracked_here, begun)
                await self._clock.sleep(PAUSE_S)
        except OSError as error:
            log.error("connections to members that have left stay: %s", error)
        finally:
            self._running = False

    async def _forget(
        self,
        left: Mapping[str, Departed],
        tracked_here: Mapping[str, bool],
        unanswered: Begun,
    ) -> Begun:
        """Args:
        unanswered: what this returned a moment ago; empty: nothing has been looked at yet.
        """
        begun: Begun = {}
        for network_id, departed in left.items():
            known = unanswered.get(("", network_id), frozenset())
            if tracked_here[network_id] and (known or not unanswered):
                task = functools.partial(forget_flows, self._linux, departed, known)
                if found := await self._worker.run(task):
                    begun["", network_id] = found
        for place in list(self._places()):
            for network_id in place.endpoints.keys() & left.keys():
                known = unanswered.get((place.container_id, network_id), frozenset())
                if unanswered and not known:
                    continue
                task = functools.partial(forget_flows, self._linux, left[network_id], known)
                inside = functools.partial(self._linux.netns.run_inside, place.path, task)
                with suppress(FileNotFoundError):
                    if found := await self._worker.run(inside):
                        begun[place.container_id, network_id] = found
        return begun

    async def close(self) -> None:
        await self._worker.close()
