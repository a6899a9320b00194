"""Network namespaces: make one, keep it as a file, work inside it, let it go.

A namespace belongs to a thread, not to the process, so everything here acts on the calling thread
and brings it back before it returns. When even the way back fails, the thread must never serve
anyone again: ``Stranded`` says so, and its owner ends the process.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sampan.kernel import mount
from sampan.kernel._libc import check, libc

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
_OURS = "/proc/thread-self/ns/net"

libc.setns.argtypes = [ctypes.c_int, ctypes.c_int]
libc.unshare.argtypes = [ctypes.c_int]


class Stranded(BaseException):
    """The thread could not return to its own namespace."""


@contextmanager
def _returning() -> Iterator[None]:
    home = os.open(_OURS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        try:
            if libc.setns(home, CLONE_NEWNET) < 0:
                raise Stranded(os.strerror(ctypes.get_errno()))
        finally:
            os.close(home)


def create(path: Path, inside: Callable[[], T]) -> T:
    """Make a namespace, run ``inside`` in it, then keep it as a file at ``path``.

    The file comes last: a namespace that has a name is a finished one. On failure nothing is left.

    Raises:
        OSError: EEXIST when ``path`` exists; whatever ``inside`` raises.
    """
    with _returning():
        check(libc.unshare(CLONE_NEWNET), "unshare the network namespace")
        result = inside()
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
        try:
            mount.mount(_OURS, path, "", mount.MS_BIND)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return result


def run_inside(path: Path, fn: Callable[[], T]) -> T:
    """Run ``fn`` in the namespace at ``path`` (a kept one, or /proc/PID/ns/net).

    Raises:
        OSError: ENOENT when it is gone; EINVAL when ``path`` is no namespace.
    """
    with _returning():
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            check(libc.setns(there, CLONE_NEWNET), f"enter network namespace {path}")
        finally:
            os.close(there)
        return fn()


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor of the namespace at ``path``, for netlink messages.

    Raises:
        OSError: ENOENT when it is gone.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def delete(path: Path) -> None:
    """Let the name go; the kernel takes the namespace apart when its last user has gone too.

    Idempotent. The interfaces inside go some 20-50 ms later, by the kernel's own worker.
    """
    mount.unmount_if_mounted(path, lazy=True)
    path.unlink(missing_ok=True)


def kept(path: Path) -> bool:
    """Whether ``path`` is a namespace, and not the empty file that a crash or a reboot left."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # An nsfs file is told by its answer to NS_GET_NSTYPE; any other says ENOTTY.
        result: int = libc.ioctl(descriptor, ctypes.c_ulong(0xB703))
        if result < 0 and ctypes.get_errno() not in (errno.ENOTTY, errno.EINVAL):
            check(result, f"look at {path}")
        return result == CLONE_NEWNET
    finally:
        os.close(descriptor)
