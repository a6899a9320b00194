"""A program of a few bytes that makes system calls and says what the kernel answered.

It needs no library and no shell, so it runs in any container, and it enters the kernel as told: by
the native instruction, or by the 32-bit one, which a 64-bit process may use as well and which a
filter of system calls must know of.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass

NATIVE, BY_32_BIT = "native", "32-bit"
HERE = os.uname().machine == "x86_64"
"""Programs can be made for this machine."""

_LOADED_AT = 0x400000
_ARCHITECTURES = {NATIVE: 0xC000003E, BY_32_BIT: 0x40000003}
"""libseccomp's."""
_REGISTERS = {
    NATIVE: (b"\x48\xbf", b"\x48\xbe", b"\x48\xba", b"\x49\xba", b"\x49\xb8"),
    BY_32_BIT: (b"\xbb", b"\xb9", b"\xba", b"\xbe", b"\xbf"),
}
"""Moves of a constant into the registers of the arguments."""


@dataclass(frozen=True, slots=True)
class Call:
    """A system call by name. Arguments that are not given are -1, which is no address, descriptor
    or flag that the kernel takes: a call that is let through fails without any effect."""

    name: str
    args: tuple[int, ...] = ()


def number(name: str, entry: str) -> int | None:
    """Of a system call; None: this entry has none of this name."""
    library = ctypes.CDLL("libseccomp.so.2")
    found: int = library.seccomp_syscall_resolve_name_arch(_ARCHITECTURES[entry], name.encode())
    return found if found >= 0 else None


def program(calls: Sequence[Call], entry: str) -> bytes:
    """An ELF file that makes ``calls``, which all have a number, and writes what each returned as
    a 64-bit integer to its standard output."""
    code = b""
    size = 120 + len(_code(calls, entry, 0)) + len(_end(0, 0))
    results = _LOADED_AT + size
    code = _code(calls, entry, results) + _end(results, len(calls) * 8)
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, _LOADED_AT + 120, 64, 0, 0, 64, 56,
        1, 0, 0, 0,
    )  # fmt: skip
    segment = struct.pack(
        "<IIQQQQQQ", 1, 7, 0, _LOADED_AT, _LOADED_AT, size, size + len(calls) * 8, 0x1000
    )
    return head + segment + code


def _code(calls: Sequence[Call], entry: str, results: int) -> bytes:
    code = b""
    for index, call in enumerate(calls):
        found = number(call.name, entry)
        assert found is not None, call
        code += b"\xb8" + struct.pack("<I", found)
        width, layout = ((1 << 64) - 1, "<Q") if entry == NATIVE else ((1 << 32) - 1, "<I")
        args = call.args + (-1,) * (5 - len(call.args))
        for move, value in zip(_REGISTERS[entry], args, strict=True):
            code += move + struct.pack(layout, value & width)
        # syscall, or int 0x80 and the sign of its 32 bits
        code += b"\x0f\x05" if entry == NATIVE else b"\xcd\x80\x48\x63\xc0"
        code += b"\x48\x89\x04\x25" + struct.pack("<I", results + index * 8)
    return code


def _end(results: int, size: int) -> bytes:
    """write(1, results, size); exit(0)."""
    return (
        b"\xb8\x01\0\0\0\xbf\x01\0\0\0\xbe" + struct.pack("<I", results)
        + b"\xba" + struct.pack("<I", size) + b"\x0f\x05\xb8\x3c\0\0\0\x31\xff\x0f\x05"
    )  # fmt: skip
