"""``crun``: two of its commands are done here directly, because what they do is known to the last
system call (docs/design/runtime.md shows it) and a process costs a hundred times more:

    start    open exec.fifo for writing, unlink it, write one zero byte
    delete   kill what is left, rmdir the cgroups, remove its state directory
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from sampan.runtime.files import RunFiles
from sampan.runtime.oci_runtimes.command_line import CommandLineRuntime
from sampan.runtime.oci_runtimes.contract import RuntimeCapabilities

NAME = "crun"


class Crun(CommandLineRuntime):
    capabilities = RuntimeCapabilities(
        writes_pid_in_place=True, takes_bpf=True, binds_all_below=True
    )

    def __init__(self, root: Path) -> None:
        super().__init__(NAME, NAME, root, package=NAME, sealed=True)

    async def start(self, files: RunFiles, command: str) -> None:
        if not _release(files.exec_fifo):
            await super().start(files, command)

    async def delete(self, files: RunFiles) -> None:
        """There is only its directory to remove, which is the caller's to do."""


def _release(fifo: Path) -> bool:
    """What ``crun start`` does to its container; False: let crun say what is wrong."""
    try:
        # Without a reader (the process has died) a blocking open would never return.
        fd = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            return False
        raise
    try:
        fifo.unlink()
        os.write(fd, b"\0")
    finally:
        os.close(fd)
    return True
