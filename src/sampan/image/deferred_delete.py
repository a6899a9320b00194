"""Deleting without making anyone wait. A crash leaves the rest to the sweep at the next start: what
goes is in ``tmp/`` already, or no row refers to it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from sampan.aio import Tasks, in_thread

DISCARD_S = 600.0
"""How long a cleanup may take whose caller is gone: a large tree on a slow disk."""


class DeferredDelete:
    """Deletes in the background. ``close`` waits until all of it is gone."""

    def __init__(self) -> None:
        self._tasks = Tasks()
        self._pending: set[asyncio.Task[Any]] = set()

    def put(self, path: Path, *, after: Awaitable[None] | None = None) -> None:
        """Delete ``path``, when ``after`` is over; if that fails, it stays."""
        task = self._tasks.spawn(_discard(path, after), name=f"delete {path.name}")
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def close(self) -> None:
        if self._pending:
            await asyncio.wait(self._pending)


async def _discard(path: Path, after: Awaitable[None] | None) -> None:
    if after is not None:
        await after
    await in_thread(discard, path)


def discard(path: Path) -> None:
    """Remove a file or a tree, whatever it holds. Idempotent. Blocks.

    Raises:
        OSError: something in it could not be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=_unless_gone)
    else:
        path.unlink(missing_ok=True)


def _unless_gone(function: object, path: str, caught: Any) -> None:
    error = caught[1]
    if not isinstance(error, FileNotFoundError):
        raise error
