"""One daemon a root directory."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sampan.errors import Conflict


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
