"""One more process in a running container: a child of the daemon, through ``RUNTIME exec``.

The runtime stays as the process's parent and hands its exit code on. Success is heard from the
pid file: a number means that the process runs, an end without one that the runtime has given up and
said why in its log. For a runtime that writes into it in place it is a pipe, for others a file in a
directory that is watched.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal as signals
import socket
import struct
import termios
from collections.abc import AsyncIterator
from pathlib import Path

from sampan.aio import first_of, in_thread, shielded
from sampan.kernel import process
from sampan.kernel.inotify import IN_MOVED_TO, Inotify
from sampan.kernel.process import Child
from sampan.runtime.contract import ExecSpec, NoSuchRun, Stream
from sampan.runtime.failures import exec_failed
from sampan.runtime.oci_runtimes.contract import OciRuntime
from sampan.runtime.streams import PipeOut, Writer, pipe_writer

_PID_FD = 9
_LOG_FD = 8
_SPEC_FD = 10
_DRAIN_S = 1.0
"""How long an ended exec's pipes may stay open in the hands of processes it left behind."""


class Exec:
    """ExecProcess of a real run."""

    def __init__(self, child: Child, pid: int, out: PipeOut, stdin: int, tty: int) -> None:
        self._child = child
        self._pid = pid
        self._pid_started = process.start_time(pid) or 0
        self._out = out
        self._tty = tty
        self._stdin_fd = stdin
        self._stdin: Writer | None = pipe_writer(stdin) if stdin >= 0 else None

    @property
    def pid(self) -> int:
        return self._pid

    async def output(self) -> AsyncIterator[tuple[Stream, bytes]]:
        async for item in self._out.chunks:
            yield item

    async def write(self, data: bytes) -> None:
        if self._stdin is None:
            raise BrokenPipeError("stdin is closed")
        await self._stdin.write(data)

    async def close_stdin(self) -> None:
        # A terminal has no end of its own: its user types ^D.
        if self._tty < 0:
            self._drop_stdin()

    async def close(self) -> None:
        self._drop_stdin()
        if self._tty >= 0:
            os.close(self._tty)
            self._tty = -1
        self._out.close()

    async def wait(self) -> int:
        code = await self._child.wait()
        # A daemon that it left behind may hold the pipes for good: its output is not waited for.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._out.drained.wait(), _DRAIN_S)
        return code

    async def resize(self, rows: int, columns: int) -> None:
        if self._tty >= 0:
            fcntl.ioctl(self._tty, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def kill(self, signal: int) -> None:
        if not process.send_signal(self._pid, self._pid_started, signal):
            self._child.send(signals.SIGCONT)  # it is gone or about to be; nothing to kill

    def _drop_stdin(self) -> None:
        if self._stdin is not None:
            self._stdin.close()
            self._stdin = None
            os.close(self._stdin_fd)


class _Descriptors:
    """Those opened on the way to a process: all closed unless somebody took them over."""

    def __init__(self) -> None:
        self._open: set[int] = set()

    def pipe(self) -> tuple[int, int]:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        self._open |= {reader, writer}
        return reader, writer

    def memory(self, name: str, content: bytes) -> int:
        fd = os.memfd_create(name, os.MFD_CLOEXEC)
        self._open.add(fd)
        os.write(fd, content)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    def own(self, fd: int) -> int:
        self._open.add(fd)
        return fd

    def close(self, fd: int) -> None:
        self._open.remove(fd)
        os.close(fd)

    def release(self, fd: int) -> int:
        self._open.discard(fd)
        return fd

    def close_all(self) -> None:
        for fd in self._open:
            os.close(fd)
        self._open.clear()


async def start(runtime: OciRuntime, spec: ExecSpec, process_json: bytes, directory: Path) -> Exec:
    """Start it and wait until it executes.

    Raises:
        CommandNotFound, CommandNotExecutable, NoSuchRun, InvalidArgument, Internal.
    """
    fds = _Descriptors()
    console: _Console | None = None
    pid_file: _PidFile | None = None
    try:
        in_place = runtime.capabilities.writes_pid_in_place
        log = fds.memory("exec-log", b"")
        given = {
            _LOG_FD: log,
            _SPEC_FD: fds.memory("exec-process", process_json),
        }
        arguments = [
            f"--log=/proc/self/fd/{_LOG_FD}",
            "exec",
            f"--process=/proc/self/fd/{_SPEC_FD}",
        ]
        pid_reader = -1
        if in_place:
            pid_reader, given[_PID_FD] = fds.pipe()
            arguments.append(f"--pid-file=/proc/self/fd/{_PID_FD}")
        else:
            pid_file = _PidFile(directory, spec.exec_id)
            arguments.append(f"--pid-file={pid_file.path}")
        stdin = -1
        pipes: dict[int, Stream] = {}
        if spec.tty:
            console = _Console(directory, spec.exec_id)
            arguments.append(f"--console-socket={console.path}")
        else:
            stdout, given[1] = fds.pipe()
            stderr, given[2] = fds.pipe()
            pipes = {stdout: "stdout", stderr: "stderr"}
            if spec.stdin:
                given[0], stdin = fds.pipe()
        child = await process.start(
            [runtime.name, *runtime.arguments, *arguments, spec.run_id],
            executable=runtime.found or await in_thread(runtime.executable),
            fds=given,
        )
        for number, fd in given.items():
            if number != _LOG_FD:
                fds.close(fd)
        try:
            if pid_file is not None:
                pid = await pid_file.pid(child)
            else:
                pid = int(await _first_of(pid_reader) or 0)
        except asyncio.CancelledError:
            child.send(signals.SIGKILL)
            await shielded(child.wait())
            raise
        if not pid:
            await child.wait()
            said = os.pread(log, 16384, 0).decode("utf-8", "replace")
            raise _failure(said, spec)
        if console is not None:
            master = fds.own(await console.master())
            keeper = fds.own(os.dup(master))
            if spec.stdin:
                stdin = fds.own(os.dup(master))
                fds.release(stdin)
            return Exec(
                child, pid, PipeOut({fds.release(master): "stdout"}), stdin, fds.release(keeper)
            )
        for fd in (*pipes, stdin):
            fds.release(fd)
        return Exec(child, pid, PipeOut(pipes), stdin, -1)
    finally:
        fds.close_all()
        if console is not None:
            console.close()
        if pid_file is not None:
            pid_file.close()


class _PidFile:
    """A file that appears, whole, when the process runs."""

    def __init__(self, directory: Path, exec_id: str) -> None:
        self.path = directory / f"exec-{exec_id[:16]}.pid"
        self._changes = Inotify()
        self._changes.add(directory, IN_MOVED_TO)

    async def pid(self, child: Child) -> int:
        """0: the runtime has ended without one."""
        name, _ = await first_of(there=self._there(), ended=child.wait())
        if name == "ended" and not self.path.exists():
            return 0
        return int(self.path.read_text())

    async def _there(self) -> None:
        async for event in self._changes:
            if event.name == self.path.name:
                return

    def close(self) -> None:
        self._changes.close()
        self.path.unlink(missing_ok=True)


class _Console:
    """The socket over which a runtime hands a terminal's master to the caller."""

    def __init__(self, directory: Path, exec_id: str) -> None:
        # As short as it gets: a socket's path has 107 bytes at most.
        self._directory = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._name = f"tty-{exec_id[:16]}"
        self.path = f"/proc/{os.getpid()}/fd/{self._directory}/{self._name}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.bind(self.path)
            self._socket.listen(1)
            self._socket.setblocking(False)
        except OSError:
            self.close()
            raise

    async def master(self) -> int:
        """The master. The runtime has sent it before it reports the pid."""
        connection, _ = await asyncio.get_running_loop().sock_accept(self._socket)
        with connection:
            connection.setblocking(True)
            _data, received, _flags, _address = socket.recv_fds(connection, 64, 1)
            return received[0]

    def close(self) -> None:
        self._socket.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        os.close(self._directory)


def _failure(said: str, spec: ExecSpec) -> Exception:
    low = said.lower()
    if "is not running" in low or "does not exist" in low or "not a running" in low:
        return NoSuchRun(f"Container {spec.run_id} is not running")
    return exec_failed(said, spec.args[0] if spec.args else "")


async def _first_of(fd: int) -> bytes:
    """What the first write brought, or nothing when the last writer has gone.

    Not up to the end: the runtime keeps its end open as long as it waits for the process.
    """
    loop = asyncio.get_running_loop()
    os.set_blocking(fd, False)
    done: asyncio.Future[bytes] = loop.create_future()

    def readable() -> None:
        try:
            data = os.read(fd, 64)
        except BlockingIOError:
            return
        if not done.done():
            done.set_result(data)

    loop.add_reader(fd, readable)
    try:
        return await done
    finally:
        loop.remove_reader(fd)
