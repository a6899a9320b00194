"""One daemon a root directory, and where its pid is told."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sampan.errors import Conflict, InvalidArgument


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold ``root`` for this process; the kernel lets go of it when the process ends, however.

    Raises:
        Conflict: another daemon runs on it; names its pid.
    """
    path = root / "sampand.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(fd, 32).decode(errors="replace").strip() or "unknown"
            raise Conflict(
                f"another sampand (pid {holder}) runs on {root}: stop it, or give this one "
                "another --root and --state"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


@contextmanager
def pid_file(path: Path) -> Iterator[None]:
    """``path`` holds this process's pid for as long as the block runs. It says who runs, it is no
    lock: one that a killed daemon left is replaced, one that another wrote since is left alone.

    Raises:
        InvalidArgument: it cannot be written.
    """
    mine = f"{os.getpid()}\n"
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(mine)
        # Nobody ever reads half a pid.
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise InvalidArgument(f"cannot write the pid file {path}: {error.strerror}") from error
    try:
        yield
    finally:
        try:
            if path.read_text() == mine:
                path.unlink()
        except FileNotFoundError:
            pass
