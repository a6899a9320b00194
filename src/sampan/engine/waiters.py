"""Who waits for a container to stop, to end its next run, or to be gone."""

from __future__ import annotations

import asyncio

from sampan.engine.contract import WaitCondition
from sampan.runtime.contract import ExitStatus


class Waiters:
    """Futures by container and condition; the lifecycle resolves them."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[WaitCondition, asyncio.Future[ExitStatus]]]] = {}

    def add(self, container_id: str, condition: WaitCondition) -> asyncio.Future[ExitStatus]:
        """Register now. The future may be cancelled by its owner at any time."""
        future: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(container_id, []).append((condition, future))
        return future

    def resolve(self, container_id: str, status: ExitStatus, *conditions: WaitCondition) -> None:
        """Wake those who wait for one of ``conditions``."""
        left = []
        for condition, future in self._waiting.pop(container_id, ()):
            if future.done():
                continue
            if condition in conditions:
                future.set_result(status)
            else:
                left.append((condition, future))
        if left:
            self._waiting[container_id] = left
