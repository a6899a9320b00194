"""An OCI runtime by the command line that all of them share.

A driver of its own adds what is known of one program: see ``crun``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from sampan.aio import in_thread
from sampan.kernel import process
from sampan.runtime.failures import creation_failed
from sampan.runtime.files import RunFiles
from sampan.runtime.oci_runtimes.contract import (
    ANSWERS_WITHIN_S,
    RuntimeCapabilities,
    RuntimeHangs,
    UnknownRuntime,
)

log = logging.getLogger(__name__)


class CommandLineRuntime:
    """``OciRuntime``: every operation is one command of the program.

    ``program`` is a path, or a name that is looked for in PATH when it is first used. ``package``
    is what to install where a built-in one is missing. ``sealed``: execute a sealed copy in memory,
    which a container cannot write to through /proc/self/exe; the program would make one for every
    command otherwise.
    """

    capabilities = RuntimeCapabilities()

    def __init__(
        self,
        name: str,
        program: str,
        root: Path,
        arguments: Sequence[str] = (),
        *,
        package: str = "",
        sealed: bool = False,
        answers_within_s: float = ANSWERS_WITHIN_S,
    ) -> None:
        self.name = name
        self.answers_within_s = answers_within_s
        self.arguments = (f"--root={root}", *arguments)
        self._program, self._package, self._sealed = program, package, sealed
        self._executable = ""
        self._finding = threading.Lock()
        self._fd = -1

    @property
    def path(self) -> str:
        return shutil.which(self._program) or ""

    @property
    def found(self) -> str:
        return self._executable

    def executable(self) -> str:
        with self._finding:  # two threads would make two copies, and one would stay
            return self._find()

    def _find(self) -> str:
        if not self._executable:
            path = self.path
            if not path:
                cure = (
                    f"install the package {self._package}"
                    if self._package
                    else f"{self._program} is not a program of this host: correct its path in "
                    "`runtimes` of daemon.json"
                )
                raise UnknownRuntime(self.name, cure)
            self._executable = self._copy_of(path) if self._sealed else path
        return self._executable

    def _copy_of(self, path: str) -> str:
        try:
            self._fd = process.sealed_copy(path)
        except OSError as error:
            log.warning("no sealed copy of %s: %s; it will make its own", path, error)
            return path
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._executable = -1, ""

    async def start(self, files: RunFiles, command: str) -> None:
        code, output = await self._call("start", files.id)
        if code:
            raise creation_failed(output, command)

    async def delete(self, files: RunFiles) -> None:
        if not files.oci.exists():
            return
        try:
            code, output = await self._call("delete", "--force", files.id)
        except RuntimeHangs as error:
            code, output = -1, str(error)
        if code:
            log.warning("%s delete %s: %s", self.name, files.id, output.strip())

    async def update(self, run_id: str, resources: bytes) -> str:
        source = os.memfd_create("oci-resources", os.MFD_CLOEXEC)
        try:
            os.write(source, resources)
            path = f"/proc/{os.getpid()}/fd/{source}"
            code, output = await self._call("update", f"--resources={path}", run_id)
            return output if code else ""
        finally:
            os.close(source)

    async def _call(self, *arguments: str) -> tuple[int, str]:
        """Run one command to its end: exit code, and all it printed. Raises RuntimeHangs."""
        output = os.memfd_create("oci-output", os.MFD_CLOEXEC)
        try:
            child = await process.start(
                [self.name, *self.arguments, *arguments],
                executable=self.found or await in_thread(self.executable),
                fds={1: output, 2: output},
            )
            try:
                async with asyncio.timeout(self.answers_within_s):
                    code = await child.wait()
            except TimeoutError:
                child.send(signal.SIGKILL)
                await child.wait()
                raise RuntimeHangs(self.name, arguments[0], self.answers_within_s) from None
            return code, os.pread(output, 65536, 0).decode("utf-8", "replace")
        finally:
            os.close(output)
