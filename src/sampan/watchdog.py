"""Tells what holds up the event loop, while it does.

Everything here stands on one rule: no callback keeps the loop for long. A watchdog makes breaking
it visible: a thread looks at the loop's thread a few times in ``limit_s``, and when one callback
has kept it for longer, logs the stack that does.

    What is it doing?    The outermost frame above the loop's own is the callback; none: it waits
                         for events. A callback that comes again is told from one that goes on by a
                         beat, a callback of ours that is due in the loop's next turn.
    Is it at fault?      Time counts as processor time that the thread has really had (its own
                         clock), or as time in which the kernel shows it blocked in a system call.
                         To be runnable and not scheduled, or to wait for the interpreter's lock, is
                         not the callback's doing and does not count.

A call that keeps the interpreter's lock (a regular expression, a large decode) also keeps this
thread from looking: it is recognized afterwards, by processor time that the loop's thread has had
while we waited for the lock.
"""

from __future__ import annotations

import asyncio
import logging
import os
import selectors
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

log = logging.getLogger(__name__)

HELD_UP = "the event loop is held up"
"""How a report begins; tests look for it in a daemon's log."""
LOOKS = 5
"""How often the loop's thread is looked at within the limit."""

_LOOP_FILES = (
    *(
        str(Path(asyncio.__file__).with_name(name))
        for name in ("runners.py", "base_events.py", "events.py")
    ),
    selectors.__file__,
)
_FUTEX = {"x86_64": b"202", "aarch64": b"98"}.get(os.uname().machine, b"")


@dataclass(frozen=True, slots=True)
class Report:
    """One callback that keeps the loop."""

    cpu_s: float
    """Processor time it has had so far."""
    blocked_s: float
    """Time so far in which it was blocked in a system call."""
    stack: str
    """Where it is, outermost call first."""

    def __str__(self) -> str:
        return (
            f"{HELD_UP}: {self.cpu_s * 1e3:.0f} ms of processor and {self.blocked_s * 1e3:.0f} ms "
            f"blocked in one callback, which is here:\n{self.stack}"
        )


@contextmanager
def watching(
    limit_s: float, tell: Callable[[Report], None] = lambda report: log.warning("%s", report)
) -> Iterator[None]:
    """Watch the running loop while inside; from its own thread. ``tell`` is called in another
    thread. ``limit_s`` 0: nothing is watched."""
    if limit_s <= 0:
        yield
        return
    watchdog = Watchdog(asyncio.get_running_loop(), limit_s, tell)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.stop()


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen at one moment."""

    at: float
    cpu_s: float
    """Processor time of the loop's thread."""
    callback: FrameType | None
    blocked: bool
    """The loop's thread, in a system call."""
    beats: int


class Watchdog:
    """See above. ``start`` is called in the loop's thread."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limit_s: float, tell: Callable[[Report], None]
    ) -> None:
        self._loop, self._limit_s, self._tell = loop, limit_s, tell
        self._pause_s = limit_s / LOOKS
        self._watched = threading.get_ident()
        self._clock = time.pthread_getcpuclockid(self._watched)
        self._task = f"/proc/self/task/{threading.get_native_id()}"
        self._stop = threading.Event()
        self._beats, self._beat_due = 0, False
        self._cpu_s = self._blocked_s = 0.0
        """Of the callback that is running, as far as it was seen."""
        self._told = False
        self._own = ""
        self._queued_s: float | None = 0.0
        self._thread = threading.Thread(target=self._run, name="loop-watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        self._beats += 1
        self._beat_due = False

    # -- the thread

    def _run(self) -> None:
        self._own = f"/proc/self/task/{threading.get_native_id()}"
        self._queued_s = _queued_s(self._own, self._task)
        before = self._look()
        while not self._stop.is_set():
            time.sleep(self._pause_s)
            now = self._look()
            self._judge(before, now)
            before = now

    def _look(self) -> _Look:
        frame = sys._current_frames().get(self._watched)
        callback = _callback(frame)
        look = _Look(
            at=time.monotonic(),
            cpu_s=time.clock_gettime(self._clock),
            callback=callback,
            blocked=frame is not None
            and callback is not None
            and not _starts_a_thread(frame)
            and _blocked(self._task),
            beats=self._beats,
        )
        if callback is not None and not self._beat_due:
            self._beat_due = True
            self._loop.call_soon_threadsafe(self._beat)
        return look

    def _judge(self, before: _Look, now: _Look) -> None:
        cpu_s = now.cpu_s - before.cpu_s
        if now.callback is None or now.callback is not before.callback or now.beats != before.beats:
            self._cpu_s = self._blocked_s = 0.0
            self._told = False
            # Without a turn of the loop in between, or out of idleness: then it was one call.
            one_call = now.callback is not None and now.beats == before.beats
            if self._lock_was_kept(before, now) and one_call and cpu_s > self._limit_s:
                self._report(cpu_s, 0.0)
            return
        self._cpu_s += cpu_s
        if before.blocked and now.blocked:
            self._blocked_s += max(0.0, now.at - before.at - cpu_s)
        if self._cpu_s + self._blocked_s > self._limit_s and not self._told:
            self._told = True
            self._report(self._cpu_s, self._blocked_s)

    def _lock_was_kept(self, before: _Look, now: _Look) -> bool:
        """We were late, and not for want of a processor, be it ours or that of who has the lock:
        it is given to who waits after 5 ms, unless its holder is within one call."""
        late_s = now.at - before.at - self._pause_s
        if late_s < self._limit_s:
            return False
        # Since the last time that we were late, and so rather too much: it is dear to look.
        before_s, self._queued_s = self._queued_s, _queued_s(self._own, self._task)
        if before_s is None or self._queued_s is None:
            return False
        return late_s - (self._queued_s - before_s) > self._limit_s

    def _report(self, cpu_s: float, blocked_s: float) -> None:
        frame = sys._current_frames().get(self._watched)
        self._tell(Report(cpu_s, blocked_s, "".join(traceback.format_stack(frame))))


def _callback(frame: FrameType | None) -> FrameType | None:
    """The outermost frame that is not the loop's own, or None."""
    callback = None
    while frame is not None and not frame.f_code.co_filename.startswith(_LOOP_FILES):
        callback, frame = frame, frame.f_back
    return callback if frame is not None else None


def _starts_a_thread(frame: FrameType) -> bool:
    """``Thread.start`` waits until the thread has had a processor: that is want of one, too."""
    outer: FrameType | None = frame
    while outer is not None and outer.f_code.co_filename == threading.__file__:
        if outer.f_code is threading.Thread.start.__code__:
            return True
        outer = outer.f_back
    return False


def _blocked(task: str) -> bool:
    """The thread waits in a system call, and not for the interpreter's lock."""
    try:
        with open(f"{task}/stat", "rb", buffering=0) as file:
            state = file.read(256).rpartition(b") ")[2][:1]
        if state not in (b"S", b"D"):
            return False
        with open(f"{task}/syscall", "rb", buffering=0) as file:
            words = file.read(256).split()
    except OSError:
        return False
    # The interpreter's lock is a futex with a time limit (the fourth argument); a lock that our
    # own code takes has none.
    return words[0] != b"-1" and not (words[0] == _FUTEX and words[4] != b"0x0")


def _queued_s(*tasks: str) -> float | None:
    """How long these threads have been runnable without a processor, in sum."""
    try:
        found = 0
        for task in tasks:
            with open(f"{task}/schedstat", "rb", buffering=0) as file:
                found += int(file.read(128).split()[1])
    except (OSError, IndexError):
        return None
    return found / 1e9
