"""The user's terminal in raw mode, and how big it is."""

from __future__ import annotations

import os
import signal
import termios
import tty
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DETACH_KEYS = "ctrl-p,ctrl-q"
_CONTROL = "abcdefghijklmnopqrstuvwxyz@[\\]^_"


@contextmanager
def raw(fd: int) -> Iterator[None]:
    """Every key to the container; the old mode comes back whatever happens."""
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSANOW)
        yield
    finally:
        # DRAIN: what was written in raw mode must be out before line ends change their meaning.
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def size(fd: int) -> tuple[int, int] | None:
    """(rows, columns); None when ``fd`` is no terminal."""
    try:
        found = os.get_terminal_size(fd)
    except OSError:
        return None
    return found.lines, found.columns


@contextmanager
def on_signals(
    handlers: dict[int, Callable[[int], None]],
) -> Iterator[None]:
    """Install handlers (signal number -> function) and put the old ones back."""
    before = {
        number: signal.signal(number, lambda got, _frame, act=act: act(got))  # type: ignore[misc]
        for number, act in handlers.items()
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def parse_keys(text: str) -> bytes:
    """``ctrl-p,ctrl-q`` or ``a,b`` as bytes. Raises ValueError."""
    keys = bytearray()
    for key in text.split(","):
        if len(key) == 1:
            keys += key.encode()
        elif len(key) == 6 and key.startswith("ctrl-") and key[5] in _CONTROL:
            keys.append(ord(key[5].upper()) & 0x1F)
        else:
            raise ValueError(f"invalid detach keys {text!r}: unknown key {key!r}")
    return bytes(keys)
