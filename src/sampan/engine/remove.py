"""``rm`` and ``prune``, and what ``--rm`` does at the end of a run.

``removing`` is stored first, so that no start begins and a restarted daemon finishes the job; the
row goes last, because it is what remembers that there is something to clean.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable

import msgspec

from sampan.aio import in_thread
from sampan.engine.announce import Announcer
from sampan.engine.books import Books
from sampan.engine.live import Live
from sampan.engine.parts import Parts
from sampan.errors import NotFound
from sampan.runtime.contract import ExitStatus
from sampan.store.records import Container

log = logging.getLogger(__name__)


class ContainerRemover:
    """Takes away a container that does not run."""

    def __init__(self, parts: Parts, books: Books, live: Live, announce: Announcer) -> None:
        self._parts, self._books, self._live, self._announce = parts, books, live, announce
        self.removed: list[Callable[[str], None]] = []
        """Told the id of every container that has gone."""

    async def remove(self, container: Container, *, volumes: bool) -> None:
        """The container's lock is held, it does not run. ``volumes``: its anonymous ones too."""
        container_id = container.id
        container = self._books.change(
            container_id, lambda c: msgspec.structs.replace(c, removing=True)
        )
        try:
            self._live.attachments.give_up(container_id)
            # Usually gone since the run's end; after a failed cleanup this is the second try.
            await self._parts.runs.delete(container_id)
            await self._parts.networks.close_sandbox(container_id)
            await self._parts.snapshots.remove(container_id)
            directory = self._parts.config.paths.container(container_id)
            await in_thread(shutil.rmtree, directory, ignore_errors=True)
            self._books.forget(container)
        except BaseException:
            self._books.change(
                container_id, lambda c: msgspec.structs.replace(c, removing=False, dead=True)
            )
            raise
        if volumes:
            await self._anonymous_volumes(container)
        run = container.run
        status = ExitStatus(run.exit_code if run else 0, run.finished_at if run else 0.0)
        for told in self.removed:
            told(container_id)
        self._announce.container("destroy", container)
        self._live.waiters.resolve(container_id, status, "removed", "not-running", "next-exit")

    async def _anonymous_volumes(self, container: Container) -> None:
        for point in container.mount_points:
            if point.type != "volume" or not point.anonymous or self._used(point.name):
                continue
            volume = self._parts.store.volumes.get(point.name)
            try:
                await self._parts.volumes.remove(point.name)
            except NotFound:
                continue
            if volume is not None:
                self._announce.volume("destroy", volume)

    def _used(self, name: str) -> bool:
        return any(
            point.name == name
            for other in self._parts.store.containers.values()
            for point in other.mount_points
        )
