"""The C library, loaded once, and the one habit that calling it needs: errno read at once."""

from __future__ import annotations

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> int:
    """Return ``result`` unless it is negative.

    Raises:
        OSError: of the class that errno asks for, with ``what`` before the system's own words.
    """
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
