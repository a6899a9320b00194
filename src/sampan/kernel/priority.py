"""Which thread the kernel runs first, and that nothing it starts goes before others because of it.

Two things decide how long a thread that has become runnable waits for a processor. Its *weight*
(nice value) is its share. Its *slice*, the time for which it asks, is what a newer kernel (6.12)
looks at when it wakes: with a shorter one than the thread that runs it goes first, at once and not
at the next tick (4 ms), also where the two are in different cgroups or sessions. Older kernels take
the weight for both.

Both are inherited, by threads as by processes, unless the kernel is told to give whatever the
thread starts the usual ones (``SCHED_FLAG_RESET_ON_FORK``). One system call sets all or nothing.
"""

from __future__ import annotations

import ctypes
import os

from sampan.kernel._libc import check, libc

NICE = -10
"""Nine times the weight of a thread that has no other wishes."""
SLICE_NS = 100_000
"""The shortest that the kernel grants."""

_SYS_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
_SCHED_FLAG_RESET_ON_FORK = 1


class _SchedAttr(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    ]


def put_first() -> bool:
    """Let the calling thread run before others from now on; threads and processes that it starts
    are as they would be without this.

    Whoever started this process with a nice value of their own, or under another scheduling policy,
    has decided already, for it and for what it starts: then nothing changes, and False is returned.

    Raises:
        OSError: EPERM without CAP_SYS_NICE; ENOSYS on a machine whose system call is not known.
    """
    if os.sched_getscheduler(0) != os.SCHED_OTHER or os.getpriority(os.PRIO_PROCESS, 0) != 0:
        return False
    attributes = _SchedAttr(
        size=ctypes.sizeof(_SchedAttr),
        policy=os.SCHED_OTHER,
        flags=_SCHED_FLAG_RESET_ON_FORK,
        nice=NICE,
        runtime=SLICE_NS,
    )
    number = _SYS_SCHED_SETATTR.get(os.uname().machine, -1)
    check(libc.syscall(number, 0, ctypes.byref(attributes), 0), "raise the priority of a thread")
    return True
