"""Shared libraries of the host."""

from __future__ import annotations

import ctypes


def loads(soname: str) -> bool:
    """Whether the library can be loaded. It stays loaded, which costs nothing for those that are
    used anyway; ask for no others."""
    try:
        ctypes.CDLL(soname)
    except OSError:
        return False
    return True
