"""conmon, the monitor: starting one for a run, and hearing how the creation went.

The monitor forks away from us at once (it must outlive the daemon), so all there is to hear from
it is a pipe: one line of JSON, ``{"data": PID}`` or ``{"data": -1, "message": "..."}``.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable
from dataclasses import dataclass

import msgspec

from sampan import components
from sampan.aio import CLEANUP_DEADLINE_S, shielded
from sampan.errors import Internal
from sampan.kernel import process
from sampan.runtime.contract import BundleSpec
from sampan.runtime.failures import creation_failed
from sampan.runtime.files import RunFiles, read_pid
from sampan.runtime.oci_runtimes.contract import OciRuntime, RuntimeHangs

_SYNC_FD = 3


class _Report(msgspec.Struct):
    data: int
    message: str = ""


@dataclass(frozen=True, slots=True)
class Monitored:
    """A created run: who holds it, who it is."""

    pid: int
    pid_started: int
    monitor_pid: int
    monitor_started: int


def find() -> str:
    """Path of conmon.

    Raises:
        Unsupported: it is not installed.
    """
    return str(components.require(components.CONMON))


def arguments(conmon: str, spec: BundleSpec, files: RunFiles, runtime: OciRuntime) -> list[str]:
    """conmon's command line for a run, whose ``runtime.executable`` has been called."""
    log = "none" if spec.log_path is None else f"k8s-file:{spec.log_path}"
    argv = [
        conmon,
        "--api-version=1",
        f"--cid={files.id}",
        f"--cuuid={files.id}",
        f"--runtime={runtime.found}",
        *(f"--runtime-arg={argument}" for argument in runtime.arguments),
        f"--bundle={files.directory}",
        f"--container-pidfile={files.pid}",
        f"--conmon-pidfile={files.monitor_pid}",
        f"--exit-dir={files.exit.parent}",
        f"--log-path={log}",
        # The socket lies in the bundle directory, and nothing is cut off its path.
        "--full-attach",
        # A container's log is not worth an fsync at its end: 10 to 30 ms on a disk.
        "--no-sync-log",
    ]
    if spec.tty:
        argv.append("--terminal")
    if spec.open_stdin:
        argv.append("--stdin")
        if spec.tty or not spec.stdin_once:
            argv.append("--leave-stdin-open")
    return argv


async def launch(
    argv: list[str], files: RunFiles, command: str, env: dict[str, str], runtime: OciRuntime
) -> Monitored:
    """Start the monitor and wait until the runtime has created the container.

    Raises:
        CommandNotFound, CommandNotExecutable, InvalidArgument, Internal: as the runtime says.
        RuntimeHangs: it says nothing; it and the monitor are killed.
    """
    ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(theirs, True)
    errors = os.memfd_create("monitor-errors", os.MFD_CLOEXEC)
    starting = process.start(
        argv,
        fds={_SYNC_FD: theirs, 2: errors},
        env={**env, "_OCI_SYNCPIPE": str(_SYNC_FD)},
    )
    try:
        # To its end even when the caller gives up: only then is it known what there is to undo.
        line = await shielded(
            _answer(starting, ours, theirs, files, runtime),
            deadline_s=runtime.answers_within_s + CLEANUP_DEADLINE_S,
        )
        if not line:
            said = os.pread(errors, 4096, 0).decode("utf-8", "replace").strip()
            raise Internal(f"the monitor conmon ended without a report: {said or 'no message'}")
        report = msgspec.json.decode(line, type=_Report)
        if report.data <= 0:
            raise creation_failed(report.message, command)
    finally:
        os.close(ours)
        os.close(errors)
    pid_started = process.start_time(report.data)
    monitor_pid = read_pid(files.monitor_pid)
    monitor_started = process.start_time(monitor_pid)
    return Monitored(report.data, pid_started or 0, monitor_pid, monitor_started or 0)


async def _answer(
    starting: Awaitable[process.Child], ours: int, theirs: int, files: RunFiles, runtime: OciRuntime
) -> bytes:
    """What the monitor says through the pipe from ``theirs``, which is closed, to ``ours``."""
    try:
        parent = await starting
    finally:
        os.close(theirs)
    limit = runtime.answers_within_s
    try:
        async with asyncio.timeout(limit):  # real time: a real process's
            line = await _read_line(ours)
            # conmon's first process ends as soon as it has forked the one that stays.
            await parent.wait()
    except TimeoutError:
        # The runtime goes with the monitor, which it has for its parent.
        process.send_signal(read_pid(files.monitor_pid), 0, signal.SIGKILL)
        raise RuntimeHangs(runtime.name, "create", limit) from None
    finally:
        # It may have forked nothing yet, or not end for another reason. One that has is gone.
        parent.send(signal.SIGKILL)
        await parent.wait()
    return line


async def _read_line(fd: int) -> bytes:
    """Up to the first newline, or to the end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    collected = bytearray()

    def readable() -> None:
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return
        collected.extend(data)
        if (not data or b"\n" in data) and not done.done():
            done.set_result(None)

    loop.add_reader(fd, readable)
    try:
        await done
    finally:
        loop.remove_reader(fd)
    return bytes(collected)
