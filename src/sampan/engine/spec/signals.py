"""Signals as users write them: ``9``, ``KILL``, ``SIGKILL``, ``RTMIN+3``."""

from __future__ import annotations

import signal

from sampan.errors import InvalidArgument

RT_MIN, RT_MAX = 34, 64
"""Of Linux with glibc and musl; the kernel's first two real-time signals belong to libc."""


def parse_signal(text: str) -> int:
    """Number of a signal.

    Raises:
        InvalidArgument: there is no such signal.
    """
    word = text.strip().upper()
    if word.isdigit():
        if 1 <= int(word) <= RT_MAX:
            return int(word)
        raise InvalidArgument(f"Invalid signal: {text}")
    word = word.removeprefix("SIG")
    number = 0
    if word.startswith(("RTMIN", "RTMAX")):
        base = RT_MIN if word.startswith("RTMIN") else RT_MAX
        try:
            number = base + int(word[5:] or 0)
        except ValueError:
            number = 0
        if RT_MIN <= number <= RT_MAX:
            return number
    elif f"SIG{word}" in signal.Signals.__members__:
        return signal.Signals[f"SIG{word}"].value
    raise InvalidArgument(f"Invalid signal: {text}")
