"""etcd as a child of the daemon: started, watched, started again, ended.

Its client side is a unix socket in a directory that only root can enter: nothing to authenticate,
no port to find, and JSON over it is as fast as over loopback.

**It never outlives the daemon.** The kernel kills it when the daemon dies (parent-death signal, by
``setpriv``). Adopting a running member after a restart was the alternative: it would keep a quorum
through a restart of the daemon, but its log would have no reader (a write to a broken pipe kills a
Go program), its flags might be an older version's, and two mechanisms would decide who it is. A
member starts in 0.15 s. The pid file with the start time, and etcd's own lock on its database, are
there for the case that the signal failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
from dataclasses import replace
from pathlib import Path

import msgspec

from sampan.aio import Clock, Tasks, in_thread, shielded
from sampan.cluster.backoff import backoff_s
from sampan.cluster.etcd.client import EtcdClient
from sampan.cluster.etcd.settings import EtcdSettings
from sampan.components import ETCD, require
from sampan.errors import Internal, Unavailable, Unsupported
from sampan.kernel import process

log = logging.getLogger("sampan.etcd")

READY_S = 20.0
STOP_S = 1.0
"""After this time an orderly end becomes a kill, which etcd survives at any instant."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
LIVED_WELL_S = 30.0
LINE = 400
"""Characters of a log line that are passed on."""
POLL_S = 0.02
_LEVELS = {"error": logging.INFO, "fatal": logging.ERROR}
"""What etcd warns of is an election, a slow disk, a peer that is away: the daemon says itself what
that means for the cluster."""
_FULL = "no space left on device"
_ROOM = 4 << 20
"""Free bytes below which that is believed to be still so."""
_REMOVED = ("has been permanently removed", "the member has been removed")


class _LogLine(msgspec.Struct):
    level: str = "info"
    msg: str = ""
    error: str = ""


_decode = msgspec.json.Decoder(_LogLine).decode


class EtcdRemoved(Unavailable):
    """The cluster has removed this member: its data is of no further use."""


def find_etcd() -> str:
    """Path of etcd.

    Raises:
        Unsupported: it is not installed.
    """
    return str(require(ETCD))


