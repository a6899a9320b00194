"""Starting, watching and signalling processes by descriptor, never by a bare pid.

A pid may be given to another process the moment its owner is reaped; a pidfd never changes
hands. A pid read from a file is therefore only used together with its start time.

asyncio's own subprocess support is left alone: it costs a watcher thread or a SIGCHLD handler and
a transport a pipe. ``posix_spawn`` shares the parent's memory until exec, so that a daemon of
200 MB starts a child as fast as a small one. Its caller waits for the child's exec, and on a busy
host that is late: ``start`` waits in a thread.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from sampan.kernel.priority import put_first
from sampan.kernel.spawning import posix_spawn

log = logging.getLogger(__name__)

_POLLS = {"x86_64": (b"7", b"271"), "aarch64": (b"73",)}.get(os.uname().machine)
"""System calls by number, as /proc/PID/syscall has them: ``poll`` and ``ppoll``."""


def _go_first() -> None:
    with suppress(OSError):  # the daemon has said once that it cannot
        put_first()


_THREADS = ThreadPoolExecutor(4, thread_name_prefix="spawn", initializer=_go_first)
"""Of their own: a start does not queue behind what waits for a disk, and it goes first like the
loop."""
_RESET = (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def start_time(pid: int) -> int | None:
    """``starttime`` of /proc/PID/stat in clock ticks since boot; None when there is no such
    process or it is a zombie (dead for all purposes but its parent's)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name stands in parentheses and may hold blanks and parentheses itself.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def waits_for_events(pid: int) -> bool:
    """Whether that process (of one thread) sleeps in ``poll``, or is gone. A descriptor that became
    readable before the call woke it up: it has been seen to by then."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state = file.read().rpartition(b") ")[2][:1]
        if state != b"S" or _POLLS is None:
            return state in (b"S", b"Z", b"X")
        with open(f"/proc/{pid}/syscall", "rb") as file:
            words = file.read().split()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return words[0] in _POLLS


def open_process(pid: int, started: int) -> int | None:
    """A pidfd for exactly the process that had ``pid`` and began at ``started`` (0: any).

    None when it is gone. The caller closes the descriptor.
    """
    if pid <= 0:
        return None
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    # Checked after the descriptor is open: from here on the pid cannot move under us.
    now = start_time(pid)
    if now is None or (started and now != started):
        os.close(fd)
        return None
    return fd


def send_signal(pid: int, started: int, number: int) -> bool:
    """Signal exactly that process; False when it is gone."""
    fd = open_process(pid, started)
    if fd is None:
        return False
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


async def ended(pidfd: int) -> None:
    """Wait until the process behind ``pidfd`` (child or not) has ended; does not reap it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    # A copy: the loop keys its readers by number, and another waiter may watch the original.
    fd = os.dup(pidfd)
    loop.add_reader(fd, _resolve, done)
    try:
        await done
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def wait_gone(pid: int, started: int) -> None:
    """Wait until that process is gone; returns at once when it already is."""
    fd = open_process(pid, started)
    if fd is None:
        return
    try:
        await ended(fd)
    finally:
        os.close(fd)


def exit_code(status: os.waitid_result) -> int:
    """0..255 as a shell says it: 128+N when killed by signal N."""
    if status.si_code == os.CLD_EXITED:
        return status.si_status & 0xFF
    return 128 + (status.si_status & 0x7F)


class Child:
    """A child process: reaped by ``wait``, which must be awaited once by somebody."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        # The child cannot be reaped by anyone else, so the pid is still its own here.
        self._pidfd = os.pidfd_open(pid)
        self._code: int | None = None

    @property
    def returncode(self) -> int | None:
        """0..255 once reaped."""
        return self._code

    async def wait(self) -> int:
        """The exit code (0..255). Any number of waiters."""
        if self._code is None:
            await ended(self._pidfd)
        return self.reap()

    def reap(self) -> int:
        """The exit code (0..255). Blocks until it has ended; from one thread at a time."""
        if self._code is None:
            status = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
            assert status is not None
            self._code = exit_code(status)
            os.close(self._pidfd)
        return self._code

    def send(self, number: int) -> bool:
        """Signal it; False when it has ended."""
        if self._code is not None:
            return False
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return False
        return True


async def start(
    argv: Sequence[str],
    *,
    fds: Mapping[int, int],
    env: Mapping[str, str] | None = None,
    executable: str | None = None,
    new_session: bool = False,
) -> Child:
    """``spawn`` without holding up the loop: in a thread.

    The loop would wait with it for the child's turn on a processor, which no other child of ours
    need be running to delay. Whoever is cancelled meanwhile leaves no child: it is killed, and gone
    when CancelledError is raised.

    Raises:
        OSError: the program does not exist or cannot be executed.
    """
    call = partial(spawn, argv, fds=fds, env=env, executable=executable, new_session=new_session)
    job = _THREADS.submit(call)
    started = asyncio.wrap_future(job)
    try:
        return await asyncio.shield(started)
    except asyncio.CancelledError:
        undone = asyncio.wrap_future(_THREADS.submit(_undo, job))
        # However often it is cancelled: the caller closes ``fds``, which the child is to get.
        both: list[asyncio.Future[Any]] = [started, undone]
        while not all(future.done() for future in both):
            with suppress(asyncio.CancelledError):
                await asyncio.wait(both)
        # Looked at, or the loop reports what nobody has seen: why there is no child is of no
        # interest to who gave up; that one cannot be ended is.
        started.exception()
        if (error := undone.exception()) is not None:
            log.error("a cancelled start of %s cannot be undone", argv[0], exc_info=error)
        raise


def _undo(job: Future[Child]) -> None:
    """Have the child of ``job`` killed and gone, if there comes one."""
    # Not by the exception that ``spawn`` says it raises: whatever came instead of a child, there is
    # none, and whoever is cancelled hears of the cancellation alone.
    if job.exception() is None:
        child = job.result()
        child.send(signal.SIGKILL)
        child.reap()


def spawn(
    argv: Sequence[str],
    *,
    fds: Mapping[int, int],
    env: Mapping[str, str] | None = None,
    executable: str | None = None,
    new_session: bool = False,
) -> Child:
    """Start a child. Blocks until its exec: half a millisecond, and longer on a busy host.

    Args:
        argv: with a path, not looked up on PATH, as first element (or ``executable``).
        fds: number in the child -> descriptor of ours. 0, 1 and 2 default to /dev/null.
            Everything else is closed (Python's descriptors are close-on-exec).
        env: None inherits ours.

    Raises:
        OSError: the program does not exist or cannot be executed.
    """
    # dup2 one after the other could overwrite a source that is still needed: lift every source
    # above the highest target first.
    copies: dict[int, int] = {}
    lifted: list[int] = []
    top = max((*fds, 2)) + 1
    try:
        for number, ours in fds.items():
            source = ours
            if ours < top:
                source = _dup_above(ours, top)
                lifted.append(source)
            copies[number] = source
        pid = posix_spawn(
            executable or argv[0],
            argv,
            os.environ if env is None else env,
            opens={
                number: ("/dev/null", os.O_RDONLY if number == 0 else os.O_WRONLY)
                for number in (0, 1, 2)
                if number not in fds
            },
            copies=copies,
            defaults=_RESET,
            new_session=new_session,
        )
    finally:
        for fd in lifted:
            os.close(fd)
    return Child(pid)


def _dup_above(fd: int, lowest: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)


def sealed_copy(path: str) -> int:
    """A sealed memory file with the contents of an executable; the caller keeps it open.

    An OCI runtime that guards against being overwritten by its container (CVE-2019-5736) makes
    itself such a copy at every start and executes itself a second time. Handing it a sealed one
    saves that.

    Raises:
        OSError: EINVAL where the kernel cannot seal.
    """
    fd = os.memfd_create(os.path.basename(path), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(path, "rb") as source:
            size = os.fstat(source.fileno()).st_size
            done = 0
            while done < size:
                sent = os.sendfile(fd, source.fileno(), done, size - done)
                if not sent:
                    raise OSError(errno.EIO, f"{path} shrank while it was read")
                done += sent
        os.fchmod(fd, 0o755)
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    except OSError:
        os.close(fd)
        raise
    return fd
