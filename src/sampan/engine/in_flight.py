"""What the engine keeps in memory of containers: locks, waiters, and the runs under way.

All of it can be lost: a restarted daemon makes it again from the store and from what it finds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sampan.aio import KeyedLocks, Tasks
from sampan.engine.stdio import StdioAttachments
from sampan.engine.waiters import Waiters

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class RunInFlight:
    """A run from RUNNING until its exit is stored and cleaned up after."""

    container_id: str
    number: int
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when everything that the run held has been given back."""
    begins_again: bool = False
    """The ``restart`` verb ends it: neither a restart policy nor auto-remove applies."""
    health: asyncio.Task[None] | None = None


class InFlight:
    def __init__(self) -> None:
        self.locks = KeyedLocks()
        """By container id. Held by every verb that changes a container, never while waiting for
        a process to end."""
        self.runs: dict[str, RunInFlight] = {}
        self.waiters = Waiters()
        self.attachments = StdioAttachments()
        self.tasks = Tasks()
        """Supervisors, health checks, backoffs: cancelled when the daemon stops."""
        self._verbs: set[asyncio.Task[Any]] = set()

    async def to_the_end(self, verb: Coroutine[Any, Any, T], name: str) -> T:
        """Run ``verb`` to its end also when the caller goes away: half a start helps nobody."""
        task = self.tasks.attempt(verb, name=name)
        self._verbs.add(task)
        task.add_done_callback(self._verbs.discard)
        # The verb's error is the caller's to report, not the log's.
        return (await asyncio.shield(task)).value()

    async def close(self, deadline_s: float) -> None:
        """Let verbs under way come to their end, then cancel everything else."""
        if self._verbs:
            await asyncio.wait(set(self._verbs), timeout=deadline_s)
        await self.tasks.close()


async def together(*steps: Awaitable[Any]) -> None:
    """Run ``steps`` at once and wait for all of them, also when one fails; then raise the first
    failure. Unlike a TaskGroup it cancels nothing: kernel work half done is worse than done."""
    for result in await asyncio.gather(*steps, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


async def all_of(what: str, *steps: Awaitable[Any]) -> None:
    """Run cleanup ``steps`` at once; failures are logged, for the others must go on and the next
    start of the daemon sweeps what is left."""
    for result in await asyncio.gather(*steps, return_exceptions=True):
        if isinstance(result, Exception):
            log.error("%s: %s", what, result, exc_info=result)
