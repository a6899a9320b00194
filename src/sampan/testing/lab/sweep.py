"""Taking a laboratory apart, no matter which process made it and however that process ended.

A laboratory is a directory; what it has in the kernel is found from that. Whoever made it holds
its lock; one that nobody holds, and that was not left standing on purpose, is debris.

``python -m sampan.testing.lab.sweep DIRECTORY`` is what a laboratory's watchman runs when the
process that made it has ended without a word.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from sampan.testing.daemon import DaemonProcess
from sampan.testing.debris import take_over, warn_of_debris
from sampan.testing.lab.machine import holders, kill

PREFIX = "smplab"
LOCK = "lock"
KEPT = "kept"
"""The file in a laboratory's directory that says: it outlives the command that made it."""


def parent() -> Path:
    return Path(tempfile.gettempdir())


def new_directory() -> Path:
    """A directory for one laboratory, short enough for unix sockets in it."""
    return Path(tempfile.mkdtemp(prefix=PREFIX))


def take(directory: Path) -> IO[bytes]:
    """Lock the laboratory for as long as the file that is returned stays open."""
    lock = (directory / f".{LOCK}").open("ab")
    fcntl.flock(lock, fcntl.LOCK_EX)
    # by its name it is only there once it is held: nobody takes a new laboratory for debris
    os.rename(directory / f".{LOCK}", directory / LOCK)
    return lock


def remove(directory: Path) -> None:
    """End everything that lives in the laboratory and delete it. Safe to do twice."""
    # the hosts before the network between them, so that they lose their power and not the cable
    for _, pid in sorted(holders(directory).items()):
        kill(pid)
    for host in directory.glob("host*"):
        DaemonProcess(host).remove_cgroups()
    shutil.rmtree(directory, ignore_errors=True)


def remove_debris() -> None:
    """Remove every laboratory whose maker was killed before it could clean up. Of one that cannot
    be removed it warns."""
    for directory in parent().glob(f"{PREFIX}*"):
        if (directory / KEPT).exists():
            continue
        with take_over(directory / LOCK) as forsaken:
            if not forsaken:
                continue
            try:
                remove(directory)
                if directory.exists():
                    directory.rmdir()  # says why not
            except OSError as error:
                warn_of_debris(directory, error)


class Watchman:
    """A process that removes the laboratory when this one ends, even by ``kill -9``.

    It is a shell that waits for a line: end of file without one means that nobody is left.
    """

    def __init__(self, directory: Path) -> None:
        # cheap while it waits; Python is started only when there is something to do
        wait = 'read -r _ || exec "$0" -m sampan.testing.lab.sweep "$1"'
        self._process = subprocess.Popen(
            ["sh", "-c", wait, sys.executable, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """The laboratory is gone already, or is to stay."""
        self._process.communicate(b"go\n")


if __name__ == "__main__":
    remove(Path(sys.argv[1]))
