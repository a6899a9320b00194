"""What a session of tests has by its directory, and the end of a session that was killed.

A session holds the lock of its directory. Where nobody holds it, the session was killed, or it
failed and left the directory for a look: the next session removes it, with what is mounted and
running in there. Left alone they fill the disk, and tests fail that have nothing to do with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sampan.kernel import mount

PREFIX = "t"
"""Short: unix sockets lie deep in there, and have 107 bytes."""
LOCK = ".sampan-session"
GONE_WITHIN_S = 10.0


def new_directory(parent: Path) -> tuple[Path, IO[bytes]]:
    """A directory for one session, and its lock, which is held while the file stays open."""
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    directory.chmod(0o755)
    lock = (directory / f"{LOCK}-new").open("ab")
    fcntl.flock(lock, fcntl.LOCK_EX)
    # By its name it is only there once it is held: nobody takes a new session for debris.
    os.rename(directory / f"{LOCK}-new", directory / LOCK)
    return directory, lock


def remove_debris(parent: Path) -> list[Path]:
    """Remove the directory of every session that has ended without doing so; returns them. Of one
    that cannot be removed it warns."""
    removed = []
    for path in parent.glob(f"{PREFIX}*/{LOCK}"):
        with take_over(path) as forsaken:
            if not forsaken:
                continue
            try:
                _remove(path.parent)
            except OSError as error:
                warn_of_debris(path.parent, error)
            else:
                removed.append(path.parent)
    return removed


@contextlib.contextmanager
def take_over(path: Path) -> Iterator[bool]:
    """Whether nobody held this lock; it is held in the block then. False too where somebody else
    removes it just now. What fails in the block is raised."""
    with contextlib.ExitStack() as held:
        try:
            fcntl.flock(held.enter_context(path.open("ab")), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            forsaken = False
        else:
            forsaken = True
        yield forsaken


def warn_of_debris(directory: Path, error: OSError) -> None:
    """That it stays. No failure of who comes after, but said each time: the disk fills."""
    warnings.warn(
        f"what was left in {directory} cannot be removed: {error}: remove it by hand", stacklevel=3
    )


def mounts(directory: Path) -> list[Path]:
    """What is mounted beneath it, in the order in which it was mounted."""
    found = (Path(each.target) for each in mount.mounts())
    return [target for target in found if directory in target.parents]


def processes(directory: Path) -> dict[int, str]:
    """Those that were started for a session, or that have something of its directory among their
    words: pid -> words."""
    found = {}
    place = str(directory).encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes()
            started = (entry / "environ").read_bytes()
        except OSError:
            continue  # it has just ended
        if place + b"/" in words or b"TMPDIR=%b\0" % place in started + b"\0":
            found[int(entry.name)] = words.replace(b"\0", b" ").decode(errors="replace")
    return found


def _remove(directory: Path) -> None:
    until = time.monotonic() + GONE_WITHIN_S
    # Again and again: a supervisor may start another one while it is killed itself.
    while (alive := processes(directory)) and time.monotonic() < until:
        for pid in alive:
            _kill(pid)
    for target in reversed(mounts(directory)):
        mount.unmount(target, lazy=True)
    # The lock goes last: without it nobody would try again, or be told, when something stays.
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()
    shutil.rmtree(directory)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        ended = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(ended, signal.SIGKILL)
            select.select([ended], [], [], GONE_WITHIN_S)
        finally:
            os.close(ended)
