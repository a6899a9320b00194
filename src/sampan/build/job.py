"""One build's common property: what every stage of it uses, and what is given back at its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TypeVar

from sampan.aio import Clock, Tasks, in_thread, shielded
from sampan.build.cache import Cache
from sampan.build.contract import BuildRequest
from sampan.build.plan import BuildPlan
from sampan.build.sandboxes import Sandboxes
from sampan.build.screen import Screen
from sampan.build.state import StageState
from sampan.build.tree import Tree
from sampan.config import DaemonConfig
from sampan.image.contract import Images, Snapshots
from sampan.network.contract import Networks
from sampan.runtime.contract import Runs
from sampan.store.contract import Store

T = TypeVar("T")

CLOSE_DEADLINE_S = 60.0
"""Everything a build borrowed must be given back within this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildParts:
    """What the builder stands on."""

    config: DaemonConfig
    store: Store
    images: Images
    snapshots: Snapshots
    runs: Runs
    networks: Networks
    clock: Clock


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """Enter it, use it, leave it: nothing of the build is left but images and cache rows."""

    parts: BuildParts
    request: BuildRequest
    plan: BuildPlan
    context: Tree
    screen: Screen
    cache: Cache
    sandboxes: Sandboxes
    total: int
    slots: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(len(os.sched_getaffinity(0)))
    )
    """Steps that work at the same time."""
    later: Tasks = field(default_factory=Tasks)
    """Cleanups that nobody needs to wait for before the build's end."""
    states: dict[int, asyncio.Future[StageState]] = field(default_factory=dict)
    standing_on: set[str] = field(default_factory=set)
    """Ids of the images that this build has used or made so far."""
    _undo: AsyncExitStack = field(default_factory=AsyncExitStack)
    _mounted: dict[str, asyncio.Task[Tree]] = field(default_factory=dict)
    _cleanups: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> Job:
        self.states = {
            stage.index: asyncio.get_running_loop().create_future() for stage in self.plan.stages
        }
        self._undo.push_async_callback(self.sandboxes.close)
        return self

    async def __aexit__(self, *_: object) -> None:
        # In one piece: a second cancellation must not get between two parts of it.
        await shielded(self._close(), deadline_s=CLOSE_DEADLINE_S)

    async def _close(self) -> None:
        # A mount under way must have happened before it can be taken back.
        if pending := [*self._cleanups, *self._mounted.values()]:
            await asyncio.wait(pending)
        await self._undo.aclose()
        await self.later.close()

    def afterwards(self, cleanup: Awaitable[None], *, name: str) -> None:
        """Do it beside the next step, but before the build ends."""

        async def run() -> None:
            await cleanup

        self._cleanups.append(self.later.spawn(run(), name=name))

    def remove_at_end(self, path: str) -> None:
        """A scratch file of ours."""
        self._undo.push_async_callback(in_thread, _unlink, path)

    async def source(self, chain_id: str, what: str) -> Tree:
        """The file system of another stage or image, mounted until the build ends."""
        task = self._mounted.get(chain_id)
        if task is None:
            task = self.later.spawn(self._mount(chain_id, what), name="build/source")
            self._mounted[chain_id] = task
        return await asyncio.shield(task)

    async def _mount(self, chain_id: str, what: str) -> Tree:
        key = secrets.token_hex(32)
        self._undo.push_async_callback(self.parts.snapshots.remove, key)
        await self.parts.snapshots.prepare(key, chain_id)
        root = await self.parts.snapshots.mount(key)
        return Tree(str(root), what, keeps_owner=True)

    async def in_thread(self, work: Callable[[threading.Event], T]) -> T:
        """Blocking work on files. When the build is cancelled, ``work`` is told to stop and is
        waited for: nothing may be removed under a thread that still writes there."""
        stop = threading.Event()
        task = self.later.attempt(in_thread(work, stop), name="build/files")
        try:
            ended = await asyncio.shield(task)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait({task})
            raise
        return ended.value()


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
