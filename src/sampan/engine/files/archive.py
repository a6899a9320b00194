"""``docker cp`` both ways, and ``export``: files in and out of containers, running or not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sampan.engine.container_index import ContainerIndex
from sampan.engine.contract import NoSuchPath, PathStat
from sampan.engine.files.rootfs_access import NothingThere, RootfsAccess
from sampan.engine.observe.emit_events import EventEmitter
from sampan.engine.parts import Parts
from sampan.errors import InvalidArgument


class Archives:
    def __init__(
        self, parts: Parts, containers: ContainerIndex, emit: EventEmitter, views: RootfsAccess
    ) -> None:
        self._parts, self._containers, self._emit, self._views = parts, containers, emit, views

    async def stat(self, ref: str, path: str) -> PathStat:
        """Raises NoSuchContainer, NoSuchPath."""
        container = self._containers.get(ref)
        async with self._views.of(container.id) as place:
            job = {"job": "stat", "path": _checked(path), **place}
            with _named(path, ref):
                return PathStat(**await self._views.workers.run(job))

    @asynccontextmanager
    async def get(
        self, ref: str, path: str
    ) -> AsyncIterator[tuple[PathStat, AsyncIterator[bytes]]]:
        """What is at ``path``, and a tar of it and all below.

        Raises:
            NoSuchContainer, NoSuchPath
        """
        container = self._containers.get(ref)
        async with self._views.of(container.id) as place:
            frames = self._views.workers.frames({"job": "get", "path": _checked(path), **place})
            try:
                with _named(path, ref):
                    found = PathStat(**json.loads(await anext(frames)))
                self._emit.container("archive-path", container)
                yield found, frames
            finally:
                await frames.aclose()  # type: ignore[attr-defined]

    async def put(
        self,
        ref: str,
        path: str,
        data: AsyncIterator[bytes],
        *,
        keep_kinds: bool = False,
        container_owner: bool = False,
    ) -> None:
        """Unpack a tar (of any compression) in the directory ``path``.

        Args:
            keep_kinds: a directory and something else never replace each other.
            container_owner: everything belongs to the container's user, not to whom the tar says.

        Raises:
            NoSuchContainer, NoSuchPath, Forbidden (read-only), Exhausted; InvalidArgument: no
            tar, no directory, or kinds that clash. What was unpacked before stays.
        """
        container = self._containers.get(ref)
        async with self._views.of(container.id) as place:
            job: dict[str, Any] = {
                "job": "put",
                "path": _checked(path),
                "keep_kinds": keep_kinds,
                "user": container.spec.user if container_owner else "",
                "stream": True,
                **place,
            }
            with _named(path, ref):
                await self._views.workers.run(job, data)
            self._emit.container("extract-to-dir", container)

    async def export(self, ref: str) -> AsyncIterator[bytes]:
        """The root file system as a tar; what is mounted in it (volumes) is left out."""
        container = self._containers.get(ref)
        async with self._views.snapshot(container.id) as place:
            self._emit.container("export", container)
            frames = self._views.workers.frames({"job": "export", **place})
            try:
                async for chunk in frames:
                    yield chunk
            finally:
                await frames.aclose()  # type: ignore[attr-defined]


class _named:
    """Errors about the path, in the words of who asked."""

    def __init__(self, path: str, ref: str) -> None:
        self._path, self._ref = path, ref

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, NothingThere):
            raise NoSuchPath(self._path, self._ref) from error


def _checked(path: str) -> str:
    if not path:
        raise InvalidArgument("bad parameter: path cannot be empty")
    if "\0" in path:
        raise InvalidArgument("bad parameter: path contains a NUL byte")
    return path
