"""OCI runtimes: finding one, and what is done to a run without starting it again.

For crun, two of its commands are done here directly, because what they do is known to the last
system call (docs/design/runtime.md shows it) and a process costs a hundred times more:

    start    open exec.fifo for writing, unlink it, write one zero byte
    delete   kill what is left, rmdir the cgroups, remove its state directory

Every other runtime gets its own command.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from sampan.errors import InvalidArgument
from sampan.kernel import process
from sampan.runtime.failures import creation_failed
from sampan.runtime.files import RunFiles

log = logging.getLogger(__name__)

BUILT_IN = ("crun", "runc")


@dataclass(frozen=True, slots=True)
class Runtime:
    name: str
    executable: str
    """What to execute: a path, or this process's descriptor of a sealed copy."""
    direct: bool
    """Is it crun, whose start and delete are done here?"""


class Runtimes:
    """The runtimes of one daemon, looked up once each."""

    def __init__(self, extra: dict[str, str], root: Path) -> None:
        self._extra = extra
        self._root = root
        self._known: dict[str, Runtime] = {}
        self._fds: list[int] = []

    def get(self, name: str) -> Runtime:
        """By name.

        Raises:
            InvalidArgument: not configured, or not installed.
        """
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        self._known.clear()

    def _find(self, name: str) -> Runtime:
        path = self._extra.get(name)
        if path is None:
            # containerd's names for the same thing, as clients send them.
            short = "runc" if name == "io.containerd.runc.v2" else name
            path = shutil.which(short) if short in BUILT_IN else None
        if path is None or not os.access(path, os.X_OK):
            hint = f": install the package {name}" if name in BUILT_IN else ""
            raise InvalidArgument(f"unknown or invalid runtime name: {name}{hint}")
        own = name in BUILT_IN and name not in self._extra
        executable = path
        if own:
            try:
                fd = process.sealed_copy(path)
            except OSError as error:
                log.warning("no sealed copy of %s: %s; it will make its own", path, error)
            else:
                self._fds.append(fd)
                executable = f"/proc/{os.getpid()}/fd/{fd}"
        return Runtime(name, executable, direct=own and name == "crun")

    def argv(self, runtime: Runtime, *arguments: str) -> list[str]:
        return [runtime.name, f"--root={self._root}", *arguments]

    async def start(self, runtime: Runtime, files: RunFiles, command: str) -> None:
        """Let a created run execute.

        Raises:
            CommandNotFound, CommandNotExecutable, Internal.
        """
        if runtime.direct and _release(files.exec_fifo):
            return
        code, output = await self.call(runtime, "start", files.id)
        if code:
            raise creation_failed(output, command)

    async def delete(self, runtime: Runtime, files: RunFiles) -> None:
        """Have the runtime forget a dead run; of crun's there is only its directory to remove,
        which is the caller's to do."""
        if runtime.direct or not files.oci.exists():
            return
        code, output = await self.call(runtime, "delete", "--force", files.id)
        if code:
            log.warning("%s delete %s: %s", runtime.name, files.id, output.strip())

    async def call(self, runtime: Runtime, *arguments: str) -> tuple[int, str]:
        """Run one command of the runtime to its end: exit code, and all it printed."""
        output = os.memfd_create("oci-output", os.MFD_CLOEXEC)
        try:
            child = process.spawn(
                self.argv(runtime, *arguments),
                executable=runtime.executable,
                fds={1: output, 2: output},
            )
            code = await child.wait()
            return code, os.pread(output, 65536, 0).decode("utf-8", "replace")
        finally:
            os.close(output)

    async def update(self, runtime: Runtime, run_id: str, resources: bytes) -> str:
        """Apply an OCI ``resources`` object to a live run; returns what went wrong, or ""."""
        source = os.memfd_create("oci-resources", os.MFD_CLOEXEC)
        try:
            os.write(source, resources)
            path = f"/proc/{os.getpid()}/fd/{source}"
            code, output = await self.call(runtime, "update", f"--resources={path}", run_id)
            return output if code else ""
        finally:
            os.close(source)


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
