"""``posix_spawn`` that lets the interpreter go on meanwhile.

It returns when the child has executed its program, which on a busy host waits for a processor as
long as any process does. ``os.posix_spawn`` keeps the interpreter's lock for all of that time: in
whichever thread it is called, every other one stands still. A call through ctypes gives the lock
away.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection, Mapping, Sequence

from sampan.kernel._libc import libc

_SETSIGDEF, _SETSIGMASK, _SETSID = 0x04, 0x08, 0x80
_ROOM = 1024
"""Bytes for each of the C library's own structures. glibc's largest has 336."""


def posix_spawn(
    executable: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    opens: Mapping[int, tuple[str, int]],
    copies: Mapping[int, int],
    defaults: Collection[int],
    new_session: bool,
) -> int:
    """Start a child and return its pid. Blocks until its exec.

    Args:
        executable: a path, not looked up on PATH.
        opens: number in the child -> path and flags of what is opened there, before the copies.
        copies: number in the child -> descriptor of ours; none of ours is a key.
        defaults: signals that do in the child what they do by default. None is blocked there.

    Raises:
        OSError: of the class that the C library's error number asks for.
        ValueError: a NUL in an argument or a variable.
    """
    actions, attributes, signals = (ctypes.create_string_buffer(_ROOM) for _ in range(3))
    _check(libc.posix_spawn_file_actions_init(actions), executable)
    try:
        _check(libc.posix_spawnattr_init(attributes), executable)
        try:
            for number, (path, flags) in opens.items():
                name = _text(path)
                _check(libc.posix_spawn_file_actions_addopen(actions, number, name, flags, 0), path)
            for number, ours in copies.items():
                _check(libc.posix_spawn_file_actions_adddup2(actions, ours, number), executable)
            libc.sigemptyset(signals)
            _check(libc.posix_spawnattr_setsigmask(attributes, signals), executable)
            for each in defaults:
                libc.sigaddset(signals, int(each))
            _check(libc.posix_spawnattr_setsigdefault(attributes, signals), executable)
            chosen = _SETSIGDEF | _SETSIGMASK | (_SETSID if new_session else 0)
            _check(libc.posix_spawnattr_setflags(attributes, ctypes.c_short(chosen)), executable)
            pid = ctypes.c_int()
            _check(
                libc.posix_spawn(
                    ctypes.byref(pid),
                    _text(executable),
                    actions,
                    attributes,
                    _texts(argv),
                    _texts([f"{name}={value}" for name, value in env.items()]),
                ),
                executable,
            )
            return pid.value
        finally:
            libc.posix_spawnattr_destroy(attributes)
    finally:
        libc.posix_spawn_file_actions_destroy(actions)


def _check(error: int, path: str) -> None:
    """These functions return their error number, and leave errno alone."""
    if error:
        raise OSError(error, os.strerror(error), path)


def _text(text: str) -> bytes:
    data = os.fsencode(text)
    if b"\0" in data:
        raise ValueError("embedded null byte")
    return data


def _texts(texts: Sequence[str]) -> ctypes.Array[ctypes.c_char_p]:
    array: ctypes.Array[ctypes.c_char_p] = (ctypes.c_char_p * (len(texts) + 1))()
    array[: len(texts)] = [_text(each) for each in texts]
    return array
