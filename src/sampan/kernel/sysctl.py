"""Kernel parameters under /proc/sys, of the calling thread's namespaces."""

from __future__ import annotations

import re
from pathlib import Path

from sampan.errors import InvalidArgument

_PROC = Path("/proc/sys")
_NAME = re.compile(r"[a-zA-Z0-9_\-]+([./][a-zA-Z0-9_\-:@]+)+")


def path_of(name: str) -> Path:
    """/proc/sys file of ``a.b.c`` or ``a/b/c`` (the latter for interfaces with a dot in the name).

    Raises:
        InvalidArgument: no such spelling.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgument(f"invalid sysctl name {name!r}: write it like net.core.somaxconn")
    return _PROC / (name if "/" in name else name.replace(".", "/"))


def read(name: str) -> str:
    """Raises OSError."""
    return path_of(name).read_text().strip()


def write(name: str, value: str) -> None:
    """Raises OSError: ENOENT when this kernel (or namespace) has no such parameter."""
    with path_of(name).open("w") as file:
        file.write(value)


def ensure(name: str, value: str) -> bool:
    """Write only what is not so already; say whether it was written."""
    if read(name) == value:
        return False
    write(name, value)
    return True
