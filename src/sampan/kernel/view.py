"""Seeing the file system as a container sees it: this process moves in, and never comes back.

For a child process that is about to read or write what someone else's container holds. After one
of the two functions there is no host file system any more: whatever a link, a bind mount or a
renamed directory of the container leads to, it is the container's own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import stat
from dataclasses import dataclass
from pathlib import Path

from sampan.kernel._libc import check, libc
from sampan.kernel.inroot import make_directories_in, open_in
from sampan.kernel.mount import MNT_DETACH, MS_PRIVATE, MS_REC, bind, make_read_only, mount
from sampan.kernel.process import start_time

CLONE_NEWNS = 0x00020000
_PR_SET_PDEATHSIG = 1

libc.setns.argtypes = [ctypes.c_int, ctypes.c_int]
libc.unshare.argtypes = [ctypes.c_int]


@dataclass(frozen=True, slots=True)
class Bind:
    """A directory or file of the host that the container sees at ``target``."""

    source: str
    target: str
    read_only: bool = False


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    check(libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def enter_process(pid: int, started: int) -> None:
    """Into the mount namespace of a running container's init.

    Raises:
        ProcessLookupError: it has ended.
    """
    try:
        there = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ProcessLookupError(f"process {pid} has ended") from error
    try:
        # Checked after the descriptor is open: it is the right one, or belongs to no process.
        if start_time(pid) != started:
            raise ProcessLookupError(f"process {pid} has ended")
        check(libc.setns(there, CLONE_NEWNS), f"enter the mounts of process {pid}")
    finally:
        os.close(there)
    os.chdir("/")


def enter_tree(root: Path, binds: list[Bind], *, read_only: bool = False) -> None:
    """Into a mount namespace of our own, whose root is ``root`` with ``binds`` mounted in it.

    Nothing else is left in it, so that nothing of the host is held while we work; it goes with
    the process, so that there is nothing to sweep after a crash.
    """
    check(libc.unshare(CLONE_NEWNS), "unshare the mount namespace")
    mount("none", Path("/"), "", MS_PRIVATE | MS_REC)
    bind(root, root)
    for each in binds:
        _bind_in(root, each)
    if read_only:
        make_read_only(root)
    os.chdir(root)
    check(libc.pivot_root(b".", b"."), f"make {root} the root directory")
    # The old root now lies over the new one.
    check(libc.umount2(b".", MNT_DETACH), "leave the host's file system")
    os.chroot(".")
    os.chdir("/")


def _bind_in(root: Path, each: Bind) -> None:
    """Mount points that are not there are made, as a start would make them."""
    source = os.stat(each.source)
    try:
        fd = open_in(root, each.target, os.O_PATH)
    except FileNotFoundError:
        fd = _make(root, each.target, directory=stat.S_ISDIR(source.st_mode))
    try:
        target = Path(f"/proc/self/fd/{fd}")
        if stat.S_ISDIR(os.fstat(fd).st_mode) != stat.S_ISDIR(source.st_mode):
            return  # a start of this container would fail here; a look at it need not
        # All is private here, and the descriptor stands for what lies below the new mount.
        bind(Path(each.source), target, recursive=True, propagation=0)
    finally:
        os.close(fd)
    if each.read_only:
        fd = open_in(root, each.target, os.O_PATH)
        try:
            make_read_only(Path(f"/proc/self/fd/{fd}"))
        finally:
            os.close(fd)


def _make(root: Path, target: str, *, directory: bool) -> int:
    if directory:
        make_directories_in(root, target)
    else:
        make_directories_in(root, os.path.dirname(target))
        parent = open_in(root, os.path.dirname(target), os.O_RDONLY | os.O_DIRECTORY)
        try:
            name, flags = os.path.basename(target), os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o644, dir_fd=parent))
        finally:
            os.close(parent)
    return open_in(root, target, os.O_PATH)
