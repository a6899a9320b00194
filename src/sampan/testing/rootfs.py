"""Root file systems for the tests' images, made once from the distribution's packages and kept."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from pathlib import Path

from sampan.client.bootstrap import debian_tar

FRESH_S = 7 * 24 * 3600.0
"""An older one is made anew: the packages have moved on."""
SUITE = "bookworm"


def directory() -> Path:
    """Where they are kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "sampan-tests"


def debian_with(*packages: str) -> Path:
    """The tar of a minimal Debian with these packages. Takes half a minute when it is not there.

    Raises:
        BootstrapFailed: it could not be made; with mmdebstrap's last lines.
    """
    place = directory()
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{'+'.join((SUITE, *packages))}.tar"
    # two runs at once make it once
    with (place / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists() or time.time() - path.stat().st_mtime > FRESH_S:
            with tempfile.TemporaryDirectory(dir=place) as scratch:
                made = Path(scratch) / "rootfs.tar"
                debian_tar(SUITE, made, _quiet, packages)
                made.rename(path)
    return path


def _quiet(_: str) -> None:
    """What mmdebstrap says is in the exception if it fails."""
