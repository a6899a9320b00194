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
    Did we see it?       Time counts only as far as this thread was there to see it: it waits for a
                         few milliseconds at a time, and the kernel counts its waits. When it is
                         late without having waited (a late timer, a processor taken from the
                         virtual machine, a stopped process), clocks go on and prove nothing.

A call that keeps the interpreter's lock (a regular expression, a large decode) also keeps this
thread from looking. It is recognized afterwards: the callback is still the one of the look before.
When that look found nothing yet, only signs remain, and what they say is told when they have said
so of the same place again and again.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import os
import resource
import selectors
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType

log = logging.getLogger(__name__)

HELD_UP = "the event loop is held up"
"""How a report begins; tests look for it in a daemon's log."""
LOOKS = 5
"""How often the loop's thread is looked at within the limit."""
SIGNS = 3
"""How often signs must speak against a place before it is told."""
WAITING = 0.8
"""The least part of the time, by which we were late, that waits for the lock must explain."""

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


Stack = tuple[tuple[CodeType, int], ...]
"""Where a thread was, innermost first: code, and the instruction in it. A frame goes on."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen at one moment."""

    at: float
    cpu_s: float
    """Processor time of the loop's thread."""
    waits: int
    """How often the watchdog's thread has waited for anything since it began."""
    callback: FrameType | None
    stack: Stack
    blocked: bool
    """The loop's thread, in a system call."""
    beats: int
    beat_due: bool
    """A beat was due before all this was seen: no callback can begin twice before the next one."""


class Watchdog:
    """See above. ``start`` is called in the loop's thread. ``sleep`` waits in the watchdog's."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limit_s: float,
        tell: Callable[[Report], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._loop, self._limit_s, self._tell, self._sleep = loop, limit_s, tell, sleep
        self._pause_s = limit_s / LOOKS
        self._watched = threading.get_ident()
        self._clock = time.pthread_getcpuclockid(self._watched)
        self._task = f"/proc/self/task/{threading.get_native_id()}"
        self._stop = threading.Event()
        self._beats, self._beat_due = 0, False
        self._cpu_s = self._blocked_s = 0.0
        """Of the callback that is running, as far as it was seen."""
        self._told = False
        self._signs: Counter[tuple[CodeType, int]] = Counter()
        """By the place where a callback was that seemed to have kept the interpreter's lock."""
        self._queued_s: Callable[[], float] = lambda: math.inf
        self._idle_queued_s = 0.0
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
        with _queued(threading.get_native_id()) as self._queued_s:
            self._watch()

    def _watch(self) -> None:
        before = self._look()
        while True:
            self._sleep(self._pause_s)
            if self._stop.is_set():
                return  # what is held up now is who waits for us
            now = self._look()
            self._judge(before, now)
            if now.callback is not None and not now.beat_due:
                self._beat_due = True
                self._loop.call_soon_threadsafe(self._beat)
                now = self._look()
            elif now.callback is None:
                self._idle_queued_s = self._queued_s()
            before = now

    def _look(self) -> _Look:
        beats, beat_due = self._beats, self._beat_due
        frame = sys._current_frames().get(self._watched)
        callback = _callback(frame)
        stack = _stack(frame) if callback is not None else ()
        at, cpu_s = time.monotonic(), time.clock_gettime(self._clock)
        waits = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        blocked = (
            frame is not None
            and callback is not None
            and not _starts_a_thread(frame)
            and _blocked(self._task)
        )
        if self._beats != beats:
            callback = None  # it has gone on while we looked
        return _Look(at, cpu_s, waits, callback, stack, blocked, beats, beat_due)

    def _judge(self, before: _Look, now: _Look) -> None:
        waits = now.waits - before.waits
        seen_s = min(self._pause_s + (waits - 1) * sys.getswitchinterval(), now.at - before.at)
        cpu_s = min(now.cpu_s - before.cpu_s, seen_s)
        goes_on = (
            now.callback is not None
            and now.callback is before.callback
            and before.beat_due
            and now.beats == before.beats
        )
        if not goes_on:
            self._cpu_s = self._blocked_s = 0.0
            self._told = False
            if now.callback is not None and now.beats == before.beats and cpu_s > self._limit_s:
                self._judge_lock(now, now.at - before.at - self._pause_s, waits, cpu_s)
            return
        self._cpu_s += cpu_s
        if before.blocked and now.blocked:
            self._blocked_s += seen_s - cpu_s
        if self._cpu_s + self._blocked_s > self._limit_s and not self._told:
            self._told = True
            self._tell(Report(self._cpu_s, self._blocked_s, _text(now.stack)))

    def _judge_lock(self, now: _Look, late_s: float, waits: int, cpu_s: float) -> None:
        """It seems that one call has kept the interpreter's lock when we were late because we
        waited for it, and were never woken.

        Who waits for the lock looks again every 5 ms and then asks for it; who has it must give it
        up unless it is within one call. But one that gives it up by itself, as between two turns
        of the loop, may have it again before we have a processor: then we wait anew, and mostly
        have waited more often than every 5 ms. Mostly: hence more than one sign.
        """
        # Queued since the loop was idle, and so rather too much.
        waited_s = late_s - (self._queued_s() - self._idle_queued_s)
        # Without the pause, and the last one, which ends when we have the lock.
        periods_s = (waits - 2) * sys.getswitchinterval()
        if periods_s < self._limit_s or not WAITING * waited_s <= periods_s <= waited_s:
            return
        self._signs[now.stack[0]] += 1
        if self._signs[now.stack[0]] == SIGNS:
            self._tell(Report(cpu_s, 0.0, _text(now.stack)))


def _callback(frame: FrameType | None) -> FrameType | None:
    """The outermost frame that is not the loop's own, or None."""
    callback = None
    while frame is not None and not frame.f_code.co_filename.startswith(_LOOP_FILES):
        callback, frame = frame, frame.f_back
    return callback if frame is not None else None


def _stack(frame: FrameType | None) -> Stack:
    found = []
    while frame is not None:
        found.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return tuple(found)


def _text(stack: Stack) -> str:
    """As a traceback has it."""
    lines = [
        (code.co_filename, _line(code, instruction), code.co_name, None)
        for code, instruction in reversed(stack)
    ]
    return "".join(traceback.StackSummary.from_list(lines).format())


def _line(code: CodeType, instruction: int) -> int:
    positions = itertools.islice(code.co_positions(), max(0, instruction) // 2, None)
    return next((line for line, *_ in positions if line), code.co_firstlineno)


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
    if words[0] in (b"-1", b"running"):
        return False
    return not (words[0] == _FUTEX and words[4] != b"0x0")


@contextmanager
def _queued(thread_id: int) -> Iterator[Callable[[], float]]:
    """How long this thread has been runnable without a processor; infinity: the kernel does not
    tell."""
    try:
        file = open(f"/proc/self/task/{thread_id}/schedstat", "rb", buffering=0)  # noqa: SIM115
    except FileNotFoundError:
        yield lambda: math.inf
        return
    with file:
        yield lambda: int(os.pread(file.fileno(), 128, 0).split()[1]) / 1e9