class EtcdProcess:
    """A member, from ``start`` to ``stop``. Start it from the main thread: the parent-death signal
    is bound to the thread that spawned."""

    def __init__(self, settings: EtcdSettings, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self._tasks = Tasks()
        self._child: process.Child | None = None
        self._stopping = False
        self._last_words = ""
        self.removed = asyncio.Event()
        """The cluster removed this member; it is not started again."""
        self.starts = 0
        """How often it was started, by ``start`` and by itself; 0 again after a failed ``start``
        that left nothing running."""

    @property
    def pid(self) -> int | None:
        """Of the living child."""
        child = self._child
        return None if child is None or child.returncode is not None else child.pid

    @property
    def disk_is_full(self) -> bool:
        """It died of that, and there still is no room."""
        if self._last_words.endswith(_FULL):
            free = os.statvfs(self.settings.directory)
            return free.f_bavail * free.f_frsize < _ROOM
        return False

    async def start(self, *, deadline_s: float = READY_S) -> None:
        """Start it and wait until it answers, which needs a quorum. It goes on being started again
        until ``stop``, also when this raises Unavailable.

        Raises:
            Unsupported: etcd is not installed.
            Internal: it ended at once; the text has its last words. Nothing runs.
            EtcdRemoved: the cluster removed it. Nothing runs.
            Unavailable: no answer in time: too few other members are there.
        """
        find_etcd()
        settings = self.settings
        await self._end_old_one(await in_thread(_prepare, settings))
        self._stopping = False
        try:
            child = self._spawn()
        except OSError as error:
            raise Internal(f"etcd cannot be started: {error}") from error
        self._tasks.spawn(self._supervise(child), name="etcd/supervise")
        client = EtcdClient(settings.socket)
        end = self._clock.monotonic() + deadline_s
        try:
            await self._note(child)
            while True:
                try:
                    status = await client.status(deadline_s=1.0)
                    if status.leader or status.isLearner:
                        # Forced once. Started again by force, it would throw out whoever has
                        # joined since.
                        self.settings = replace(settings, force_new_cluster=False)
                        return
                except Unavailable:
                    pass
                if self.removed.is_set():
                    raise EtcdRemoved("this manager was removed from the swarm's store")
                if child.returncode is not None and self.starts == 1:
                    raise Internal(f"etcd ended at once: {self._last_words or 'no message'}")
                if self._clock.monotonic() >= end:
                    raise Unavailable(
                        f"the swarm's store did not start within {deadline_s:g} s: are more than "
                        "half of the managers running?"
                    )
                await self._clock.sleep(POLL_S)
        except (Internal, EtcdRemoved, asyncio.CancelledError):
            await shielded(self.stop())
            self.starts = 0
            raise
        finally:
            await client.close()

    async def stop(self) -> None:
        """End it, orderly if it can be. Safe to repeat."""
        self._stopping = True
        child = self._child
        if child is not None and child.send(signal.SIGTERM):
            try:
                await asyncio.wait_for(child.wait(), STOP_S)  # real time: a real process's
            except TimeoutError:
                child.send(signal.SIGKILL)
                await child.wait()
        await self._tasks.close()
        await in_thread(_remove, self.settings.pid_file, self.settings.socket)

    def kill(self) -> bool:
        """SIGKILL, as a fault; it is started again."""
        return self._child is not None and self._child.send(signal.SIGKILL)

    # -- one life

    def _spawn(self) -> process.Child:
        settings = self.settings
        # No pipe: uvloop closes the number of a pipe's descriptor twice, and by the second time it
        # may be another thread's file (uvloop issue 763).
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            child = process.spawn(
                [
                    *(_path("setpriv"), "--pdeathsig", "KILL"),
                    *(_path("env"), "-C", str(settings.directory)),
                    find_etcd(),
                    *settings.arguments(),
                ],
                fds={1: theirs.fileno(), 2: theirs.fileno()},
                # Half of Go's usual garbage: it costs CPU that nobody misses at this load.
                env={"PATH": os.environ.get("PATH", os.defpath), "GOGC": "50"},
                new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._child = child
        self.starts += 1
        self._tasks.spawn(self._read_log(ours), name="etcd/log")
        return child

    async def _note(self, child: process.Child) -> None:
        """Write down which process it is."""
        started = process.start_time(child.pid) or 0
        # To its end: ``stop`` takes the file away.
        await shielded(in_thread(_write, self.settings.pid_file, f"{child.pid} {started}\n"))

    async def _supervise(self, child: process.Child) -> None:
        failures = 0
        while True:
            born = self._clock.monotonic()
            code = await child.wait()
            if self._stopping or self.removed.is_set():
                return
            if self._clock.monotonic() - born > LIVED_WELL_S:
                failures = 0
            failures += 1
            pause = backoff_s(failures, FIRST_PAUSE_S, LONGEST_PAUSE_S)
            log.warning(
                "etcd ended (%d) and is started again in %.1f s; its last words: %s",
                code,
                pause,
                self._last_words or "none",
            )
            await self._clock.sleep(pause)
            await in_thread(_remove, self.settings.socket)
            child = self._spawn()
            await self._note(child)

    async def _end_old_one(self, noted: str) -> None:
        """The member of a daemon that was killed, should the kernel not have ended it."""
        try:
            pid, started = (int(word) for word in noted.split())
        except ValueError:
            return
        with contextlib.suppress(FileNotFoundError):
            # after a reboot, pid and start time together may be another program's
            if not os.path.basename(os.readlink(f"/proc/{pid}/exe")).startswith("etcd"):
                return
        if process.send_signal(pid, started, signal.SIGKILL):
            log.info("ending etcd of a daemon that is gone (pid %d)", pid)
            await process.wait_gone(pid, started)

    # -- its log

    async def _read_log(self, ours: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=1 << 20)
        try:
            while line := await reader.readline():
                self._heard(line)
        finally:
            writer.close()

    def _heard(self, line: bytes) -> None:
        try:
            said = _decode(line)
        except msgspec.MsgspecError:
            said = _LogLine("warn", line.decode("utf-8", "replace").strip())
        text = f"{said.msg}: {said.error}" if said.error else said.msg
        log.log(_LEVELS.get(said.level, logging.DEBUG), "%s", text[:LINE])
        if said.level in ("warn", "error", "fatal"):
            self._last_words = text[:LINE]
        if any(word in text for word in _REMOVED):
            self.removed.set()


def _prepare(settings: EtcdSettings) -> str:
    """Make its directory. Returns what is noted of the last one. Blocks."""
    settings.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings.directory.chmod(0o700)
    # etcd of this version does not take over a socket that a killed one has left.
    _remove(settings.socket)
    return settings.pid_file.read_text() if settings.pid_file.exists() else ""


def _write(pid_file: Path, text: str) -> None:
    try:
        pid_file.write_text(text)
    except OSError as error:  # a full disk: it is only needed if the kernel fails to end etcd
        log.warning("the process id of etcd is not written down: %s", error)


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _path(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise Unsupported(f"{program} is not installed")
    return path
