"""Who has ended: one watch on the exit directory for every run, and one descriptor a monitor.

The exit file is the truth: the monitor writes it after it has drained the container's output into
the log. A monitor that dies without one (kill -9, out of memory) has taken the container's stdio
with it: the container is killed and 255 is recorded in its stead, so that nobody waits forever.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

from sampan.aio import Tasks
from sampan.kernel import process
from sampan.kernel.inotify import IN_CLOSE_WRITE, IN_MOVED_TO, IN_Q_OVERFLOW, Inotify
from sampan.runtime.contract import ExitStatus
from sampan.runtime.files import RunFiles, RunRecord

log = logging.getLogger(__name__)

UNKNOWN_EXIT = 255


class Exits:
    """Waits for runs to end."""

    def __init__(self, directory: Path, oom_killed: Callable[[RunFiles], bool]) -> None:
        self._directory = directory
        self._oom_killed = oom_killed
        self._waiting: dict[str, asyncio.Future[ExitStatus]] = {}
        self._files: dict[str, RunFiles] = {}
        self._tasks = Tasks()
        self._inotify = Inotify()
        self._inotify.add(directory, IN_MOVED_TO | IN_CLOSE_WRITE)
        self._tasks.spawn(self._watch(), name="exits")

    async def close(self) -> None:
        self._inotify.close()
        await self._tasks.close()
        for future in self._waiting.values():
            future.cancel()
        self._waiting.clear()

    def recorded(self, files: RunFiles) -> ExitStatus | None:
        """What the exit file says; None while there is none."""
        try:
            with open(files.exit, "rb") as file:
                content = file.read()
                written = os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            return None
        if not content:
            return None
        # conmon writes -1 when it could not learn the code.
        code = int(content)
        return ExitStatus(
            code if 0 <= code <= 255 else UNKNOWN_EXIT, written, self._oom_killed(files)
        )

    async def wait(self, files: RunFiles, record: RunRecord) -> ExitStatus:
        """Until the exit file is there, or the monitor is not."""
        if (status := self.recorded(files)) is not None:
            return status
        future = self._waiting.get(files.id)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            self._waiting[files.id] = future
            self._files[files.id] = files
            self._tasks.spawn(self._guard(files, record), name=f"monitor of {files.id[:12]}")
        # Shielded: one waiter's cancellation is not the others'.
        return await asyncio.shield(future)

    def settle(self, files: RunFiles) -> None:
        """The exit file is about to be removed: tell those who still wait."""
        if files.id in self._waiting:
            self._finish(files.id)

    async def _watch(self) -> None:
        async for event in self._inotify:
            if event.mask & IN_Q_OVERFLOW:
                for run_id in list(self._waiting):
                    self._finish(run_id)
            elif event.name in self._waiting:
                self._finish(event.name)

    def _finish(self, run_id: str) -> None:
        status = self.recorded(self._files[run_id])
        if status is None:
            return
        future = self._waiting.pop(run_id)
        del self._files[run_id]
        if not future.done():
            future.set_result(status)

    async def _guard(self, files: RunFiles, record: RunRecord) -> None:
        await process.wait_gone(record.monitor_pid, record.monitor_started)
        # Its last act may have been the exit file.
        self.settle(files)
        if files.id not in self._waiting:
            return
        log.warning("the monitor of %s died; killing what it held", files.id[:12])
        process.send_signal(record.pid, record.pid_started, signal.SIGKILL)
        await process.wait_gone(record.pid, record.pid_started)
        temporary = files.exit.with_suffix(".new")
        temporary.write_text(str(UNKNOWN_EXIT))
        temporary.rename(files.exit)
        self.settle(files)
